"""Decode processes: bricks are built ahead of the network, each by a process that may die.

A process that dies or hangs over a brick names that brick and is replaced; nothing else is lost.
"""

from __future__ import annotations

import math
import queue
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path

from engine.deaths import HUNG, KILLED, MAX_HANGS, Death, record_death
from engine.worker_state import WorkerMonitor
from partitions.bricks import BrickError
from partitions.build import BrickCounts
from partitions.reader import BuildOrder


class _ReaderLostError(Exception):
    """The process died or was ended over a brick; its argument is the cause."""


class _Reader:
    """One decode process."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # No multiprocessing.Process: it would import this process's main module, torch
            # included, and a Dask worker may not have such children. The process ends when our
            # side of the connection closes, which the kernel sees to however we end.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "partitions.reader", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.pid = self._process.pid

    def build(self, order: BuildOrder, limit_s: float) -> BrickCounts:
        """Build one brick; raises what building it raised, or `_ReaderLostError`."""
        try:
            self._connection.send(order)
            if not self._connection.poll(limit_s if math.isfinite(limit_s) else None):
                raise _ReaderLostError(HUNG)
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            raise _ReaderLostError(KILLED) from None
        if isinstance(answer, BrickCounts):
            return answer
        raise answer

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class ReadingRules:
    """When a brick is given up."""

    limit_s: float
    """Longer than this, and reading it hangs."""
    max_deaths: int
    """So many processes may die over it."""


class BrickReaders:
    """Some decode processes, kept for as long as their worker lives."""

    def __init__(self, num_processes: int) -> None:
        self.num_processes = num_processes
        self._threads = ThreadPoolExecutor(num_processes, thread_name_prefix="reader")
        self._idle: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
        for _ in range(num_processes):
            self._idle.put(_Reader())

    def build_ahead(
        self,
        orders: Iterable[BuildOrder],
        monitor: WorkerMonitor,
        run_folder: Path,
        partition: str,
        rules: ReadingRules,
    ) -> Iterator[tuple[BuildOrder, BrickCounts | Exception]]:
        """Build bricks side by side and give them back in order, at most two more than processes
        ahead of the caller; each with its counts or with what went wrong.

        A brick over which processes die or hang again and again ends as a `BrickError`; each death
        is recorded in the run directory.
        """

        def build(order: BuildOrder) -> BrickCounts:
            with monitor.brick_ahead(order.brick.name):
                return self._build(order, run_folder, partition, rules)

        waiting: deque[tuple[BuildOrder, Future[BrickCounts]]] = deque()
        queued = iter(orders)
        try:
            while True:
                while len(waiting) < self.num_processes + 2:
                    order = next(queued, None)
                    if order is None:
                        break
                    waiting.append((order, self._threads.submit(build, order)))
                if not waiting:
                    return
                order, future = waiting.popleft()
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield order, error if error is not None else future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _build(
        self, order: BuildOrder, run_folder: Path, partition: str, rules: ReadingRules
    ) -> BrickCounts:
        """Build one brick, again after each death until it is to blame."""
        num_deaths = num_hangs = 0
        while True:
            reader = self._idle.get()
            begin = time.time()
            try:
                counts = reader.build(order, rules.limit_s)
            except _ReaderLostError as gone:
                cause = str(gone)
                reader.close()
                self._idle.put(_Reader())
            except BaseException:
                self._idle.put(reader)
                raise
            else:
                self._idle.put(reader)
                return counts
            now = time.time()
            record_death(
                run_folder,
                Death(
                    partition,
                    {order.brick.name: round(now - begin, 3)},
                    cause,
                    socket.gethostname(),
                    reader.pid,
                    now,
                ),
            )
            num_deaths += cause == KILLED
            num_hangs += cause == HUNG
            if num_hangs >= MAX_HANGS:
                raise BrickError(f"reading it did not come to an end, {num_hangs} times")
            if num_deaths >= rules.max_deaths:
                raise BrickError(f"{num_deaths} processes died while it was read")

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()
