"""Bright Galaxy Survey: BGS_BRIGHT, BGS_FAINT and BGS_WISE.

References
----------
Hahn et al. 2023, AJ 165, 253; desitarget 4.4.0 `cuts.isBGS`. BGS_FAINT_HIP, a random fifth of
BGS_FAINT, is drawn per target file and cannot be computed from a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitions.targets.sources import OPTICAL, BoolArray, TargetSources, magnitude

COLUMNS = (
    *(f"{stem}_{b}" for stem in ("FLUX", "FLUX_IVAR", "MW_TRANSMISSION", "NOBS") for b in OPTICAL),
    *(f"{stem}_{b}" for stem in ("FLUX", "FLUX_IVAR", "MW_TRANSMISSION") for b in ("W1", "W2")),
    *("FIBERFLUX_R", "FIBERTOTFLUX_R", "GAIA_PHOT_G_MEAN_MAG", "REF_CAT", "TYPE", "MASKBITS"),
)

_FLOOR = 1e-16
_NORTH_OFFSET_MAG = 0.04
"""Limits in r are this much fainter in BASS."""


@dataclass(frozen=True)
class BrightGalaxies:
    """(N,) each."""

    bright: BoolArray
    faint: BoolArray
    wise: BoolArray


class _Photometry:
    """Dereddened fluxes and magnitudes of N rows."""

    def __init__(self, sources: TargetSources) -> None:
        self.flux_g, self.flux_r, self.flux_z = (sources.flux(band) for band in OPTICAL)
        self.g, self.r, self.z = (
            magnitude(flux, _FLOOR) for flux in (self.flux_g, self.flux_r, self.flux_z)
        )
        self.w1 = magnitude(sources.flux("W1"), _FLOOR)
        self.r_fiber = magnitude(sources.fiber_flux("R"), _FLOOR)
        self.fibertotflux_r = sources.column("FIBERTOTFLUX_R")  # as observed


def select_bgs(sources: TargetSources, is_north: bool) -> BrightGalaxies:
    """The three classes; a row of the Siena Galaxy Atlas needs the magnitude limits alone."""
    phot = _Photometry(sources)
    unmasked = sources.is_clear_of("BRIGHT", "CLUSTER")
    has_ivar = np.logical_and.reduce([sources.column(f"FLUX_IVAR_{band}") > 0 for band in OPTICAL])
    good = sources.is_observed() & has_ivar & unmasked
    gaia, gaia_minus_r = sources.column("GAIA_PHOT_G_MEAN_MAG"), sources.gaia_minus_r()
    galaxy = good & ((gaia_minus_r > 0.6) | (gaia == 0)) & _has_plausible_colours(phot)
    galaxy &= _passes_fiber_cut(phot)
    in_atlas = unmasked & np.char.startswith(sources.column("REF_CAT").astype("U2"), "L")
    bright, faint = _magnitude_limits(phot, is_north)
    return BrightGalaxies(
        bright=(galaxy | in_atlas) & bright,
        faint=(galaxy | in_atlas) & faint,
        wise=good & _is_agn(sources, phot, gaia, gaia_minus_r),
    )


def _has_plausible_colours(phot: _Photometry) -> BoolArray:
    """-1 < g - r < 4 and -1 < r - z < 4: what lies outside is an artefact."""
    blue, red = 10 ** (-1.0 / 2.5), 10 ** (4.0 / 2.5)
    inside = (phot.flux_r > phot.flux_g * blue) & (phot.flux_r < phot.flux_g * red)
    inside &= (phot.flux_z > phot.flux_r * blue) & (phot.flux_z < phot.flux_r * red)
    return np.asarray(inside)


def _passes_fiber_cut(phot: _Photometry) -> BoolArray:
    """Low surface brightness costs redshifts. A row at r = 17.8 or r = 20 exactly passes none."""
    r, r_fiber = phot.r, phot.r_fiber
    passes = (r_fiber < (2.9 + 1.2 + 1.0) + r) & (r < 17.8)
    passes |= (r_fiber < 22.9) & (r < 20.0) & (r > 17.8)
    passes |= (r_fiber < 2.9 + r) & (r > 20)
    return np.asarray(passes)


def _magnitude_limits(phot: _Photometry, is_north: bool) -> tuple[BoolArray, BoolArray]:
    """12 <= r < 19.5, and 19.5 <= r < 20.175 with a bright fibre or a colour of high success."""
    # Twice, not one offset that is 0 in the south: desitarget's limits round this way.
    if is_north:
        colour = (phot.z - phot.w1) - 3 / 2.5 * (phot.g - (phot.r - _NORTH_OFFSET_MAG)) + 1.2
        fiber_limit, red_fiber_limit = 20.75 + _NORTH_OFFSET_MAG, 21.5 + _NORTH_OFFSET_MAG
        bright_limit, faint_limit = 19.5 + _NORTH_OFFSET_MAG, 20.220
    else:
        colour = (phot.z - phot.w1) - 3 / 2.5 * (phot.g - phot.r) + 1.2
        fiber_limit, red_fiber_limit = 20.75, 21.5
        bright_limit, faint_limit = 19.5, 20.175
    flux_r = phot.flux_r
    bright = flux_r > 10 ** ((22.5 - bright_limit) / 2.5)
    bright &= flux_r <= 10 ** ((22.5 - 12.0) / 2.5)
    bright &= phot.fibertotflux_r <= 10 ** ((22.5 - 15.0) / 2.5)
    faint = flux_r > 10 ** ((22.5 - faint_limit) / 2.5)
    faint &= flux_r <= 10 ** ((22.5 - bright_limit) / 2.5)
    faint &= (phot.r_fiber < fiber_limit) | ((phot.r_fiber < red_fiber_limit) & (colour > 0.0))
    return bright, faint


def _is_agn(
    sources: TargetSources,
    phot: _Photometry,
    gaia: npt.NDArray[np.float32],
    gaia_minus_r: npt.NDArray[np.float64],
) -> BoolArray:
    """Rows that the star cut on Gaia G - r would lose although WISE sees an active nucleus."""
    flux_w2 = sources.flux("W2")
    w2 = magnitude(flux_w2, _FLOOR)
    g_r = phot.g - phot.r
    agn = (phot.z - w2 - g_r > -0.5) & (phot.z - phot.w1 - g_r > -0.7) & (phot.w1 - w2 > -0.2)
    agn &= (sources.signal_to_noise("W1") > 10) & (sources.signal_to_noise("W2") > 10)
    agn &= sources.is_clear_of("WISEM2") & (flux_w2 > 0)
    agn &= (phot.flux_g > 0) & (phot.flux_r > 0) & (phot.flux_z > 0)
    r, r_fiber = phot.r, phot.r_fiber
    agn &= (r > 16) & (r < 20.3) & (r_fiber < 22)
    agn &= magnitude(phot.fibertotflux_r, _FLOOR) > 15
    agn &= ((r_fiber < 21.5) & (r > 19.5)) | (r < 19.5)
    agn &= (r < 17.5) | ~sources.is_psf()
    return np.asarray(agn & (gaia != 0) & (gaia > 16) & (gaia_minus_r < 0.6))
