"""Which compression tiles of an image to decode: those that stamps touch, or all at once.

A coadd is compressed in tiles of 100 x 100 px (FITS 4.0, section 10), each by itself. A few stamps
touch a few tiles, and the rest need not be decoded.

Shapes: N stamps, H, W image sides, P, Q numbers of tiles along y and x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# What one call of the decoder costs beside its tiles, in tiles: it copies the table of all tiles
# each time. Measured with benchmarks/tile_reading.py on a brick full of sky, 3600 x 3600 px in
# 1,296 tiles: 0.46 ms a call, 0.14 ms a tile.
CALL_COST_TILES = 3.0

# Tiles are decoded one by one where that is estimated to cost less than this share of the tiles of
# the image. The same benchmark breaks even there, near 250 stamps of 64 px scattered over the
# brick, which touch 0.4 of its tiles: a tile costs more by itself than in a whole image. Nearly
# empty sky, whose tiles are cheap, breaks even at 0.33, but loses 36 ms at most.
MAX_COST_SHARE = 0.75


class Box(NamedTuple):
    """A rectangle of pixels, the ends not included."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    def scaled(self, tile_shape: tuple[int, int], shape: tuple[int, int]) -> Box:
        """A box of tiles in pixels of an image of this shape."""
        (tile_y, tile_x), (height, width) = tile_shape, shape
        return Box(
            self.y0 * tile_y,
            min(self.y1 * tile_y, height),
            self.x0 * tile_x,
            min(self.x1 * tile_x, width),
        )


def count_tiles(shape: tuple[int, int], tile_shape: tuple[int, int]) -> int:
    """Tiles of an image, or of a box of whole tiles."""
    return -(-shape[0] // tile_shape[0]) * -(-shape[1] // tile_shape[1])


def tiles_touched(
    shape: tuple[int, int],
    tile_shape: tuple[int, int],
    left: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    side_px: int,
) -> npt.NDArray[np.bool_]:
    """Tiles that hold a pixel of any stamp, (P, Q).

    Parameters
    ----------
    shape, tile_shape
        (H, W) of the image and of a tile, pixels.
    left, bottom
        (N,) first pixel of every stamp; it may lie outside the image.
    side_px
        Side of the stamps.
    """
    height, width = shape
    touched = np.zeros((-(-height // tile_shape[0]), -(-width // tile_shape[1])), dtype=np.bool_)
    inside = (left < width) & (left + side_px > 0) & (bottom < height) & (bottom + side_px > 0)
    first, last = [], []
    for start, length, tile in zip((bottom, left), shape, tile_shape, strict=True):
        first.append(np.maximum(start[inside], 0) // tile)
        last.append((np.minimum(start[inside] + side_px, length) - 1) // tile)
    steps = [side_px // tile + 2 for tile in tile_shape]
    for step_y in range(steps[0]):
        for step_x in range(steps[1]):
            rows = np.minimum(first[0] + step_y, last[0])
            touched[rows, np.minimum(first[1] + step_x, last[1])] = True
    return touched


def boxes_to_decode(
    shape: tuple[int, int],
    tile_shape: tuple[int, int],
    left: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    side_px: int,
) -> tuple[Box, ...] | None:
    """Boxes of whole tiles that hold every stamp; None where decoding the whole image is cheaper.

    No tile lies in two boxes. The parameters are those of `tiles_touched`.
    """
    touched = tiles_touched(shape, tile_shape, left, bottom, side_px)
    boxes = cover(touched)
    if cost_tiles(boxes) > MAX_COST_SHARE * touched.size:
        return None
    return tuple(box.scaled(tile_shape, shape) for box in boxes)


def cost_tiles(boxes: Sequence[Box]) -> float:
    """Estimated cost of decoding boxes, given in tiles, in units of one tile."""
    num_tiles = sum((box.y1 - box.y0) * (box.x1 - box.x0) for box in boxes)
    return num_tiles + CALL_COST_TILES * len(boxes)


def cover(touched: npt.NDArray[np.bool_]) -> list[Box]:
    """Boxes, in tiles, that hold every touched one of (P, Q): runs along x, equal ones joined."""
    done: list[Box] = []
    growing: dict[tuple[int, int], Box] = {}
    for row, tiles in enumerate(touched):
        grown: dict[tuple[int, int], Box] = {}
        for run in _runs(np.flatnonzero(tiles)):
            above = growing.pop(run, None)
            grown[run] = Box(row if above is None else above.y0, row + 1, *run)
        done.extend(growing.values())
        growing = grown
    return [*done, *growing.values()]


def _runs(columns: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and one past the last of every run; a gap cheaper than another call is bridged."""
    if not len(columns):
        return []
    breaks = np.flatnonzero(np.diff(columns) - 1 > CALL_COST_TILES)
    starts = columns[np.concatenate([[0], breaks + 1])]
    ends = columns[np.concatenate([breaks, [len(columns) - 1]])] + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
