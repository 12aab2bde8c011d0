"""Stamps from a decoded brick: whole pixels, centred on the source, zero outside coverage.

Shapes: N sources, S stamp side, H, W image sides.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        (H, W) nanomaggy, exactly 0 (or not finite) where there is no data.
    x, y
        (N,) 0-indexed pixel positions of the sources (DR10 columns bx, by in the optical bands).
    side_px
        S, even.
    """
    has_data = np.isfinite(image) & (image != 0)
    too_bright = np.abs(image) > STAMP_PIXEL_MAX
    # One conversion of the image, not one per stamp: the stamps of a dense brick overlap.
    half = np.clip(np.where(has_data, image, 0), -STAMP_PIXEL_MAX, STAMP_PIXEL_MAX)
    half = half.astype(np.float16)
    left, bottom = stamp_corner(x, side_px), stamp_corner(y, side_px)
    pixels = np.zeros((len(x), side_px, side_px), dtype=np.float16)
    height, width = image.shape
    for source, (column, row) in enumerate(zip(left.tolist(), bottom.tolist(), strict=True)):
        x0, x1 = max(column, 0), min(column + side_px, width)
        y0, y1 = max(row, 0), min(row + side_px, height)
        if x0 < x1 and y0 < y1:
            pixels[source, y0 - row : y1 - row, x0 - column : x1 - column] = half[y0:y1, x0:x1]
    return Stamps(
        pixels=pixels,
        coverage=(_count_in_boxes(has_data, left, bottom, side_px) / side_px**2).astype(np.float32),
        clipped=_count_in_boxes(too_bright & has_data, left, bottom, side_px) > 0,
    )


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
