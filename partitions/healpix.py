"""HEALPix, NESTED throughout: pixels, and the order-29 index of a HATS catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import healpy
import numpy as np
import numpy.typing as npt

SPATIAL_INDEX_ORDER = 29
"""Order of the column `_healpix_29` of HATS."""

MAX_PARTITION_ORDER = 13
"""nside 8192: a pixel is 0.4 arcmin wide there, smaller than any useful file."""


@dataclass(frozen=True, order=True)
class Pixel:
    """One HEALPix pixel, NESTED."""

    order: int
    number: int

    def __str__(self) -> str:
        return f"{self.order}-{self.number}"


def nside_to_order(nside: int) -> int:
    """Order = log2(nside).

    Raises
    ------
    ValueError
        If nside is no power of two from 1 to 2**MAX_PARTITION_ORDER.
    """
    largest = 1 << MAX_PARTITION_ORDER
    if not 1 <= nside <= largest or nside & (nside - 1):
        below = min(1 << max(nside, 1).bit_length() - 1, largest)
        raise ValueError(
            f"nside={nside} is no power of two from 1 to {largest}: "
            f"HEALPix NESTED needs one, for example {below}"
        )
    return nside.bit_length() - 1


def radec_to_pixel(
    ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, order: int
) -> npt.NDArray[np.int64]:
    """NESTED pixel numbers of positions: (N,) degrees, ICRS -> (N,) int64."""
    return np.asarray(
        healpy.ang2pix(1 << order, ra_deg, dec_deg, nest=True, lonlat=True), dtype=np.int64
    )


def radec_to_spatial_index(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """HATS `_healpix_29` of positions: (N,) degrees, ICRS -> (N,) int64."""
    return radec_to_pixel(ra_deg, dec_deg, SPATIAL_INDEX_ORDER)


def spatial_index_to_pixel(
    spatial_index: npt.NDArray[np.int64], order: int
) -> npt.NDArray[np.int64]:
    """Pixel at `order` that contains each order-29 pixel: (N,) int64 -> (N,) int64."""
    return spatial_index >> 2 * (SPATIAL_INDEX_ORDER - order)


def pixel_centres(
    numbers: npt.NDArray[np.int64], order: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """RA and Dec of the centres of NESTED pixels: (N,) int64 -> two (N,) degrees, ICRS."""
    ra_deg, dec_deg = healpy.pix2ang(1 << order, numbers, nest=True, lonlat=True)
    return np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)


def max_pixel_radius_rad(order: int) -> float:
    """Largest distance of any point of any pixel of an order from the pixel's centre."""
    return float(healpy.max_pixrad(1 << order))


def pixels_to_spatial_ranges(numbers: npt.NDArray[np.int64], order: int) -> npt.NDArray[np.int64]:
    """First and last `_healpix_29` inside NESTED pixels: (N,) int64 -> (N, 2) int64, inclusive."""
    shift = 2 * (SPATIAL_INDEX_ORDER - order)
    return np.stack([numbers << shift, ((numbers + 1) << shift) - 1], axis=-1)


def neighbours(pixel: Pixel) -> list[Pixel]:
    """The pixels of the same order that share an edge or a corner with it, in order: 6 to 8."""
    found = healpy.get_all_neighbours(1 << pixel.order, pixel.number, nest=True)
    return [Pixel(pixel.order, int(number)) for number in np.unique(found) if number >= 0]


def cells_from_edge(spatial_index: npt.NDArray[np.int64], pixel: Pixel) -> npt.NDArray[np.int64]:
    """Whole order-29 cells between each position in `pixel` and its nearest edge: (N,) -> (N,)."""
    x, y, _ = healpy.pix2xyf(1 << SPATIAL_INDEX_ORDER, spatial_index, nest=True)
    last = (1 << SPATIAL_INDEX_ORDER - pixel.order) - 1
    x, y = np.asarray(x) & last, np.asarray(y) & last
    cells = np.minimum(np.minimum(x, last - x), np.minimum(y, last - y))
    return np.asarray(cells, dtype=np.int64)


def boundary_vectors(pixel: Pixel, num_steps: int) -> npt.NDArray[np.float64]:
    """(4 num_steps, 3) unit vectors around the pixel's boundary, `num_steps` along each edge."""
    corners = healpy.boundaries(1 << pixel.order, pixel.number, step=num_steps, nest=True)
    return np.ascontiguousarray(np.asarray(corners, dtype=np.float64).T)


def radec_to_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Unit vectors of positions: (N,) degrees -> (N, 3)."""
    return np.asarray(healpy.ang2vec(ra_deg, dec_deg, lonlat=True), dtype=np.float64).reshape(-1, 3)
