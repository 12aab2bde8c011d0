"""Luminous red galaxies: LRG, and its extension LGE.

References
----------
Zhou et al. 2023, AJ 165, 58; desitarget 4.4.0 `cuts.isLRG` (LGE: `ext=True`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitions.targets.sources import BoolArray, TargetSources, magnitude

COLUMNS = (
    *(f"{stem}_{b}" for stem in ("FLUX", "MW_TRANSMISSION") for b in ("G", "R", "Z", "W1")),
    *(f"FLUX_IVAR_{b}" for b in ("R", "Z", "W1")),
    *("NOBS_G", "NOBS_R", "NOBS_Z", "FIBERFLUX_Z", "FIBERTOTFLUX_Z"),
    *("GAIA_PHOT_G_MEAN_MAG", "MASKBITS"),
)

_FLOOR = 1e-7
_LGE_SHIFT_MAG = 0.275
"""LGE moves the sliding cuts this far in W1, and the high-redshift limit by 0.1 in r - W1."""


@dataclass(frozen=True)
class _Cuts:
    """What differs between the photometric systems, magnitudes."""

    z_fiber: float
    g_w1: float
    slope: float
    w1_steep: float
    w1_flat: float
    r_w1_high_z: float


_SOUTH = _Cuts(21.6, 2.9, 1.8, 17.14, 16.33, 3.3)
_NORTH = _Cuts(21.61, 2.97, 1.83, 17.13, 16.31, 3.4)


def select_lrg(sources: TargetSources, is_north: bool) -> tuple[BoolArray, BoolArray]:
    """LRG and LGE, (N,) each; no row is both."""
    cuts = _NORTH if is_north else _SOUTH
    g, r, z, w1 = (magnitude(sources.flux(band), _FLOOR) for band in ("G", "R", "Z", "W1"))
    z_fiber = magnitude(sources.fiber_flux("Z"), _FLOOR)
    base = _has_good_photometry(sources)
    base &= z - w1 > 0.8 * (r - z) - 0.6  # stars lie below
    base &= z_fiber < cuts.z_fiber
    base &= (g - w1 > cuts.g_w1) | (r - w1 > 1.8)  # low redshifts
    # Two sliding cuts in r - W1 against W1 make the comoving density flat over redshift. The
    # shift stands where desitarget has it: elsewhere the last digit would round differently.
    lrg = (r - w1 > (w1 - cuts.w1_steep) * cuts.slope) & (r - w1 > (w1 - cuts.w1_flat) * 1.0)
    lrg |= r - w1 > cuts.r_w1_high_z
    if is_north:
        steep, flat = (w1 - _LGE_SHIFT_MAG) - cuts.w1_steep, (w1 - _LGE_SHIFT_MAG) - cuts.w1_flat
    else:
        steep, flat = w1 - cuts.w1_steep - _LGE_SHIFT_MAG, w1 - cuts.w1_flat - _LGE_SHIFT_MAG
    lge = (r - w1 > steep * cuts.slope) & (r - w1 > flat * 1.0)
    lge |= r - w1 > cuts.r_w1_high_z - 0.1
    return base & lrg, base & lge & ~lrg


def _has_good_photometry(sources: TargetSources) -> BoolArray:
    good = sources.is_observed() & sources.is_unmasked()
    for band in ("R", "Z", "W1"):
        good &= (sources.column(f"FLUX_IVAR_{band}") > 0) & (sources.flux(band) > 0)
    good &= sources.fiber_flux("Z") > 0
    gaia = sources.column("GAIA_PHOT_G_MEAN_MAG")
    good &= (gaia == 0) | (gaia > 18)  # bright stars; 0 is no match
    # Bright stars that Gaia lacks.
    good &= sources.column("FIBERTOTFLUX_Z") < 10 ** (-0.4 * (17.5 - 22.5))
    return np.asarray(good)
