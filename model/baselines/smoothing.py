"""From a few training redshifts per row to a posterior: kernel and prior chosen by likelihood.

Forest, neighbours and boosted trees each say where a row's redshift lies by weights on a finite
number of redshifts, a histogram with gaps. The posterior is that histogram convolved with a
Gaussian in ln(1 + z), mixed with the redshifts of the whole training set:

    p(z) = (1 - w) (histogram * Gaussian(c s)) + w prior

s is half the central 68 % interval of the row's own histogram: one width for all rows would blur
the bright galaxies to suit the faint ones. c and w are those with the largest likelihood of rows
that took no part in their own histogram (out of bag, left out or held out).

Shapes: N rows, K redshifts a row, Z bins, W widths.

References
----------
* Weights of a forest in a kernel density estimate: Pospisil & Lee 2018, arXiv:1804.05753 (RFCDE).
* Kernels that follow the local spread: Silverman 1986, Density Estimation, chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from model.posterior import RedshiftGrid, summarise

FloatArray = npt.NDArray[np.float64]

WIDTHS = np.geomspace(0.0005, 0.1, 14)
"""(W,) widths of the kernels in ln(1 + z); a row uses the nearest, so that W matrices serve all."""

SPREAD_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Candidates for c, the width of a row's kernel over the spread of its histogram."""

PRIOR_WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
"""Candidates for the weight of the prior; never 0, so that no redshift is called impossible."""

NUM_HELD_OUT = 2000
"""Rows that the two numbers are chosen on, at most: enough for two numbers."""

# Rows handled at once: their histograms on 770 bins take 6 MB.
BLOCK_ROWS = 1024


def histogram(z_NK: FloatArray, grid: RedshiftGrid) -> FloatArray:
    """(N, Z) fraction of the K redshifts of each row in each bin; those beyond go to the ends."""
    num_rows, num_values = z_NK.shape
    slot = np.arange(num_rows)[:, None] * grid.num_bins + grid.bin_of(z_NK)
    counts = np.bincount(slot.ravel(), minlength=num_rows * grid.num_bins)
    return np.asarray(counts.reshape(num_rows, grid.num_bins) / num_values)


def kernel_matrix(grid: RedshiftGrid, bandwidth: float) -> FloatArray:
    """(Z, Z) probability that a Gaussian at the centre of the first bin gives to the second.

    The Gaussian has the standard deviation `bandwidth` in ln(1 + z) and is cut off at the ends of
    the grid; rows sum to 1.
    """
    centres, edges = np.log1p(grid.centres), np.log1p(grid.edges)
    kernel: FloatArray = np.diff(ndtr((edges[None, :] - centres[:, None]) / bandwidth), axis=1)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def spreads(histogram_NZ: FloatArray, grid: RedshiftGrid) -> FloatArray:
    """(N,) half the central 68 % interval of each histogram, in ln(1 + z)."""
    summary = summarise(histogram_NZ, grid, ())
    return np.asarray(np.log1p(summary["u68"]) - np.log1p(summary["l68"]), np.float64) / 2


def nearest_width(width_N: FloatArray) -> npt.NDArray[np.int64]:
    """(N,) number of the nearest of `WIDTHS`, which grow by a constant factor."""
    step = np.log(WIDTHS[1] / WIDTHS[0])
    position = np.log(np.maximum(width_N, WIDTHS[0]) / WIDTHS[0]) / step
    return np.asarray(np.clip(np.rint(position), 0, len(WIDTHS) - 1), np.int64)


@dataclass(frozen=True, eq=False)
class Smoothing:
    """The step from a histogram to a posterior."""

    grid: RedshiftGrid
    """Bins."""
    prior: FloatArray
    """(Z,) probability of each bin in the training set, one pseudo-count a bin."""
    spread_share: float
    """Width of a row's kernel over the spread of its histogram."""
    prior_weight: float
    """Share of the prior."""

    @classmethod
    def fit(
        cls, histogram_NZ: FloatArray, z_N: FloatArray, z_train: FloatArray, grid: RedshiftGrid
    ) -> Smoothing:
        """The share of the spread and the weight of the prior with the largest likelihood.

        Parameters
        ----------
        histogram_NZ, z_N
            Histograms of rows to which these rows themselves did not contribute, and their
            true redshifts.
        z_train
            Redshifts of the training set, for the prior.
        """
        counts = np.bincount(grid.bin_of(z_train), minlength=grid.num_bins) + 1.0
        prior = counts / counts.sum()
        k = grid.bin_of(z_N)
        # Only the bin of the true redshift is needed: one row of the transposed kernel each.
        density_NW = np.column_stack(
            [(histogram_NZ * kernel_matrix(grid, width).T[k]).sum(axis=1) for width in WIDTHS]
        )
        spread, rows = spreads(histogram_NZ, grid), np.arange(len(k))
        best = (np.inf, SPREAD_SHARES[0], PRIOR_WEIGHTS[0])
        for share in SPREAD_SHARES:
            density = density_NW[rows, nearest_width(share * spread)]
            for weight in PRIOR_WEIGHTS:
                loss = float(-np.log((1 - weight) * density + weight * prior[k]).mean())
                best = min(best, (loss, share, weight))
        return cls(grid, prior, *best[1:])

    def posteriors(
        self, num_rows: int, histogram_of: Callable[[slice], FloatArray]
    ) -> npt.NDArray[np.float32]:
        """(N, Z) posteriors, block by block; `histogram_of` gives the histograms of some rows."""
        kernels = [kernel_matrix(self.grid, width) for width in WIDTHS]
        pdf = np.empty((num_rows, self.grid.num_bins), np.float32)
        for start in range(0, num_rows, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, num_rows))
            found = histogram_of(rows)
            number = nearest_width(self.spread_share * spreads(found, self.grid))
            smooth = np.empty_like(found)
            for w in np.unique(number):
                smooth[number == w] = found[number == w] @ kernels[w]
            pdf[rows] = (1 - self.prior_weight) * smooth + self.prior_weight * self.prior
        return pdf


def fitted(smoothing: Smoothing | None) -> Smoothing:
    """The smoothing of a fitted method.

    Raises
    ------
    RuntimeError
        If the method was not fitted, or without a redshift grid.
    """
    if smoothing is None:
        raise RuntimeError("posteriors need fit(arrays, z_true, grid) with a redshift grid first")
    return smoothing


def held_out_rows(num_rows: int, seed: int, limit: int = NUM_HELD_OUT) -> npt.NDArray[np.int64]:
    """At most `limit` rows drawn without replacement, in growing order."""
    drawn = np.random.default_rng(seed).permutation(num_rows)[:limit]
    return np.sort(drawn).astype(np.int64)
