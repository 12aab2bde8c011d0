"""What each process of a run does at the moment, as a small file that any host can read.

    RUN/workers/<host>-<pid>.json   written when a brick is begun, and every few seconds

It names the bricks in work before they are touched: if the process dies, the file says on what.
A file that has not been touched for `STALE_S` belongs to a process that is gone or stuck.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WORKERS_FOLDER = "workers"
BEAT_S = 5.0
"""Seconds between two writes of a process that goes on with the same brick."""
STALE_S = 60.0
EXIT_HUNG = 70
"""Exit code of a process that ends itself because a brick is not read to its end."""


@dataclass
class WorkerState:
    """One process that works, or worked, on partitions."""

    host: str
    pid: int
    started_at: float
    """Unix time, s."""
    device: str = "cpu"
    decode_processes: int = 0
    updated_at: float = 0.0
    partition: str | None = None
    """In work now, `order-number`."""
    bricks: dict[str, float] = field(default_factory=dict)
    """Bricks in work in this process now -> Unix time when each was begun."""
    ahead: dict[str, float] = field(default_factory=dict)
    """The same of its decode processes: if this process dies, it is not their fault."""
    hung: list[str] = field(default_factory=list)
    """Bricks that took longer than the limit: the process ended itself."""
    num_partitions: int = 0
    num_bricks: int = 0
    num_sources: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Step (decode, build, write, infer, fragments) -> seconds so far, of finished bricks."""
    memory_bytes: int = 0
    """Largest resident memory so far."""
    gpu_percent: float | None = None
    """Utilisation of its GPU as NVML gives it."""

    @property
    def is_fresh(self) -> bool:
        """Whether it has been heard of lately."""
        return time.time() - self.updated_at < STALE_S

    @property
    def path_name(self) -> str:
        return f"{self.host}-{self.pid}.json"


def read_worker_states(run_folder: Path) -> list[WorkerState]:
    """All processes that have left a file, by host and pid; unreadable files are passed over."""
    states = []
    for path in sorted((run_folder / WORKERS_FOLDER).glob("*.json")):
        # One may vanish, or be another version's: a display must not fail for it.
        with suppress(OSError, ValueError, TypeError):
            states.append(WorkerState(**json.loads(path.read_text())))
    return states


class WorkerMonitor:
    """Keeps the file of this process, and ends the process if a brick hangs.

    Parameters
    ----------
    run_folder
        The run directory.
    brick_limit_s
        A brick in work for longer than this hangs; infinity never ends the process.
    """

    def __init__(
        self, run_folder: Path, brick_limit_s: float, device: str = "cpu", decode_processes: int = 0
    ) -> None:
        self._folder = run_folder / WORKERS_FOLDER
        self._limit_s = brick_limit_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._seconds: Counter[str] = Counter()
        self.state = WorkerState(
            socket.gethostname(), os.getpid(), time.time(), device, decode_processes
        )

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self.write()
        threading.Thread(target=self._beat, name="worker-monitor", daemon=True).start()

    def stop(self) -> None:
        """An orderly end: the file goes away."""
        self._stop.set()
        with self._lock:
            (self._folder / self.state.path_name).unlink(missing_ok=True)

    @contextmanager
    def partition(self, name: str) -> Iterator[None]:
        """While a partition is in work."""
        with self._lock:
            self.state.partition, self.state.bricks = name, {}
        self.write()
        try:
            yield
        finally:
            with self._lock:
                self.state.partition, self.state.bricks = None, {}
            self.write()

    @contextmanager
    def brick(self, name: str) -> Iterator[None]:
        """While a brick is in work; the file names it before it is touched."""
        with self._lock:
            self.state.bricks[name] = time.time()
        self.write()
        try:
            yield
        finally:
            with self._lock:
                self.state.bricks.pop(name, None)

    def add(self, num_sources: int, seconds: dict[str, float]) -> None:
        """A brick is done."""
        with self._lock:
            self.state.num_bricks += 1
            self.state.num_sources += num_sources
            self._seconds.update(seconds)
            self.state.seconds = {step: round(value, 3) for step, value in self._seconds.items()}

    def write(self) -> None:
        """Write the file now. A disk that is full is somebody else's error to report."""
        with self._lock:
            if self._stop.is_set():
                return
            self.state.updated_at = time.time()
            # Linux counts in kB.
            self.state.memory_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self.state.gpu_percent = _gpu_percent() if self.state.device != "cpu" else None
            # Not flushed: the kernel keeps it when the process dies, and a power cut ends the run.
            path = self._folder / self.state.path_name
            wip = path.with_suffix(".wip")
            with suppress(OSError):
                wip.write_text(json.dumps(asdict(self.state)))
                os.replace(wip, path)

    def _beat(self) -> None:
        while not self._stop.wait(min(BEAT_S, max(0.1, self._limit_s / 4))):
            hung = [
                name
                for name, begin in list(self.state.bricks.items())
                if time.time() - begin > self._limit_s
            ]
            self.state.hung = hung
            self.write()
            if hung:
                # A read that never returns cannot be interrupted from within: only the whole
                # process can go. Its file stays and says why.
                os._exit(EXIT_HUNG)


def _gpu_percent() -> float | None:
    """Utilisation of the first visible GPU, None where NVML cannot be asked."""
    nvml: Any
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
        handle = (
            nvml.nvmlDeviceGetHandleByIndex(int(visible))
            if visible.isdigit()
            else nvml.nvmlDeviceGetHandleByUUID(visible)
        )
        return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except Exception:  # No NVML, no permission, MIG: it is a display's number.
        return None
