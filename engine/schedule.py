"""Run partitions: in a loop, or on Dask workers with a bounded window in flight.

Dask schedules partitions and carries counts, never pixels. As many partitions are in flight as
there are workers: the scheduler's memory does not grow with the survey.

Failure is the driver's business, not Dask's: with `allowed-failures` 0 every death of a worker
comes back here, where the brick that was in work is known (`engine.worker_state`). The partition
is tried again after all the others; a brick that is to blame (`engine.deaths`) is left out of it.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from engine.deaths import Death, bricks_to_blame, death_of, read_deaths, record_death
from engine.infer import PartitionDone, PartitionTask, run_partition, working_here
from engine.worker_state import WORKERS_FOLDER, WorkerState, read_worker_states

OnDone = Callable[[PartitionTask, PartitionDone], None]
Say = Callable[[str], None]

_TICK_S = 1.0
_NUM_FETCHERS = 16
"""Workers that may stop answering at once without holding up the others' results."""
_WATCH_S = 15.0
"""Between two looks at what workers do and whether some are missing."""


class RunStoppedError(BaseException):
    """The run was told to stop, and did; what is done is kept.

    Like KeyboardInterrupt no Exception: it is raised wherever a signal meets the work, and must not
    be taken for something that is wrong with a file.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class RunFailedError(Exception):
    """The machine cannot go on: nothing moves, or workers die whatever they do.

    The message says what was seen; what is done is kept.
    """


class Workers(Protocol):
    """Dask workers on some machine."""

    @property
    def client(self) -> Client: ...

    @property
    def num_workers(self) -> int:
        """How many are wanted."""

    @property
    def dashboard_url(self) -> str | None: ...

    def replace_lost(self) -> list[str]:
        """Bring back workers that Dask does not by itself; says what was done."""

    def waiting_for(self) -> str | None:
        """What the cluster waits for that is nobody's fault, such as a job queue."""

    def describe(self) -> str:
        """What there is, for a diagnosis."""


@dataclass(frozen=True)
class DriverRules:
    """When the driver gives up."""

    max_deaths: int = 3
    """Fewer deaths never blame a brick."""
    max_deaths_in_a_row: int = 0
    """So many deaths without a finished partition: `RunFailedError`. 0 is 20 and four more for
    each worker, so that a rack without power is no reason."""
    stall_s: float = 1800.0
    """Nothing moves for this long: `RunFailedError`."""
    drain_s: float = 90.0
    """Partitions in flight have this long to end when the run is told to stop."""


def without_bricks(task: PartitionTask, blamed: Mapping[str, str]) -> PartitionTask:
    """The task without those of its bricks that are to blame for deaths (name -> why)."""
    names = {planned.brick.name for planned in task.bricks}
    return replace(task, set_aside={name: why for name, why in blamed.items() if name in names})


class StopRequest:
    """SIGTERM or Ctrl-C: stop at the next good moment; Ctrl-C again: at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.at = 0.0

    def _receive(self, number: int, _frame: Any) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number, self.at = number, time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """While inside, the signals are noted instead of ending the process."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._receive) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


def run_serial(tasks: Sequence[PartitionTask], on_done: OnDone) -> None:
    """Run partitions one after another in this process.

    If it is killed, or ends itself over a brick that hangs, `settle_deaths` finds the brick when
    the run is started again.

    Raises
    ------
    RunStoppedError
        On SIGTERM; the partition in work is lost, as after Ctrl-C.
    """

    def stop(number: int, _frame: Any) -> None:
        raise RunStoppedError(number)

    if not tasks:
        return
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        with working_here(tasks[0].run_folder, tasks[0].settings):
            for task in tasks:
                on_done(task, run_partition(task))
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def run_dask(
    tasks: Iterable[PartitionTask],
    workers: Workers,
    rules: DriverRules,
    on_done: OnDone,
    say: Say,
    stop: StopRequest,
    work_s: float = 0.0,
    num_bricks: int = 0,
    work: Callable[[PartitionTask], PartitionDone] = run_partition,
) -> dict[str, str]:
    """Run partitions on workers until all are done or given up.

    Parameters
    ----------
    tasks
        Partitions of one run, in the order in which they are begun.
    say
        Takes a line of news.
    work_s, num_bricks
        Seconds of work in partitions that are done already, and bricks of the whole run: what
        chance is measured by (`engine.deaths.bricks_to_blame`).

    Returns
    -------
    Partition -> why it was given up: its workers die, and no brick of it is in work when they do.

    Raises
    ------
    RunStoppedError
        If `stop` was requested.
    RunFailedError
        If nothing moves for `rules.stall_s`, or workers die whatever they do.
    """
    driver = _Driver(deque(tasks), workers, rules, on_done, say, work, work_s, num_bricks)
    try:
        while driver.is_busy:
            if stop.signal_number is None:
                driver.fill_window()
            elif not driver.in_flight or time.monotonic() - stop.at > rules.drain_s:
                raise RunStoppedError(stop.signal_number)
            elif not driver.is_draining:
                driver.begin_drain()
            driver.take_results()
            driver.watch()
    finally:
        driver.close()
    return driver.given_up


_Ended = tuple[str, BaseException | None, PartitionDone | None]
"""Key, and what went wrong or what was done."""


class _Driver:
    """The state of `run_dask`."""

    def __init__(
        self,
        waiting: deque[PartitionTask],
        workers: Workers,
        rules: DriverRules,
        on_done: OnDone,
        say: Say,
        work: Callable[[PartitionTask], PartitionDone],
        work_s: float,
        num_bricks: int,
    ) -> None:
        self.waiting, self._workers, self._rules = waiting, workers, rules
        self._on_done, self._say, self._work = on_done, say, work
        self._work_s, self._num_bricks = work_s, max(num_bricks, 1)
        self.in_flight: dict[str, tuple[Future, PartitionTask]] = {}
        self.given_up: dict[str, str] = {}
        self.is_draining = False
        self._results: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self._fetchers = ThreadPoolExecutor(_NUM_FETCHERS, thread_name_prefix="fetch")
        self._name = uuid.uuid4().hex[:8]  # Another driver's results are none of ours.
        self._attempts: Counter[str] = Counter()
        self._bare_deaths: Counter[str] = Counter()
        self._deaths_in_a_row = 0
        self._run_folder = waiting[0].run_folder if waiting else Path()
        self._deaths: list[Death] = read_deaths(self._run_folder)
        self._blamed: dict[str, str] = {}
        self._moved_at = self._watched_at = time.monotonic()
        self._last_seen: object = None
        self._told_waiting: str | None = None
        self._find_blame()

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.in_flight)

    def fill_window(self) -> None:
        """As many partitions in flight as workers are wanted."""
        while self.waiting and len(self.in_flight) < self._workers.num_workers:
            task = self.waiting.popleft()
            task = without_bricks(task, self._blamed)
            pixel = str(task.pixel)
            self._attempts[pixel] += 1
            key = f"partition-{pixel}-{self._name}-{self._attempts[pixel]}"
            # pure=False: what is submitted is to be done, whatever was done before.
            future = self._workers.client.submit(self._work, task, pure=False, key=key)
            self.in_flight[key] = (future, task)
            future.add_done_callback(self._fetch_soon)

    def _fetch_soon(self, future: Future) -> None:
        # Too late for a result: the driver has stopped.
        with suppress(RuntimeError):
            self._fetchers.submit(self._fetch, future)

    def _fetch(self, future: Future) -> None:
        """Get what came of a partition. Its worker holds that, and may have stopped answering."""
        error: BaseException | None
        done: PartitionDone | None = None
        try:
            error = future.exception()
            if error is None:
                done = future.result()
        except BaseException as lost:
            error = lost
        self._results.put((future.key, error, done))

    def close(self) -> None:
        """Wait for nothing any more."""
        self._workers.client.cancel([future for future, _ in self.in_flight.values()])
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def begin_drain(self) -> None:
        self.is_draining = True
        self._say(
            f"stopping: {len(self.in_flight)} partitions in work have "
            f"{self._rules.drain_s:.0f} s to end; Ctrl-C stops at once"
        )

    def take_results(self) -> None:
        """Wait a moment for partitions that end, and deal with all that have."""
        try:
            ended = [self._results.get(timeout=_TICK_S)]
        except queue.Empty:
            return
        while not self._results.empty():
            ended.append(self._results.get())
        for key, error, done in ended:
            future, task = self.in_flight.pop(key)
            if future.cancelled():
                raise RunFailedError(f"Dask's scheduler is gone; {self._workers.describe()}")
            if isinstance(error, KilledWorker):
                self._on_death(task)
            elif done is None:
                raise error or RuntimeError(f"{key}: neither a result nor an error")
            else:
                self._work_s += done.elapsed_s
                self._deaths_in_a_row = 0
                self._on_done(task, done)
            future.release()
        self._moved_at = time.monotonic()

    def _on_death(self, task: PartitionTask) -> None:
        """Find out what the worker had in work, and put the partition at the end of the queue."""
        pixel = str(task.pixel)
        bricks: list[str] = []
        for state in read_worker_states(self._run_folder):
            # Nobody else has this partition: a file that says so is the dead worker's.
            if state.partition == pixel:
                death = death_of(state)
                (self._run_folder / WORKERS_FOLDER / state.path_name).unlink(missing_ok=True)
                record_death(self._run_folder, death)
                self._deaths.append(death)
                bricks += death.bricks
        named = f" over brick {', '.join(bricks)}" if bricks else ""
        self._say(f"a worker died in partition {pixel}{named}; it is tried again")
        self._find_blame()
        self._deaths_in_a_row += 1
        limit = self._rules.max_deaths_in_a_row or 20 + 4 * self._workers.num_workers
        if self._deaths_in_a_row >= limit:
            raise RunFailedError(
                f"workers died {self._deaths_in_a_row} times in a row without finishing a "
                f"partition, the last in {pixel}{named}; {self._workers.describe()}"
            )
        if not bricks:
            self._bare_deaths[pixel] += 1
            if self._bare_deaths[pixel] >= 2 * self._rules.max_deaths:
                self.given_up[pixel] = (
                    f"its worker died {self._bare_deaths[pixel]} times, not over a brick; most "
                    "likely it needs more memory"
                )
                return
        self.waiting.append(task)

    def _find_blame(self) -> None:
        blamed = bricks_to_blame(
            self._deaths, self._work_s, self._num_bricks, self._rules.max_deaths
        )
        for name, why in blamed.items():
            if name not in self._blamed:
                self._say(f"brick {name} is set aside: {why}")
        self._blamed |= blamed

    def watch(self) -> None:
        """Now and then: bring back lost workers, and see whether anything moves."""
        now = time.monotonic()
        if now - self._watched_at < min(_WATCH_S, self._rules.stall_s / 4):
            return
        self._watched_at = now
        for line in self._workers.replace_lost():
            self._say(line)
        in_flight = {str(task.pixel) for _, task in self.in_flight.values()}
        self._deaths += settle_deaths(self._run_folder, in_flight)
        states = read_worker_states(self._run_folder)
        seen = _what_is_in_work(states)
        waiting_for = self._workers.waiting_for()
        if waiting_for != self._told_waiting and waiting_for is not None:
            self._say(f"waiting for {waiting_for}")
        self._told_waiting = waiting_for
        if seen != self._last_seen or waiting_for is not None:
            self._last_seen, self._moved_at = seen, now
        elif now - self._moved_at > self._rules.stall_s:
            raise RunFailedError(
                f"nothing moved for {self._rules.stall_s / 60:.0f} minutes; "
                f"{_describe_work(states)}; {self._workers.describe()}"
            )


def _what_is_in_work(states: list[WorkerState]) -> object:
    """Differs between two looks if some process has begun or ended a brick in between."""
    return sorted((s.host, s.pid, s.num_bricks, sorted(s.bricks), sorted(s.ahead)) for s in states)


def _describe_work(states: list[WorkerState]) -> str:
    """Who has had what in work, and since when; at most five of them."""
    now = time.time()
    lines = [
        f"{state.host} process {state.pid} has brick {name} since {now - begin:.0f} s"
        + ("" if state.is_fresh else f", silent for {now - state.updated_at:.0f} s")
        for state in states
        for name, begin in (state.bricks | state.ahead).items()
    ]
    more = f", and {len(lines) - 5} more" if len(lines) > 5 else ""
    return ", ".join(lines[:5]) + more if lines else "no process has a brick in work"


def settle_deaths(run_folder: Path, in_flight: Collection[str] = ()) -> list[Death]:
    """Turn what dead processes left in `RUN/workers` into deaths; returns them.

    A process that read bricks itself and was killed is found here when the run is started again;
    workers of a driver that was killed, too, on other hosts once they are silent. Live processes
    are left alone, and those of partitions in flight: of their deaths Dask tells.
    """
    found = []
    for state in read_worker_states(run_folder):
        if state.partition in in_flight:
            continue
        # Our own number is another process's: we have not begun (in a container all have it).
        is_ours = state.host == socket.gethostname() and state.pid == os.getpid()
        if state.is_alive and not is_ours:
            continue
        if state.partition is not None and state.bricks:
            death = death_of(state)
            record_death(run_folder, death)
            found.append(death)
        (run_folder / WORKERS_FOLDER / state.path_name).unlink(missing_ok=True)
    return found
