"""What is asked for besides a region, and what the statistics of a row group can rule out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.config import UserError
from engine.query.coverage import IntArray, merge_ranges
from partitions.healpix import SPATIAL_INDEX_ORDER, pixels_to_spatial_ranges

IDS_TABLE = "wanted_targetids"
"""Where the sandbox holds the ids that are asked for: one column, TARGETID."""


class Selection(Protocol):
    """Rows that are asked for."""

    @property
    def column(self) -> str:
        """The column whose smallest and largest values can rule out a row group."""

    def ranges(self) -> IntArray:
        """(K, 2) sorted, disjoint, inclusive: rows asked for have a value in one of them."""

    def condition(self) -> str:
        """SQL that is true exactly for the rows asked for."""


@dataclass(frozen=True)
class Pixels:
    """Rows inside HEALPix pixels, NESTED."""

    order: int
    numbers: tuple[int, ...]
    column: str = SPATIAL_INDEX_COLUMN

    def __post_init__(self) -> None:
        if not 0 <= self.order <= SPATIAL_INDEX_ORDER:
            raise UserError(
                f"pixels: order {self.order} is not within 0 to {SPATIAL_INDEX_ORDER} (log2 nside)"
            )
        num_pixels = 12 << 2 * self.order
        for number in self.numbers:
            if not 0 <= number < num_pixels:
                raise UserError(
                    f"pixels: {number} is no pixel of order {self.order}, "
                    f"which has 0 to {num_pixels - 1} (NESTED)"
                )

    def ranges(self) -> IntArray:
        numbers = np.array(self.numbers, dtype=np.int64)
        return merge_ranges(pixels_to_spatial_ranges(numbers, self.order))

    def condition(self) -> str:
        tests = (
            f"{SPATIAL_INDEX_COLUMN} BETWEEN {first} AND {last}"
            for first, last in self.ranges().tolist()
        )
        return f"({' OR '.join(tests) or 'false'})"


@dataclass(frozen=True)
class TargetIds:
    """Rows by TARGETID."""

    values: tuple[int, ...]
    column: str = "TARGETID"
    use_index: bool = True
    """Whether the index finds their leaves, if no region is given; else all footers are read."""

    def __post_init__(self) -> None:
        for value in self.values:
            if not -(1 << 63) <= value < 1 << 63:
                raise UserError(f"ids: {value} is no TARGETID, which has 64 bits")

    def ranges(self) -> IntArray:
        return np.stack([self.unique()] * 2, axis=-1)

    def unique(self) -> IntArray:
        """(N,) each id once, sorted."""
        return np.unique(np.array(self.values, dtype=np.int64))

    def condition(self) -> str:
        return f"TARGETID IN (SELECT TARGETID FROM {IDS_TABLE})"
