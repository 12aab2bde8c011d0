"""Fluxes -> magnitudes -> the 86 features of the source network, in their fixed order.

References
----------
* The 86 names and their order: Wei et al. 2025 (PASA, arXiv:2505.24175), public code.
* Asinh magnitudes: Lupton, Gunn & Szalay 1999, AJ 118, 1406, eq. 3.

Two things the source leaves open are decided here.

*Extinction.* Every flux is divided by the row's Galactic transmission before it becomes a
magnitude, and E(B-V) stays the last feature.

*Non-positive fluxes.* Magnitudes are asinh magnitudes, which exist for every flux. The softening
of a band is the 1-sigma error of the median DR10 flux (from its median 5-sigma depth), so a
5-sigma source differs from its logarithmic magnitude by 0.04 mag and a bright one by nothing. No
value is filled in; a band without a measurement is NaN.

Shapes: N sources, B = 6 bands, A apertures, F = 86 features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from partitions.schema import APERTURE_RADII_ARCSEC, BANDS

FEATURE_NAMES: tuple[str, ...] = tuple(
    """
    R-W2 I-W1 R-W1 I-W2 Z-W1 R-I G-W2 Z-W2 G-R I-Z G-I W12-W22 R-R1 R-Z G-G1 Z5-W15 MAG_G G-W1
    I-I1 W13-W23 MAG_I MAG_Z I7-Z7 Z-Z1 R6-I6 I6-Z6 W11-W21 MAG_R W21-W22 I8-Z8 R7-I7 Z4-W14
    G6-R6 G7-R7 G1-R1 W14-W24 Z1-W11 R8-I8 I1-I2 W11-W12 W23-W24 R5-I5 W22-W23 R1-I1 G5-R5 I2-Z2
    W24-W25 G8-R8 W1-W11 R2-I2 I5-Z5 G1-G2 W2-W21 W14-W15 R1-R2 I1-Z1 MAG_W2 G-Z Z1-Z2 G4-R4
    R4-I4 MAG_W1 Z3-W13 I7-I8 W1-W2 Z2-W12 Z5-Z6 I4-Z4 G2-R2 R3-R4 I3-Z3 Z7-Z8 R7-R8 G4-G5 G3-R3
    W15-W25 W12-W13 W13-W14 R5-R6 I5-I6 G2-G3 Z3-Z4 R3-I3 Z6-Z7 I4-I5 ebv
    """.split()
)

# AB 5-sigma depths (median over 50 real DR10 sources, extended ones included).
MEDIAN_DEPTH_5SIGMA_MAG = {"g": 24.8, "r": 24.3, "i": 23.9, "z": 23.4, "W1": 21.3, "W2": 20.5}

SOFTENING_NANOMAGGY = {
    band: 10 ** (0.4 * (22.5 - depth_mag)) / 5
    for band, depth_mag in MEDIAN_DEPTH_5SIGMA_MAG.items()
}
"""Asinh softening b of each band: the 1-sigma flux error at its median depth."""

_TERM = re.compile(r"(?P<band>W[12]|[GRIZ])(?P<aperture>[1-8])?$")
_BAND_OF_LETTER = {band.upper(): band for band in BANDS}


def _parse_term(term: str) -> tuple[str, int | None]:
    """`R` -> ("r", None), the model magnitude; `W12` -> ("W1", 1), the second aperture."""
    match = _TERM.match(term)
    if match is None:
        raise ValueError(f"feature term {term!r} names no band")
    aperture = match["aperture"]
    return _BAND_OF_LETTER[match["band"]], int(aperture) - 1 if aperture else None


def _parse_feature(name: str) -> tuple[tuple[str, int | None], ...]:
    if name == "ebv":
        return ()
    return tuple(_parse_term(term) for term in name.removeprefix("MAG_").split("-"))


_FEATURE_TERMS = tuple(_parse_feature(name) for name in FEATURE_NAMES)

FEATURE_BANDS: tuple[frozenset[str], ...] = tuple(
    frozenset(band for band, _ in terms) for terms in _FEATURE_TERMS
)
"""The bands that each feature needs; empty for `ebv`."""


def flux_to_asinh_magnitude(
    flux_nanomaggy: npt.NDArray[np.floating], softening_nanomaggy: float
) -> npt.NDArray[np.float64]:
    """AB asinh magnitude, any shape; tends to 22.5 - 2.5 log10(flux) for flux >> softening."""
    flux = np.asarray(flux_nanomaggy, dtype=np.float64)
    pogson = 2.5 / np.log(10)
    scaled = np.arcsinh(flux / (2 * softening_nanomaggy))
    return np.asarray(22.5 - pogson * (scaled + np.log(softening_nanomaggy)))


def photometric_features(
    flux: npt.NDArray[np.floating],
    flux_ivar: npt.NDArray[np.floating],
    aperture_flux: Mapping[str, npt.NDArray[np.floating]],
    mw_transmission: npt.NDArray[np.floating],
    ebv: npt.NDArray[np.floating],
) -> npt.NDArray[np.float32]:
    """The 86 features of every source.

    Parameters
    ----------
    flux, flux_ivar, mw_transmission
        (N, 6) in the order of `BANDS`: observed model flux (nanomaggy, AB), its inverse variance
        (0 where the band is missing) and Galactic transmission.
    aperture_flux
        Observed aperture fluxes (N, 8) for g, r, i, z and (N, 5) for W1, W2, nanomaggy, AB;
        a missing band may be left out.
    ebv
        (N,) Galactic E(B-V), mag.

    Returns
    -------
    (N, 86) float32, magnitudes; NaN where a needed band is missing.
    """
    num_sources = len(ebv)
    model_mag: dict[str, npt.NDArray[np.float64]] = {}
    aperture_mag: dict[str, npt.NDArray[np.float64]] = {}
    for index, band in enumerate(BANDS):
        missing = ~(flux_ivar[:, index] > 0)
        transmission = np.where(missing, 1.0, mw_transmission[:, index])
        softening = SOFTENING_NANOMAGGY[band]
        model_mag[band] = flux_to_asinh_magnitude(flux[:, index] / transmission, softening)
        model_mag[band][missing] = np.nan
        num_apertures = len(APERTURE_RADII_ARCSEC[band])
        if band in aperture_flux:
            dereddened = aperture_flux[band] / transmission[:, None]
            aperture_mag[band] = flux_to_asinh_magnitude(dereddened, softening)
            aperture_mag[band][missing] = np.nan
        else:
            aperture_mag[band] = np.full((num_sources, num_apertures), np.nan)

    def magnitude(band: str, aperture: int | None) -> npt.NDArray[np.float64]:
        return model_mag[band] if aperture is None else aperture_mag[band][:, aperture]

    features = np.empty((num_sources, len(FEATURE_NAMES)), dtype=np.float32)
    for column, terms in enumerate(_FEATURE_TERMS):
        if not terms:
            features[:, column] = ebv
        elif len(terms) == 1:
            features[:, column] = magnitude(*terms[0])
        else:
            features[:, column] = magnitude(*terms[0]) - magnitude(*terms[1])
    return features
