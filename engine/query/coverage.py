"""Region -> ranges of `_healpix_29` that hold all of it, by halving pixels along its edge."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from partitions.healpix import max_pixel_radius_rad, pixel_centres, pixels_to_spatial_ranges

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

# Along the edge; more of them would cut off less than they cost.
_MAX_EDGE_PIXELS = 1024
# 0.8 arcsec: finer than any row group.
_MAX_ORDER = 18
# Positions are rounded to 1e-16 rad, and so are centres and depths.
_ROUNDING_RAD = 1e-12


class HasDepth(Protocol):
    """A region that knows how deep a position lies in it."""

    def depth_rad(self, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
        """(N,) signed depth: every point nearer than it to the position is inside, and where it
        is negative every point nearer than -depth is outside."""


def covering_ranges(region: HasDepth) -> IntArray:
    """Every position of the region lies in one of these ranges, (K, 2) int64, inclusive.

    They are sorted and disjoint and may hold more than the region: rows are tested one by one.
    """
    edge = np.arange(12, dtype=np.int64)
    ranges = [np.empty((0, 2), dtype=np.int64)]
    for order in range(_MAX_ORDER + 1):
        radius_rad = max_pixel_radius_rad(order) + _ROUNDING_RAD
        depth_rad = region.depth_rad(*pixel_centres(edge, order))
        ranges.append(pixels_to_spatial_ranges(edge[depth_rad >= radius_rad], order))
        edge = edge[np.abs(depth_rad) < radius_rad]
        if order == _MAX_ORDER or 4 * len(edge) > _MAX_EDGE_PIXELS:
            ranges.append(pixels_to_spatial_ranges(edge, order))
            break
        edge = (4 * edge[:, None] + np.arange(4)).ravel()
    return merge_ranges(np.concatenate(ranges))


def merge_ranges(ranges: IntArray) -> IntArray:
    """The same numbers in sorted ranges that neither overlap nor touch, (K, 2), inclusive."""
    if not len(ranges):
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    last = np.maximum.accumulate(ranges[:, 1])
    starts = np.flatnonzero(np.concatenate([[True], ranges[1:, 0] - 1 > last[:-1]]))
    return np.stack([ranges[starts, 0], last[np.append(starts[1:], len(ranges)) - 1]], axis=-1)


def overlaps(ranges: IntArray, smallest: int, largest: int) -> bool:
    """Whether any of sorted, disjoint ranges meets the interval, ends included."""
    index = int(np.searchsorted(ranges[:, 0], largest, side="right")) - 1
    return index >= 0 and int(ranges[index, 1]) >= smallest
