"""One process at a time in a folder; the kernel lets go if it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.config import UserError

LOCK_FILE = "lock"


class BusyError(UserError):
    """Another process holds the folder."""


@contextmanager
def hold_lock(
    folder: Path, what: str, *, shared: bool = False, name: str = LOCK_FILE, wait_s: float = 0.0
) -> Iterator[None]:
    """Hold a folder, creating it if need be; `what` is the word for what is made there.

    Parameters
    ----------
    shared
        Beside others that share it, against one that holds it alone.
    name
        File that is locked; each name is a lock of its own.
    wait_s
        Try for so long.

    Raises
    ------
    UserError
        If it cannot be made or written.
    BusyError
        If another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"--output {folder}: cannot be written ({error.strerror}); choose another"
        ) from None
    try:
        _lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_s)
    except BlockingIOError:
        raise BusyError(
            f"{folder}: another process is working on this {what}; wait for it or stop it"
        ) from None
    except OSError as error:
        raise UserError(
            f"--output {folder}: its file system cannot lock files ({error.strerror}), "
            f"so two processes could work on one {what}; choose another"
        ) from None
    else:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, wait_s: float) -> None:
    """flock, tried again for some time: a wait in the kernel could not be interrupted."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)
