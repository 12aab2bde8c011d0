"""A training set as a folder of .npy files, to be mapped into memory.

Every process that maps a file shares its pages: the rows of a training on several devices are in
memory once, none is copied through a pipe, and rows that are larger than memory are read as they
are needed.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from model.dataset import TrainingSet

_COMPLETE = "complete"


def write_rows(folder: Path, rows: TrainingSet) -> None:
    """Write all arrays of a training set, over what is in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _COMPLETE).unlink(missing_ok=True)
    for item in fields(rows):
        value = getattr(rows, item.name)
        for name, values in (value if isinstance(value, dict) else {"": value}).items():
            if values is not None:
                np.save(folder / f"{item.name}-{name}.npy", values)
    (folder / _COMPLETE).touch()


def has_rows(folder: Path) -> bool:
    """Whether `write_rows` has finished there."""
    return (folder / _COMPLETE).exists()


def map_rows(folder: Path) -> TrainingSet:
    """The training set of `write_rows`; its arrays are read-only and on disk.

    Raises
    ------
    FileNotFoundError
        If the folder is not complete.
    """
    if not has_rows(folder):
        raise FileNotFoundError(f"{folder} holds no complete training rows")
    values: dict[str, Any] = {}
    for path in sorted(folder.glob("*.npy")):
        item, name = path.stem.split("-", 1)
        array = np.load(path, mmap_mode="r")
        if name:
            values.setdefault(item, {})[name] = array
        else:
            values[item] = array
    return TrainingSet(**values)
