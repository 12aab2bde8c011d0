"""Quasars by their colour box. DESI's own QSO targets come from a random forest instead.

The box is desitarget's `qso_selection="colorcuts"`. The forest (data/rf_model_dr9_final.npz, 500
trees; Chaussidon et al. 2023, ApJ 944, 107) selects more, and fainter, quasars; it is not part of
this package, so the bit QSO here is not the QSO of a DESI target file.

References
----------
desitarget 4.4.0 `cuts.isQSO_cuts`, `cuts.isQSO_colors`, `cuts.shift_photo_north`.
"""

from __future__ import annotations

import numpy as np

from partitions.targets.sources import OPTICAL, BoolArray, Float32Array, TargetSources

COLUMNS = (
    *(f"{stem}_{b}" for stem in ("FLUX", "MW_TRANSMISSION") for b in (*OPTICAL, "W1", "W2")),
    *("FLUX_IVAR_W1", "FLUX_IVAR_W2", "NOBS_G", "NOBS_R", "NOBS_Z", "TYPE", "MASKBITS"),
)


def select_qso(sources: TargetSources, is_north: bool) -> BoolArray:
    """Point sources with the colours of a quasar, (N,)."""
    g, r, z = (sources.flux(band) for band in OPTICAL)
    if is_north:
        g, r, z = _north_to_south(g, r, z)
    qso = _has_quasar_colours(g, r, z, sources.flux("W1"), sources.flux("W2"), is_north)
    qso &= sources.signal_to_noise("W1") > 4
    qso &= sources.signal_to_noise("W2") > (3 if is_north else 2)
    return np.asarray(qso & sources.is_observed() & sources.is_unmasked() & sources.is_psf())


def _has_quasar_colours(
    g: Float32Array,
    r: Float32Array,
    z: Float32Array,
    w1: Float32Array,
    w2: Float32Array,
    is_north: bool,
) -> BoolArray:
    """The box in fluxes, nanomaggy: a colour cut stays a cut where a flux is not positive."""
    grz = (g + 0.8 * r + 0.5 * z) / 2.3
    wise = 0.75 * w1 + 0.25 * w2
    qso = (r < 10 ** ((22.5 - 17.5) / 2.5)) & (r > 10 ** ((22.5 - 22.7) / 2.5))
    qso &= grz < 10 ** ((22.5 - 17) / 2.5)
    qso &= r < g * 10 ** (1.3 / 2.5)
    qso &= (z > r * 10 ** (-0.4 / 2.5)) & (z < r * 10 ** (1.1 / 2.5))
    qso &= w2 > w1 * 10 ** ((-0.3 if is_north else -0.4) / 2.5)
    qso &= wise * g > z * grz * 10 ** (-1.0 / 2.5)
    return np.asarray(qso & ~_is_main_sequence(g, r, z, w1, w2))


def _is_main_sequence(
    g: Float32Array, r: Float32Array, z: Float32Array, w1: Float32Array, w2: Float32Array
) -> BoolArray:
    """g - r > 0.2, within 0.1 mag of the stellar locus, and blue in W1 - W2."""
    star = (r > g * 10 ** (0.20 / 2.5)) & (w2 < w1 * 10 ** (0.3 / 2.5))
    r, z = r.clip(0), z.clip(0)  # no fractional power of a negative number
    star &= r ** (1 + 1.53) > g * z**1.53 * 10 ** ((-0.100 + 0.20) / 2.5)
    star &= r ** (1 + 1.53) < g * z**1.53 * 10 ** ((+0.100 + 0.20) / 2.5)
    return np.asarray(star)


def _north_to_south(
    g: Float32Array, r: Float32Array, z: Float32Array
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """BASS and MzLS fluxes in the DECam system.

    A power of a negative ratio is complex; its real part is taken, as desitarget does.
    """
    g_south, r_south, z_south = (
        g * 10 ** (-0.4 * 0.004),
        r * 10 ** (0.4 * 0.003),
        z * 10 ** (0.4 * 0.013),
    )
    w = (g != 0) & (r != 0)
    g_south[w] = (g[w] * 10 ** (-0.4 * 0.004) * (g[w] / r[w]) ** complex(-0.059)).real
    w = (r != 0) & (z != 0)
    r_south[w] = (r[w] * 10 ** (0.4 * 0.003) * (r[w] / z[w]) ** complex(-0.024)).real
    z_south[w] = (z[w] * 10 ** (0.4 * 0.013) * (r[w] / z[w]) ** complex(+0.015)).real
    return g_south, r_south, z_south
