"""What the process that drives a run says of itself, so that any host can watch the run.

RUN/driver.json, RUN/driver-<index>.json for the jobs of an array
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine.worker_state import BEAT_S


@dataclass
class DriverState:
    """One process that hands out partitions."""

    host: str
    pid: int
    started_at: float
    """Unix time, s."""
    updated_at: float
    machine: str
    """In words, for example `profile slurm-gpu` or `job 3 of 8`."""
    num_workers: int
    """Worker processes wanted."""
    num_remaining: int = 0
    """Its partitions without a receipt."""
    dashboard_url: str | None = None
    message: str = ""
    """The last line of news."""


def driver_path(run_folder: Path, index: int | None = None) -> Path:
    return run_folder / ("driver.json" if index is None else f"driver-{index}.json")


def read_drivers(run_folder: Path) -> list[DriverState]:
    """All drivers that have left a file; unreadable files are passed over."""
    names = {entry.name for entry in fields(DriverState)}
    states = []
    for path in sorted(run_folder.glob("driver*.json")):
        # A display must not fail for a file that goes away, or is another version's.
        with suppress(OSError, ValueError, TypeError, AttributeError):
            data = json.loads(path.read_text())
            states.append(DriverState(**{k: v for k, v in data.items() if k in names}))
    return states


class DriverReport:
    """Keeps the file of this process while it drives."""

    def __init__(self, path: Path, machine: str, num_workers: int, num_remaining: int) -> None:
        self._path = path
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.state = DriverState(
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=time.time(),
            updated_at=time.time(),
            machine=machine,
            num_workers=num_workers,
            num_remaining=num_remaining,
        )

    def write(self) -> None:
        """Write the file now. A disk that is full is somebody else's error to report."""
        with self._lock, suppress(OSError):
            self.state.updated_at = time.time()
            wip = self._path.with_suffix(".wip")
            wip.write_text(json.dumps(asdict(self.state)))
            os.replace(wip, self._path)

    @contextmanager
    def kept(self) -> Iterator[DriverReport]:
        """Write the file every few seconds; an orderly end removes it."""

        def beat() -> None:
            while not self._stop.wait(BEAT_S):
                self.write()

        self.write()
        thread = threading.Thread(target=beat, name="driver-report", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            self._path.unlink(missing_ok=True)
