"""A survey file that hangs who reads it, or kills them: a named pipe in the place of an image."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path


def make_trap(image: Path) -> None:
    """Replace an image by a pipe: opening it for reading never ends."""
    image.unlink()
    os.mkfifo(image)


class Killer:
    """Kills every process that opens a pipe made by `make_trap`."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe
        self.killed: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            # Can be opened only while somebody has it open, or waits to open it, for reading.
            with suppress(OSError):
                descriptor = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
                self._kill_readers()
                os.close(descriptor)

    def _kill_readers(self) -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for link in Path("/proc").glob("[0-9]*/fd/*"):
                pid = int(link.parts[2])
                try:
                    is_reader = pid != os.getpid() and os.readlink(link) == str(self._pipe)
                except OSError:
                    continue
                if is_reader:
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)
                    return
