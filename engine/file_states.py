"""Sizes and modification times of a survey's files: how a run knows that the survey changed.

They are taken when a run is planned, all from one moment, and compared whenever a brick is read
and whenever the run is started again. DR10 has 2.6 million such files: they are packed, paths are
plain text here, and several threads ask, because on a parallel file system each answer takes up
to a millisecond.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from partitions.bricks import SurveyLayout
from partitions.schema import BANDS

FileState = tuple[int, int]
"""Size in bytes and modification time in ns of one survey file."""

_FILES: tuple[tuple[str, str | None], ...] = (
    ("tractor", None),
    *(("image", band) for band in BANDS),
)
FILE_KINDS = tuple(kind if band is None else f"{kind}-{band}" for kind, band in _FILES)
"""The files that a run reads of a brick."""

_PACKED = struct.Struct(f"<{2 * len(FILE_KINDS)}q")
_ABSENT = (-1, 0)
_LATEST_NS = 2**63 - 1
_BRICKS_PER_BATCH = 64
_NUM_THREADS = 64
"""So many stats wait for a file server at a time. On a local disk 64 take as long as one."""


@dataclass(frozen=True, slots=True)
class FileStates:
    """The files of one brick; a file that is not there is left out."""

    packed: bytes
    """Size and time of each of FILE_KINDS, little-endian int64; size -1 where it is absent."""

    @classmethod
    def of(cls, states: Mapping[str, FileState | None]) -> FileStates:
        """From kind -> state.

        Raises
        ------
        ValueError
            If a kind is none of FILE_KINDS.
        """
        unknown = states.keys() - set(FILE_KINDS)
        if unknown:
            raise ValueError(f"file {min(unknown)!r} is none of {', '.join(FILE_KINDS)}")
        return _pack([states.get(kind) for kind in FILE_KINDS])

    def as_list(self) -> list[FileState | None]:
        """States in the order of FILE_KINDS."""
        values = _PACKED.unpack(self.packed)
        return [
            (size, mtime_ns) if size >= 0 else None
            for size, mtime_ns in zip(values[::2], values[1::2], strict=True)
        ]

    def as_dict(self) -> dict[str, FileState]:
        """Kind -> state, absent files left out."""
        pairs = zip(FILE_KINDS, self.as_list(), strict=True)
        return {kind: state for kind, state in pairs if state is not None}

    def has(self, kind: str) -> bool:
        """Whether the brick has this file."""
        return self.as_list()[FILE_KINDS.index(kind)] is not None

    @property
    def num_bytes(self) -> int:
        """Bytes of all files that are there."""
        return sum(size for size in _PACKED.unpack(self.packed)[::2] if size >= 0)


def _pack(states: Sequence[FileState | Sequence[int] | None]) -> FileStates:
    return FileStates(_PACKED.pack(*(n for state in states for n in (state or _ABSENT))))


def file_states_from_list(states: Sequence[Sequence[int] | None]) -> FileStates:
    """The inverse of `FileStates.as_list`.

    Raises
    ------
    ValueError
        If it is no list of sizes and times, one for each of FILE_KINDS.
    """
    try:
        return _pack(states)
    except (struct.error, TypeError) as error:
        raise ValueError(f"file states {states!r}: {error}") from None


def survey_file_states(layout: SurveyLayout, brick_name: str) -> FileStates:
    """Size and modification time of the files that a run reads of one brick.

    A missing band is normal; a missing Tractor table is met when it is read.
    """
    states: list[FileState | None] = []
    for kind, band in _FILES:
        try:
            status = os.stat(layout.brick_path(kind, brick_name, band))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            states.append(None)
        else:
            # A time after 2262 does not fit into 64 bits; such files exist.
            states.append((status.st_size, min(status.st_mtime_ns, _LATEST_NS)))
    return _pack(states)


def iterate_file_states(layout: SurveyLayout, names: Sequence[str]) -> Iterator[FileStates]:
    """`survey_file_states` of many bricks, in their order."""
    batches = [
        names[first : first + _BRICKS_PER_BATCH]
        for first in range(0, len(names), _BRICKS_PER_BATCH)
    ]

    def look(batch: Sequence[str]) -> list[FileStates]:
        return [survey_file_states(layout, name) for name in batch]

    if len(batches) == 1:
        yield from look(batches[0])
        return
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for found in pool.map(look, batches):
            yield from found


def describe_change(before: FileStates, now: FileStates) -> str:
    """The first file of a brick whose state differs, with both states."""
    changed = {
        kind: (old, new)
        for kind, old, new in zip(FILE_KINDS, before.as_list(), now.as_list(), strict=True)
        if old != new
    }
    kind = min(changed)
    old, new = changed[kind]
    return f"{kind}: {_describe(old)} when planned, {_describe(new)} now"


def _describe(state: FileState | None) -> str:
    if state is None:
        return "absent"
    return f"{state[0]:,} bytes modified at {state[1] / 1e9:.3f}"
