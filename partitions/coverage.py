"""How much of a brick's own region an image covers: the area behind a density.

Coverage is read off the image, exactly zero where no exposure is (DESIGN.md, decision 10), at a
lattice of equal areas: 4.5 arcsec apart on a brick of 0.25 deg. Rows outside the own region are
another brick's, so that areas of bricks add up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from partitions.bricks import Brick

LATTICE_SIDE = 200
"""Points along each side of a brick."""

TARGET_BANDS = "grz"
"""Key of the area that g, r and z cover together: there DESI's cuts can select."""


def sky_lattice(brick: Brick) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """RA, Dec, degrees, of K = LATTICE_SIDE**2 points, each for an equal share of the region."""
    share = (np.arange(LATTICE_SIDE) + 0.5) / LATTICE_SIDE
    ra_deg = brick.ra1_deg + (brick.ra2_deg - brick.ra1_deg) * share
    low, high = np.sin(np.radians([brick.dec1_deg, brick.dec2_deg]))
    dec_deg = np.degrees(np.arcsin(low + (high - low) * share))
    return np.tile(ra_deg, LATTICE_SIDE), np.repeat(dec_deg, LATTICE_SIDE)


def is_covered(
    pixels: npt.NDArray[np.float32], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """(K,) whether the pixel that holds each 0-indexed position exists and has an exposure."""
    height, width = pixels.shape
    column, row = np.floor(x + 0.5), np.floor(y + 0.5)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)  # NaN is outside
    covered = np.zeros(len(x), dtype=bool)
    covered[inside] = pixels[row[inside].astype(np.intp), column[inside].astype(np.intp)] != 0
    return covered


def covered_areas(
    brick: Brick, covered: dict[str, npt.NDArray[np.bool_]], bands: tuple[str, ...]
) -> dict[str, float]:
    """deg^2 that each band covers, and that g, r and z cover together (`TARGET_BANDS`).

    Parameters
    ----------
    covered
        Band -> (K,) for the bands that have an image.
    bands
        The bands to report; one without an image covers nothing.
    """
    nothing = np.zeros(1, dtype=bool)
    masks = {band: covered.get(band, nothing) for band in bands}
    masks[TARGET_BANDS] = np.logical_and.reduce(
        np.broadcast_arrays(*(masks[band] for band in TARGET_BANDS))
    )
    return {name: brick.area_deg2 * float(mask.mean()) for name, mask in masks.items()}
