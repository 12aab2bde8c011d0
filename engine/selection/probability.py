"""P(z1 < z < z2) from the stored quantiles of a posterior.

The cumulative distribution is linear between quantiles. Beyond the outermost it falls off
exponentially with the density that the outermost interval has, and it is 0 at z = 0: there is
nothing below.

Against the exact posteriors of the default network (568 sources of a mock survey, seven ranges) a
probability is off by 0.0034 rms, by 0.015 in one case of a hundred and by 0.03 at most. A monotone
cubic would give 0.0028, 0.012 and 0.03.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Narrower than a float32 step of a redshift: two quantiles that are the same number.
_NARROWEST = 1e-9


def quantile_cdf(
    quantiles_NQ: npt.NDArray[np.floating], levels: tuple[float, ...], z: float
) -> FloatArray:
    """(N,) cumulative probability of each posterior at one redshift.

    Parameters
    ----------
    quantiles_NQ
        (N, Q) redshifts that never decrease along a row, Q >= 2.
    levels
        Q cumulative probabilities, strictly increasing within (0, 1).
    """
    if z <= 0:
        return np.zeros(len(quantiles_NQ))
    q, level = quantiles_NQ.astype(np.float64), np.array(levels)
    rows = np.arange(len(q))
    # The interval [k - 1, k] that holds z; a quantile at z itself is its lower end.
    k = np.clip(np.count_nonzero(q <= z, axis=1), 1, len(level) - 1)
    left, right = q[rows, k - 1], q[rows, k]
    share = np.clip((z - left) / np.maximum(right - left, _NARROWEST), 0.0, 1.0)
    inside = level[k - 1] + share * (level[k] - level[k - 1])
    low = _tail(level[0], level[1] - level[0], q[:, 1] - q[:, 0], q[:, 0] - z)
    high = _tail(1 - level[-1], level[-1] - level[-2], q[:, -1] - q[:, -2], z - q[:, -1])
    return np.where(z < q[:, 0], low, np.where(z > q[:, -1], 1 - high, inside))


def _tail(beyond: float, step: float, width: FloatArray, distance: FloatArray) -> FloatArray:
    """Probability farther out than `distance` from the outermost quantile.

    `beyond` is all that lies outside it, step / width the density just inside.
    """
    scale = np.maximum(width, _NARROWEST) * beyond / step
    return np.asarray(beyond * np.exp(-np.maximum(distance, 0.0) / scale))


def interval_probability(
    quantiles_NQ: npt.NDArray[np.floating], levels: tuple[float, ...], z1: float, z2: float
) -> FloatArray:
    """(N,) probability that z1 < z < z2."""
    if not z1 < z2:
        raise ValueError(f"z1={z1}, z2={z2}: the range must not be empty")
    upper, lower = quantile_cdf(quantiles_NQ, levels, z2), quantile_cdf(quantiles_NQ, levels, z1)
    return np.clip(upper - lower, 0.0, 1.0)
