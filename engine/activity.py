"""What a run does at the moment, from the files of its directory and nothing else.

    RUN/receipts/              what is done, when and how long it took    (engine.receipt_facts)
    RUN/workers/               what every process does                    (engine.worker_state)
    RUN/driver.json            the process that hands out partitions; driver-<index>.json in arrays
    RUN/deaths/                processes that died over bricks

`run_activity` is a pure function of what was read, and of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from engine.deaths import Death
from engine.driver_state import DriverState
from engine.rates import Rate, WorkSpan, overall_rate, rate_within
from engine.receipt_facts import ReceiptFacts
from engine.worker_state import STALE_S, WorkerState

RECENT_S = 600.0
"""The recent rate is that of the last so many seconds."""

PLANNING = "planning"
RUNNING = "running"
WAITING = "waiting for workers"
FINISHING = "finishing"
FINISHED = "finished"
STOPPED = "stopped: resume with the same command"
PHASES = (PLANNING, WAITING, RUNNING, FINISHING, FINISHED, STOPPED)

Process = tuple[str, int]
"""Host and pid."""


@dataclass(frozen=True)
class WorkerActivity:
    """One process that works on partitions."""

    host: str
    pid: int
    is_alive: bool
    """Heard of lately; False: it is gone or stuck with what it had in work."""
    silent_s: float
    """Since it was last heard of."""
    device: str
    partition: str | None
    bricks: dict[str, float]
    """Bricks in work, of its decode processes too -> seconds they have been."""
    num_partitions: int
    num_bricks: int
    num_sources: int
    memory_bytes: int
    """Largest resident memory so far."""
    gpu_percent: float | None


@dataclass(frozen=True)
class BrickInWork:
    """A brick that some process has been at for some time."""

    brick: str
    seconds: float
    host: str
    pid: int


@dataclass(frozen=True)
class RunActivity:
    """How a run goes.

    Partitions: done + in work + remaining = planned. Bricks: done + quarantined + done in work +
    in work + remaining = planned.
    """

    phase: str
    """One of `PHASES`."""
    at: float
    """Unix time to which all this belongs, s."""
    num_partitions: int
    num_partitions_done: int
    num_partitions_in_work: int
    num_partitions_remaining: int
    num_bricks: int
    num_bricks_done: int
    """In partitions with a receipt, quarantined ones left out."""
    num_bricks_quarantined: int
    num_bricks_done_in_work: int
    """Done, but their partition is not: lost if its worker dies."""
    num_bricks_in_work: int
    num_bricks_remaining: int
    num_sources: int
    """Of bricks done, those in partitions in work included."""
    recent: Rate | None
    """Over the last `RECENT_S`, or since the run was started again; None when it does not run."""
    overall: Rate | None
    """Over all time in which partitions were in work."""
    eta_s: float | None
    """Until the bricks that are not done are, at the recent rate; None when unknown."""
    num_workers_alive: int
    num_workers_wanted: int | None
    """None without a driver."""
    num_workers_stale: int
    """Not heard of for `STALE_S`."""
    network_fraction: float | None
    """Of the time of live workers, spent in the network; None without any."""
    decode_fraction: float | None
    """Of the time of their decoders, spent in decoding and building arrays."""
    gpu_percent: float | None
    """Mean of the workers that say."""
    step_fractions: dict[str, float] = field(default_factory=dict)
    """Step -> its part of the time spent in steps, by live workers, else in all receipts."""
    longest: BrickInWork | None = None
    """What a live worker has been at for the longest time."""
    workers: tuple[WorkerActivity, ...] = ()
    deaths: tuple[Death, ...] = ()
    """Oldest first."""
    drivers: tuple[DriverState, ...] = ()
    """Live ones."""


@dataclass(frozen=True)
class RunFiles:
    """What was read of a run directory at one moment; workers before receipts."""

    planned: Mapping[str, Sequence[str]] | None
    """Partition -> its bricks; None while there is no plan."""
    receipts: Mapping[str, ReceiptFacts]
    """Partition -> what its receipt says."""
    workers: Sequence[WorkerState] = ()
    drivers: Sequence[DriverState] = ()
    deaths: Sequence[Death] = ()
    gone: Collection[Process] = ()
    """Processes known to have ended, whatever their files say."""
    is_finished: bool = False
    """Whether the catalogue is complete and published."""
    wip_changed_at: float = 0.0
    """When a file was last written or renamed, Unix time, s."""


def run_activity(files: RunFiles, now: float) -> RunActivity:
    """How a run goes at the time `now`."""
    planned = files.planned or {}
    done = {name: facts for name, facts in files.receipts.items() if name in planned}
    drivers = tuple(driver for driver in files.drivers if _is_alive(driver, files.gone, now))
    # What an earlier attempt left says nothing about this one.
    since = min((driver.started_at for driver in drivers), default=0.0)
    states = [state for state in files.workers if state.updated_at >= since]
    alive = [state for state in states if _is_alive(state, files.gone, now)]
    own = _OwnReceipts(files.receipts.values())
    open_work = _open_work(alive, planned, done, own)

    num_bricks = sum(len(bricks) for bricks in planned.values())
    num_quarantined = sum(
        len(facts.quarantined.keys() & set(planned[name]))
        for name, facts in done.items()
        if facts.quarantined
    )
    num_done = sum(len(planned[name]) for name in done) - num_quarantined
    num_done_in_work = sum(work.num_done for work in open_work.values())
    num_in_work = sum(len(work.in_work) for work in open_work.values())
    num_left = num_bricks - num_done - num_quarantined - num_done_in_work

    spans = [
        WorkSpan(
            facts.finished_at - facts.elapsed_s,
            facts.finished_at,
            facts.num_bricks + len(facts.quarantined),
            facts.num_sources,
        )
        for facts in done.values()
    ]
    spans += [work.span for work in open_work.values()]
    recent = None
    if drivers or alive:
        session = since if drivers else min(state.started_at for state in alive)
        recent = rate_within(spans, max(session, now - RECENT_S), now)
    phase = _phase(files, now, len(planned) - len(done), drivers, alive)
    is_going = bool(recent and recent.bricks_per_s > 0 and num_left)
    return RunActivity(
        phase=phase,
        at=now,
        num_partitions=len(planned),
        num_partitions_done=len(done),
        num_partitions_in_work=len(open_work),
        num_partitions_remaining=len(planned) - len(done) - len(open_work),
        num_bricks=num_bricks,
        num_bricks_done=num_done,
        num_bricks_quarantined=num_quarantined,
        num_bricks_done_in_work=num_done_in_work,
        num_bricks_in_work=num_in_work,
        num_bricks_remaining=num_left - num_in_work,
        num_sources=sum(span.num_sources for span in spans),
        recent=recent,
        overall=overall_rate(spans),
        eta_s=num_left / recent.bricks_per_s if recent and is_going else None,
        num_workers_alive=len(alive),
        num_workers_wanted=sum(driver.num_workers for driver in drivers) if drivers else None,
        num_workers_stale=len(states) - len(alive),
        network_fraction=_busy_fraction(alive, ("infer",), [1 for _ in alive]),
        decode_fraction=_busy_fraction(
            alive,
            ("decode", "build", "write"),
            [max(1, state.decode_processes) for state in alive],
        ),
        gpu_percent=_mean([s.gpu_percent for s in alive if s.gpu_percent is not None]),
        step_fractions=_step_fractions(
            [state.seconds for state in alive if any(state.seconds.values())]
            or [facts.seconds for facts in done.values()]
        ),
        longest=_longest(alive, now),
        workers=tuple(
            _worker_activity(state, _is_alive(state, files.gone, now), now) for state in states
        ),
        deaths=tuple(sorted(files.deaths, key=lambda death: death.at)),
        drivers=drivers,
    )


def _is_alive(state: WorkerState | DriverState, gone: Collection[Process], now: float) -> bool:
    return now - state.updated_at < STALE_S and (state.host, state.pid) not in gone


class _OwnReceipts:
    """The receipts that a process has written, which its own counts include."""

    def __init__(self, receipts: Collection[ReceiptFacts]) -> None:
        self._of_pid: defaultdict[int, list[ReceiptFacts]] = defaultdict(list)
        for facts in receipts:
            self._of_pid[facts.process].append(facts)

    def of(self, state: WorkerState) -> list[ReceiptFacts]:
        return [
            facts
            for facts in self._of_pid.get(state.pid, ())
            if facts.host in (None, state.host)
            and state.started_at <= facts.finished_at <= state.updated_at
        ]


@dataclass(frozen=True)
class _OpenPartition:
    """A partition in work."""

    in_work: frozenset[str]
    num_done: int
    span: WorkSpan


def _open_work(
    alive: Sequence[WorkerState],
    planned: Mapping[str, Sequence[str]],
    done: Mapping[str, ReceiptFacts],
    own: _OwnReceipts,
) -> dict[str, _OpenPartition]:
    """Partitions in work -> what is done in them; the further one, if two processes have it."""
    found: dict[str, _OpenPartition] = {}
    for state in alive:
        name = state.partition
        if name is None or name not in planned or name in done:
            continue
        in_work = frozenset(_bricks(state)) & frozenset(planned[name])
        receipts = own.of(state)
        num_done = state.num_bricks - sum(facts.num_bricks for facts in receipts)
        num_done = min(max(num_done, 0), len(planned[name]) - len(in_work))
        num_sources = state.num_sources - sum(facts.num_sources for facts in receipts)
        begin = max((facts.finished_at for facts in receipts), default=state.started_at)
        span = WorkSpan(begin, state.updated_at, num_done, max(num_sources, 0) if num_done else 0)
        other = found.get(name)
        if other is None or other.num_done < num_done:
            found[name] = _OpenPartition(in_work, num_done, span)
    return found


def _bricks(state: WorkerState) -> dict[str, float]:
    """In work in a process or its decoders -> when begun."""
    return state.ahead | state.bricks


def _phase(
    files: RunFiles,
    now: float,
    num_not_done: int,
    drivers: Sequence[DriverState],
    alive: Sequence[WorkerState],
) -> str:
    if files.planned is None:
        return PLANNING
    if files.is_finished:
        return FINISHED
    if num_not_done == 0:
        is_moving = bool(drivers) or now - files.wip_changed_at < STALE_S
        return FINISHING if is_moving else STOPPED
    if alive:
        return RUNNING
    return WAITING if drivers else STOPPED


def _busy_fraction(
    alive: Sequence[WorkerState], steps: Sequence[str], num_parallel: Sequence[int]
) -> float | None:
    """Seconds in some steps over seconds alive, times what each worker can do at once."""
    possible_s = sum(
        (state.updated_at - state.started_at) * parallel
        for state, parallel in zip(alive, num_parallel, strict=True)
    )
    if possible_s <= 0:
        return None
    return sum(state.seconds.get(step, 0.0) for state in alive for step in steps) / possible_s


def _step_fractions(seconds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in seconds:
        for step, value in one.items():
            total[step] = total.get(step, 0.0) + value
    whole = sum(total.values())
    return {step: value / whole for step, value in total.items()} if whole > 0 else {}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _longest(alive: Sequence[WorkerState], now: float) -> BrickInWork | None:
    in_work = [
        BrickInWork(name, max(0.0, now - begin), state.host, state.pid)
        for state in alive
        for name, begin in _bricks(state).items()
    ]
    return max(in_work, key=lambda brick: brick.seconds, default=None)


def _worker_activity(state: WorkerState, is_alive: bool, now: float) -> WorkerActivity:
    return WorkerActivity(
        host=state.host,
        pid=state.pid,
        is_alive=is_alive,
        silent_s=max(0.0, now - state.updated_at),
        device=state.device,
        partition=state.partition,
        bricks={name: max(0.0, now - begin) for name, begin in _bricks(state).items()},
        num_partitions=state.num_partitions,
        num_bricks=state.num_bricks,
        num_sources=state.num_sources,
        memory_bytes=state.memory_bytes,
        gpu_percent=state.gpu_percent,
    )
