"""The point estimate that is least often an outlier.

An outlier is |dz| > t with dz = (z_phot - z_true) / (1 + z_true). The estimate that makes them
rarest is the one with the most probability within its reach,

    (1 + z_phot) / (1 + t) <= 1 + z_true <= (1 + z_phot) / (1 - t),

not the median, which may lie between two peaks. That reach is wide: most posteriors fit into it
whole, and the best estimate is then anywhere in a long interval. So the estimate here is the one
nearest to the median among those whose chance of an outlier is within `tolerance` of the least.
Where the median is such a one, and mostly it is, it stays.

Shapes: N rows, Z bins.

References
----------
* The best estimate for a loss that is 0 within an interval and 1 outside: Berger 1985,
  Statistical Decision Theory and Bayesian Analysis, section 2.4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.metrics import OUTLIER_THRESHOLDS
from model.posterior import RedshiftGrid, cumulative, normalise

FloatArray = npt.NDArray[np.float64]

TOLERANCE = 0.005
"""Chance of an outlier that is worth less than staying with the median."""

# Rows handled at once: the float64 work arrays of 1,024 rows stay in a few MB of cache.
_BLOCK_ROWS = 1024


def safe_redshift(
    pdf_NZ: npt.ArrayLike,
    grid: RedshiftGrid,
    median_N: npt.ArrayLike,
    threshold: float = OUTLIER_THRESHOLDS[0],
    tolerance: float = TOLERANCE,
) -> npt.NDArray[np.float32]:
    """(N,) redshifts: the nearest to the median that is hardly ever an outlier.

    Parameters
    ----------
    pdf_NZ
        (N, Z) probability of each bin; rows need not be normalised.
    median_N
        (N,) medians of the same posteriors.
    threshold
        |dz| beyond which an estimate is an outlier, 0 to 1.
    tolerance
        By how much the chance of an outlier may exceed the least possible.
    """
    pdf, median = normalise(pdf_NZ, grid), np.asarray(median_N, np.float64)
    result = median.astype(np.float32)
    for start in range(0, len(pdf), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        result[rows] = _block(cumulative(pdf[rows]), grid, median[rows], threshold, tolerance)
    return result


def _block(
    cdf: FloatArray, grid: RedshiftGrid, median: FloatArray, threshold: float, tolerance: float
) -> FloatArray:
    rows = np.arange(len(cdf))
    candidate = np.broadcast_to(grid.centres, (len(cdf), grid.num_bins))
    # The median is a candidate too, or every estimate would move to the centre of a bin.
    candidate = np.column_stack([candidate, median])
    lower = (1 + candidate) / (1 + threshold) - 1
    upper = (1 + candidate) / (1 - threshold) - 1
    reached = _cdf_at(cdf, grid.edges, upper) - _cdf_at(cdf, grid.edges, lower)
    good = reached >= reached.max(axis=1, keepdims=True) - tolerance
    distance = np.abs(np.log1p(candidate) - np.log1p(median)[:, None])
    chosen = np.argmin(np.where(good, distance, np.inf), axis=1)
    return np.asarray(candidate[rows, chosen])


def _cdf_at(cdf: FloatArray, edges: FloatArray, z_NC: FloatArray) -> FloatArray:
    """(N, C) cumulative distribution of row n at z_NC[n], linear inside bins."""
    z = np.clip(z_NC, edges[0], edges[-1])
    k = np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)
    fraction = (z - edges[k]) / (edges[k + 1] - edges[k])
    below, above = np.take_along_axis(cdf, k, 1), np.take_along_axis(cdf, k + 1, 1)
    return np.asarray(below + fraction * (above - below))
