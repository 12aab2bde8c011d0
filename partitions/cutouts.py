"""Stamps from a decoded brick: whole pixels, centred on the source, zero outside coverage.

Shapes: N sources, S stamp side, H, W image sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from partitions.schema import STAMP_PIXEL_MAX


@dataclass(frozen=True)
class Stamps:
    """Stamps of N sources in one band."""

    pixels: npt.NDArray[np.float16]
    """(N, S, S); the source's own pixel is [S // 2, S // 2]."""
    coverage: npt.NDArray[np.float32]
    """(N,) fraction of the pixels that lie in the image and have data."""
    clipped: npt.NDArray[np.bool_]
    """(N,) whether a pixel was clipped to the range of float16."""


def stamp_corner(x: npt.NDArray[np.float64], side_px: int) -> npt.NDArray[np.int64]:
    """First pixel of a stamp along one axis: (N,) 0-indexed centres -> (N,)."""
    return np.floor(x + 0.5).astype(np.int64) - side_px // 2


def cut_stamps(
    image: npt.NDArray[np.float32],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    side_px: int,
) -> Stamps:
    """Cut whole-pixel stamps around positions.

    Parameters
    ----------
    image
        (H, W) nanomaggy, exactly 0 (or not finite) where there is no data. Pixels that no stamp
        holds may be anything.
    x, y
        (N,) 0-indexed pixel positions of the sources (DR10 columns bx, by in the optical bands).
    side_px
        S, even.
    """
    left, bottom = stamp_corner(x, side_px), stamp_corner(y, side_px)
    if len(x) * side_px**2 < image.size:
        # Few stamps: fewer pixels to convert than the image has.
        own = _slice_stamps(image, left, bottom, side_px)
        half, has_data, clipped = _convert(own)
        count = np.count_nonzero(has_data, axis=(1, 2))
        return _stamps(half, count, np.count_nonzero(clipped, axis=(1, 2)) > 0)
    # One conversion of the image, not one per stamp: the stamps of a dense brick overlap.
    half, has_data, clipped = _convert(image)
    return _stamps(
        _slice_stamps(half, left, bottom, side_px),
        _count_in_boxes(has_data, left, bottom, side_px),
        _count_in_boxes(clipped, left, bottom, side_px) > 0,
    )


def _convert(
    values: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pixels as they are stored, whether they have data, and whether they were clipped."""
    has_data = np.isfinite(values) & (values != 0)
    too_bright = np.abs(values) > STAMP_PIXEL_MAX
    half = np.clip(np.where(has_data, values, 0), -STAMP_PIXEL_MAX, STAMP_PIXEL_MAX)
    return half.astype(np.float16), has_data, too_bright & has_data


def _slice_stamps(
    image: npt.NDArray[Any],
    left: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    side_px: int,
) -> npt.NDArray[Any]:
    """(N, S, S) pixels of the image, 0 outside it."""
    pixels = np.zeros((len(left), side_px, side_px), dtype=image.dtype)
    height, width = image.shape
    for source, (column, row) in enumerate(zip(left.tolist(), bottom.tolist(), strict=True)):
        x0, x1 = max(column, 0), min(column + side_px, width)
        y0, y1 = max(row, 0), min(row + side_px, height)
        if x0 < x1 and y0 < y1:
            pixels[source, y0 - row : y1 - row, x0 - column : x1 - column] = image[y0:y1, x0:x1]
    return pixels


def _stamps(
    pixels: npt.NDArray[np.float16],
    num_with_data: npt.NDArray[np.int64],
    clipped: npt.NDArray[np.bool_],
) -> Stamps:
    coverage = num_with_data / pixels.shape[-1] ** 2
    return Stamps(pixels, coverage.astype(np.float32), clipped)


def _count_in_boxes(
    mask: npt.NDArray[np.bool_],
    left: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    side_px: int,
) -> npt.NDArray[np.int64]:
    """How many true pixels each stamp holds, (N,), by a summed-area table."""
    height, width = mask.shape
    x0, x1 = np.clip(left, 0, width), np.clip(left + side_px, 0, width)
    y0, y1 = np.clip(bottom, 0, height), np.clip(bottom + side_px, 0, height)
    if not mask.any():
        return np.zeros(len(left), dtype=np.int64)
    if mask.all():
        return (x1 - x0) * (y1 - y0)
    table = np.zeros((height + 1, width + 1), dtype=np.int32)
    np.cumsum(mask, axis=0, dtype=np.int32, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    counts = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return counts.astype(np.int64)
