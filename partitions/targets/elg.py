"""Emission-line galaxies: ELG_LOP and ELG_VLO.

References
----------
Raichoor et al. 2023, AJ 165, 126; desitarget 4.4.0 `cuts.isELG`. ELG_HIP, a random tenth of both,
is drawn per target file and cannot be computed from a row.
"""

from __future__ import annotations

import numpy as np

from partitions.targets.sources import OPTICAL, BoolArray, TargetSources, magnitude

COLUMNS = (
    *(f"{stem}_{b}" for stem in ("FLUX", "FLUX_IVAR", "MW_TRANSMISSION", "NOBS") for b in OPTICAL),
    *("FIBERFLUX_G", "MASKBITS"),
)

_FLOOR = 1e-16


def select_elg(sources: TargetSources) -> tuple[BoolArray, BoolArray]:
    """ELG_LOP and ELG_VLO, (N,) each; the cuts are the same north and south."""
    g, r, z = (magnitude(sources.flux(band), _FLOOR) for band in OPTICAL)
    g_fiber = magnitude(sources.fiber_flux("G"), _FLOOR)
    detected = np.logical_and.reduce([sources.signal_to_noise(band) > 0 for band in OPTICAL])
    elg = detected & sources.is_observed() & sources.is_unmasked()
    elg &= (g > 20) & (g_fiber < 24.1)
    elg &= r - z > 0.15
    elg &= g - r < 0.5 * (r - z) + 0.1  # stars and low-redshift galaxies are redder in g - r
    lop = g - r < -1.2 * (r - z) + 1.3  # strong [O II] at 1.1 < z < 1.6
    vlo = (g - r < -1.2 * (r - z) + 1.6) & (g - r >= -1.2 * (r - z) + 1.3)
    return elg & lop, elg & vlo
