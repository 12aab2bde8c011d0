"""Photometry of any table: fluxes and their errors in the bands that the table has.

Magnitudes become fluxes on reading, so that one network serves tables of either: a flux has an
error at any brightness and a noise that does not depend on it.

Shapes: N rows, B bands in order of wavelength, E extra columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Units = Literal["mag", "nanomaggy"]

ZERO_POINT_MAG = 22.5
"""Magnitude of a flux of 1 nanomaggy; AB where the table's magnitudes are."""

MAGNITUDE_RANGE = (-5.0, 50.0)
"""Magnitudes beyond are no measurement but a fill value that nobody named: missing."""

# d mag / d ln flux
_POGSON = 2.5 / np.log(10)


@dataclass(frozen=True)
class TableLayout:
    """Which bands and other columns the rows have."""

    bands: tuple[str, ...]
    """Names, in order of wavelength: colours are those of neighbouring bands."""
    reference: str
    """The band whose magnitude stands beside the colours where neighbours are sought."""
    extra: tuple[str, ...] = ()
    """Further columns that the network reads as they are, for example a size."""
    units: Units = "mag"
    """What the table holds: a flux below zero has no magnitude, and is none the less measured."""

    def __post_init__(self) -> None:
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ValueError(f"bands {list(self.bands)}: expected at least one, each once")
        if len(set(self.extra)) != len(self.extra):
            raise ValueError(f"extra columns {list(self.extra)}: expected each once")
        if self.reference not in self.bands:
            raise ValueError(f"reference band {self.reference!r} is none of {list(self.bands)}")


@dataclass(frozen=True, eq=False)
class TableRows:
    """N rows of a table."""

    flux: FloatArray
    """(N, B) nanomaggy; NaN where the band is missing."""
    flux_error: FloatArray
    """(N, B) nanomaggy, positive; NaN where the band is missing."""
    extra: FloatArray
    """(N, E) in the table's own units; NaN where missing."""

    def __post_init__(self) -> None:
        shapes = self.flux.shape, self.flux_error.shape, self.extra.shape
        if self.flux.ndim != 2 or shapes[0] != shapes[1] or len(self.extra) != len(self.flux):
            raise ValueError(f"flux, flux_error, extra have shapes {shapes}: they must agree")

    def __len__(self) -> int:
        return len(self.flux)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(N, B) whether the band was measured."""
        return np.isfinite(self.flux)

    def take(self, rows: npt.NDArray[np.int64] | slice) -> TableRows:
        """Some rows, in the given order."""
        return TableRows(self.flux[rows], self.flux_error[rows], self.extra[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[TableRows]) -> TableRows:
        """Rows of several tables."""
        return cls(
            np.concatenate([part.flux for part in parts]),
            np.concatenate([part.flux_error for part in parts]),
            np.concatenate([part.extra for part in parts]),
        )

    @classmethod
    def from_fluxes(
        cls, flux: npt.ArrayLike, flux_error: npt.ArrayLike, extra: npt.ArrayLike | None = None
    ) -> TableRows:
        """Rows from fluxes and errors (N, B), nanomaggy; a band without either is missing."""
        value, error = np.asarray(flux, np.float64), np.asarray(flux_error, np.float64)
        good = np.isfinite(value) & np.isfinite(error) & (error > 0)
        other = np.empty((len(value), 0)) if extra is None else np.asarray(extra, np.float64)
        other = np.where(np.isfinite(other), other, np.nan)
        return cls(np.where(good, value, np.nan), np.where(good, error, np.nan), other)

    @classmethod
    def from_magnitudes(
        cls,
        magnitude: npt.ArrayLike,
        magnitude_error: npt.ArrayLike,
        extra: npt.ArrayLike | None = None,
    ) -> TableRows:
        """Rows from magnitudes and errors (N, B); those beyond `MAGNITUDE_RANGE` are missing."""
        value, error = np.asarray(magnitude, np.float64), np.asarray(magnitude_error, np.float64)
        low, high = MAGNITUDE_RANGE
        good = np.isfinite(value) & (value > low) & (value < high)
        flux = 10 ** (-0.4 * (np.where(good, value, np.nan) - ZERO_POINT_MAG))
        return cls.from_fluxes(flux, flux * error / _POGSON, extra)
