"""Stored quantiles as a cumulative distribution: its ends, and its value at a redshift.

Shapes: N sources, Q stored levels, E redshifts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Rows whose distributions are laid end to end for one interpolation.
_BLOCK_ROWS = 4096
# Redshifts stay far inside of these; a row takes this much room when laid end to end.
_BELOW, _ABOVE, _ROOM = -2.0, 100.0, 128.0


def extended_levels(levels: npt.NDArray[np.float64]) -> FloatArray:
    """(Q + 2,) the levels with 0 and 1 at the ends."""
    return np.concatenate([[0.0], levels, [1.0]])


def extended_redshifts(
    quantiles_NQ: npt.NDArray[np.floating], levels: npt.NDArray[np.float64]
) -> FloatArray:
    """(N, Q + 2) redshifts at `extended_levels`.

    The ends are not stored. As qp does, they go on with the density between the last two levels;
    unlike qp's, the lower end stays at or above z = 0 where the lowest quantile does.
    """
    quantiles = np.asarray(quantiles_NQ, dtype=np.float64)
    low, high = quantiles[:, :2], quantiles[:, -2:]
    below = levels[0] / (levels[1] - levels[0]) * (low[:, 1] - low[:, 0])
    above = (1 - levels[-1]) / (levels[-1] - levels[-2]) * (high[:, 1] - high[:, 0])
    first = np.maximum(low[:, 0] - below, np.minimum(low[:, 0], 0.0))
    return np.concatenate([first[:, None], quantiles, (high[:, 1] + above)[:, None]], axis=1)


def cumulative_at(
    quantiles_NQ: npt.NDArray[np.floating], levels: npt.NDArray[np.float64], z_NE: FloatArray
) -> FloatArray:
    """(N, E) cumulative probability at redshifts (N, E), linear between the levels."""
    found = np.empty(z_NE.shape)
    known = np.concatenate([[0.0], extended_levels(levels), [1.0]])
    for begin in range(0, len(found), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        inner = extended_redshifts(quantiles_NQ[rows], levels)
        ends = np.full((len(inner), 1), _BELOW), np.full((len(inner), 1), _ABOVE)
        offset = _ROOM * np.arange(len(inner))[:, None]
        x = np.concatenate([ends[0], inner, ends[1]], axis=1) + offset
        asked = np.clip(z_NE[rows], _BELOW, _ABOVE) + offset
        found[rows] = np.interp(
            asked.reshape(-1), x.reshape(-1), np.tile(known, len(inner))
        ).reshape(asked.shape)
    return found


def stacked_posteriors(
    quantiles_NQ: npt.NDArray[np.floating],
    levels: npt.NDArray[np.float64],
    edges: npt.NDArray[np.float64],
) -> FloatArray:
    """(E - 1,) sources expected in each bin: the sum of the posteriors, n(z) unnormalised."""
    total = np.zeros(len(edges))
    for begin in range(0, len(quantiles_NQ), _BLOCK_ROWS):
        block = quantiles_NQ[begin : begin + _BLOCK_ROWS]
        asked = np.broadcast_to(edges, (len(block), len(edges)))
        total += cumulative_at(block, levels, asked).sum(axis=0)
    return np.diff(total)
