"""What the cuts of all classes are made of: dereddened fluxes, magnitudes, S/N, masks.

Every number is computed as desitarget computes it, operation by operation in float32, because a
row on a cut falls to one side or the other by its last digit. NaN fails every comparison.

References
----------
desitarget 4.4.0 `cuts._prepare_optical_wise`, `cuts._prepare_gaia`, `geomask.imaging_mask`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from partitions.schema import MASKBITS

Float32Array: TypeAlias = npt.NDArray[np.float32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]

OPTICAL = ("G", "R", "Z")
"""The optical bands of DESI targeting: i is not used."""


def magnitude(flux: npt.NDArray[Any], floor: float) -> npt.NDArray[Any]:
    """22.5 - 2.5 log10(flux), nanomaggy, AB; fluxes below the floor count as the floor."""
    return np.asarray(22.5 - 2.5 * np.log10(flux.clip(floor)))


class TargetSources:
    """N rows with the columns of a sweep file, upper case; each (N,)."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column as it stands in the table."""
        return self._columns[name]

    def flux(self, band: str) -> Float32Array:
        """FLUX of a band corrected for Galactic extinction, nanomaggy."""
        return self._dereddened(f"FLUX_{band}", band)

    def fiber_flux(self, band: str) -> Float32Array:
        """FIBERFLUX of a band corrected for Galactic extinction. FIBERTOTFLUX never is."""
        return self._dereddened(f"FIBERFLUX_{band}", band)

    def _dereddened(self, name: str, band: str) -> Float32Array:
        ratio = self.column(name) / self.column(f"MW_TRANSMISSION_{band}")
        return np.asarray(ratio, dtype=np.float32)

    def signal_to_noise(self, band: str) -> npt.NDArray[Any]:
        """FLUX sqrt(FLUX_IVAR), of the flux as observed."""
        ivar = self.column(f"FLUX_IVAR_{band}")
        return np.asarray(self.column(f"FLUX_{band}") * np.sqrt(ivar))

    def is_observed(self) -> BoolArray:
        """An exposure in each of g, r, z at the source's place."""
        return _all_of(self.column(f"NOBS_{band}") > 0 for band in OPTICAL)

    def is_clear_of(self, *names: str) -> BoolArray:
        """None of these MASKBITS is set."""
        mask = self.column("MASKBITS")
        return _all_of((mask & (1 << MASKBITS[name])) == 0 for name in names)

    def is_unmasked(self) -> BoolArray:
        """desitarget's default imaging mask, for all classes but BGS."""
        return self.is_clear_of("BRIGHT", "GALAXY", "CLUSTER")

    def is_psf(self) -> BoolArray:
        """TYPE is PSF."""
        return np.asarray(np.char.strip(self.column("TYPE").astype("U4")) == "PSF")

    def gaia_minus_r(self) -> npt.NDArray[np.float64]:
        """Gaia G minus the observed r magnitude; about -62 where FLUX_R is not positive.

        In float64, unlike all else: desitarget's value for such rows is, and gives the rest its
        type. Without a Gaia match G is 0.
        """
        gaia, flux = self.column("GAIA_PHOT_G_MEAN_MAG"), self.column("FLUX_R")
        result = np.asarray(gaia - 22.5 + 2.5 * np.log10(np.float64(1e-16)), dtype=np.float64)
        seen = flux > 0
        result[seen] = gaia[seen] - 22.5 + 2.5 * np.log10(flux[seen])
        return result


def _all_of(conditions: Iterable[BoolArray]) -> BoolArray:
    return np.asarray(np.logical_and.reduce(list(conditions)))
