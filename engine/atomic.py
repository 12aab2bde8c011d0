"""Write elsewhere, flush, rename: a file that exists is complete, even after a power cut."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes, wip_folder: Path | None = None) -> None:
    """Replace `path` by `content`; a reader sees the old file or the new one."""

    def write(wip: Path) -> None:
        wip.write_bytes(content)

    produce_atomic(path, write, wip_folder)


def produce_atomic(
    path: Path, produce: Callable[[Path], None], wip_folder: Path | None = None
) -> None:
    """Let `produce` write a temporary file, then rename it to `path`.

    `wip_folder` must be on the same file system; by default it is the folder of `path`. The name
    is unique to the attempt, so that two attempts at once (a worker cut off from its scheduler
    and its successor) cannot write into one file.
    """
    folder = wip_folder or path.parent
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    wip = folder / f"wip-{uuid.uuid4().hex[:8]}-{path.name}"
    try:
        produce(wip)
        flush_to_disk(wip)
        os.replace(wip, path)
        flush_to_disk(path.parent)
    finally:
        wip.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: Any) -> bytes:
    """Indented JSON with a final newline; NaN and infinity are refused."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
