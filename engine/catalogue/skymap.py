"""Sources per pixel of the sky, as the FITS map that HATS readers take their coverage from.

References
----------
hats 0.11, hats/io/skymap.py; the FITS convention for partial HEALPix maps (INDXSCHM=EXPLICIT).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from partitions.healpix import spatial_index_to_pixel

SKYMAP_ORDER = 8
"""0.23 deg, about a brick; 786,432 pixels."""


class SkyMap:
    """Counts of sources in the pixels of order SKYMAP_ORDER, added leaf by leaf."""

    def __init__(self) -> None:
        self.counts = np.zeros(12 << 2 * SKYMAP_ORDER, dtype=np.int64)

    def add(self, spatial_index: npt.NDArray[np.int64]) -> None:
        """Count sources by their order-29 index, (N,)."""
        pixels, counts = np.unique(
            spatial_index_to_pixel(spatial_index, SKYMAP_ORDER), return_counts=True
        )
        self.counts[pixels] += counts

    @property
    def sky_fraction(self) -> float:
        """Fraction of the sky in pixels that hold a source."""
        return float(np.mean(self.counts > 0))

    def write(self, path: Path) -> None:
        """Write the pixels that hold a source, NESTED, ICRS; the same counts, the same bytes."""
        pixels = np.flatnonzero(self.counts)
        columns = [
            fits.Column("PIXEL", "K", array=pixels),
            fits.Column("VALUE", "K", array=self.counts[pixels]),
        ]
        table = fits.BinTableHDU.from_columns(columns)
        table.header.update(
            {
                "PIXTYPE": "HEALPIX",
                "ORDERING": "NESTED",
                "COORDSYS": "C",
                "INDXSCHM": "EXPLICIT",
                "NSIDE": 1 << SKYMAP_ORDER,
                "OBS_NPIX": len(pixels),
            }
        )
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def read_skymap(path: Path) -> npt.NDArray[np.int64]:
    """Counts of all pixels of order SKYMAP_ORDER, (786432,).

    Raises
    ------
    OSError, ValueError, KeyError
        If it cannot be read or is no such map.
    """
    counts = np.zeros(12 << 2 * SKYMAP_ORDER, dtype=np.int64)
    with fits.open(path) as file:
        table, header = file[1].data, file[1].header
        if header["NSIDE"] != 1 << SKYMAP_ORDER or header["INDXSCHM"] != "EXPLICIT":
            raise ValueError(f"NSIDE={header['NSIDE']}, INDXSCHM={header['INDXSCHM']}")
        if len(table):
            pixels = np.asarray(table["PIXEL"])
            if pixels.min() < 0 or pixels.max() >= len(counts):
                raise ValueError(f"pixel {pixels.max()} of {len(counts)}")
            counts[pixels] = table["VALUE"]
    return counts
