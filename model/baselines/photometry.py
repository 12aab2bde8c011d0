"""What the baselines read: the survey's arrays, or any table of magnitudes.

A `Photometry` turns arrays into the two inputs that the methods need: a finite matrix for trees,
and magnitudes (NaN where missing) for distances between neighbours. `SURVEY` reads the arrays of
partitions.schema; `table_photometry` reads `magnitude` and `magnitude_error` of any bands.

Shapes: N rows, B bands in order of wavelength, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from partitions.photometry import FEATURE_NAMES, flux_to_asinh_magnitude
from partitions.schema import BANDS

Arrays = Mapping[str, npt.NDArray[Any]]
FloatArray = npt.NDArray[np.float64]

# Far below any magnitude or colour: a tree separates it from the measured values in one cut.
MISSING_VALUE = -99.0

_MAGNITUDE_COLUMNS = [FEATURE_NAMES.index(f"MAG_{band.upper()}") for band in BANDS]


@dataclass(frozen=True)
class Photometry:
    """How a baseline reads arrays."""

    bands: tuple[str, ...]
    """Names of the B bands, in order of wavelength: colours are those of neighbouring bands."""
    reference: str
    """The band whose magnitude stands beside the colours."""
    matrix: Callable[[Arrays], npt.NDArray[np.float32]]
    """Arrays -> (N, F) finite features for trees."""
    magnitudes: Callable[[Arrays], FloatArray]
    """Arrays -> (N, B) magnitudes corrected for Galactic extinction, NaN where missing."""

    def __post_init__(self) -> None:
        if self.reference not in self.bands:
            raise ValueError(f"reference band {self.reference!r} is none of {self.bands}")


def photometry_matrix(arrays: Arrays) -> npt.NDArray[np.float32]:
    """(N, F + 3 B) features, S/N, depth and presence of every band; what is missing is -99.

    Parameters
    ----------
    arrays
        `features` (N, F), NaN where a band is missing; `flux`, `flux_ivar`, `mw_transmission`
        (N, B).
    """
    features = np.nan_to_num(arrays["features"].astype(np.float32), nan=MISSING_VALUE)
    ivar = np.maximum(arrays["flux_ivar"].astype(np.float64), 0)
    present = ivar > 0
    signal_to_noise = np.arcsinh(arrays["flux"].astype(np.float64) * np.sqrt(ivar))
    transmission = np.maximum(arrays["mw_transmission"].astype(np.float64), 0.01)
    depth_mag = 22.5 + 2.5 * np.log10(np.sqrt(np.where(present, ivar, 1.0)) * transmission)
    errors = [np.where(present, values, MISSING_VALUE) for values in (signal_to_noise, depth_mag)]
    return np.concatenate([features, *errors, present], axis=1).astype(np.float32)


def _survey_magnitudes(arrays: Arrays) -> FloatArray:
    """(N, 6) dereddened model magnitudes, read off the features."""
    return np.asarray(arrays["features"][:, _MAGNITUDE_COLUMNS], np.float64)


SURVEY = Photometry(BANDS, "r", photometry_matrix, _survey_magnitudes)
"""The arrays of a brick, as partitions.schema names them."""


def table_photometry(bands: tuple[str, ...], reference: str = "r") -> Photometry:
    """Photometry of a plain table.

    Its arrays are `magnitude` and `magnitude_error`, both (N, B), mag, NaN where missing, already
    corrected for Galactic extinction. Trees get magnitudes, errors and neighbouring colours.

    Raises
    ------
    ValueError
        If `reference` is none of the bands; and, on use, if an array has another number of bands.
    """

    def column(arrays: Arrays, name: str) -> FloatArray:
        values = np.asarray(arrays[name], np.float64)
        if values.ndim != 2 or values.shape[1] != len(bands):
            raise ValueError(f"{name} has shape {values.shape}, expected (N, {len(bands)})")
        return np.where(np.isfinite(values), values, np.nan)

    def magnitudes(arrays: Arrays) -> FloatArray:
        return column(arrays, "magnitude")

    def matrix(arrays: Arrays) -> npt.NDArray[np.float32]:
        magnitude = magnitudes(arrays)
        colours = magnitude[:, :-1] - magnitude[:, 1:]
        columns = [magnitude, column(arrays, "magnitude_error"), colours]
        joined = np.concatenate(columns, axis=1).astype(np.float32)
        return np.nan_to_num(joined, nan=MISSING_VALUE)

    return Photometry(bands, reference, matrix, magnitudes)


def fluxes_to_table(
    flux: npt.ArrayLike,
    flux_ivar: npt.ArrayLike,
    softening: npt.ArrayLike,
    mw_transmission: npt.ArrayLike = 1.0,
) -> dict[str, FloatArray]:
    """Arrays `magnitude` and `magnitude_error` (N, B) for `table_photometry` from fluxes.

    Parameters
    ----------
    flux, flux_ivar
        (N, B) nanomaggy and nanomaggy**-2; the band is missing where flux_ivar is not positive.
    softening
        (B,) nanomaggy, the asinh softening, for example the median 1-sigma error of the training
        rows. It is no default: the same numbers must serve the training rows and all others.
    mw_transmission
        (N, B) Galactic transmission; 1 for fluxes that are corrected already.
    """
    transmission = np.asarray(mw_transmission, np.float64)
    ivar = np.asarray(flux_ivar, np.float64)
    present = ivar > 0
    corrected = np.asarray(flux, np.float64) / transmission
    error = 1 / np.sqrt(np.where(present, ivar, 1.0)) / transmission
    width = np.broadcast_to(np.asarray(softening, np.float64), (corrected.shape[1],))
    magnitude = [flux_to_asinh_magnitude(corrected[:, b], w) for b, w in enumerate(width)]
    # The derivative of the asinh magnitude by the flux.
    magnitude_error = 2.5 / np.log(10) * error / np.sqrt(corrected**2 + 4 * width**2)
    return {
        "magnitude": np.where(present, np.stack(magnitude, axis=1), np.nan),
        "magnitude_error": np.where(present, magnitude_error, np.nan),
    }
