"""One process at a time in a folder; the kernel lets go if it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.config import UserError

LOCK_FILE = "lock"


@contextmanager
def hold_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, creating it if need be; `what` is the word for what is made there.

    Raises
    ------
    UserError
        If it cannot be made or written, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"--output {folder}: cannot be written ({error.strerror}); choose another"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
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
