"""Gradient-boosted trees: a mean, and quantiles that join to a posterior.

Every quantile of ln(1 + z) is its own ensemble with the pinball loss. The quantiles of one row
are sorted, which never makes them worse (the rearrangement of Chernozhukov et al. 2010), and
joined by straight lines to a cumulative distribution; beyond the outermost two its slope goes on
until no probability is left. The alternative, a classifier over redshift bins, costs one tree per
bin and round, and knows nothing of the order of the bins.

References
----------
* Friedman 2001, Ann. Stat. 29, 1189: gradient boosting; Ke et al. 2017, NIPS 30: on histograms.
* Koenker & Bassett 1978, Econometrica 46, 33: the loss of a quantile.
* Chernozhukov, Fernandez-Val & Galichon 2010, Econometrica 78, 1093: rearrangement.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from model.baselines.interface import checked_redshifts
from model.baselines.photometry import SURVEY, Arrays, Photometry
from model.baselines.scikit import scikit_class
from model.baselines.smoothing import FloatArray, Smoothing, fitted, held_out_rows
from model.posterior import RedshiftGrid

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.16, 0.25, 0.375, 0.5, 0.625, 0.75, 0.84, 0.9, 0.95, 0.975, 0.99)
"""Cumulative probabilities of the fitted quantiles."""

HELD_OUT_SHARE = 0.1
"""Part of the training rows that the quantiles do not see: kernel and prior are chosen there."""


class BoostedTrees:
    """Histogram gradient boosting from photometry to redshift; a `Baseline`."""

    def __init__(
        self,
        num_rounds: int = 200,
        learning_rate: float = 0.08,
        min_samples_leaf: int = 20,
        levels: tuple[float, ...] = LEVELS,
        seed: int = 0,
        num_threads: int = 1,
        photometry: Photometry = SURVEY,
    ) -> None:
        if len(levels) < 2 or list(levels) != sorted({q for q in levels if 0 < q < 1}):
            raise ValueError(f"levels {levels} must be at least two, increasing within (0, 1)")
        self._class = scikit_class("ensemble", "HistGradientBoostingRegressor", "boosting")
        self._settings = {
            "max_iter": num_rounds,
            "learning_rate": learning_rate,
            "min_samples_leaf": min_samples_leaf,
            "early_stopping": False,
            "random_state": seed,
        }
        self._levels = levels
        self._seed = seed
        self._num_threads = num_threads
        self._photometry = photometry
        self._mean: Any = None
        self._quantiles: list[Any] = []
        self._smoothing: Smoothing | None = None

    def fit(self, arrays: Arrays, z_true: npt.ArrayLike, grid: RedshiftGrid | None = None) -> Self:
        """Fit the mean on all rows, and with a grid the quantiles on nine tenths of them."""
        matrix = self._photometry.matrix(arrays)
        z = checked_redshifts(z_true, len(matrix))
        target = np.log1p(z)
        self._smoothing = None
        with _threads(self._num_threads):
            self._mean = self._class(**self._settings).fit(matrix, target)
            if grid is not None:
                held = held_out_rows(len(z), self._seed, max(1, round(HELD_OUT_SHARE * len(z))))
                seen = np.setdiff1d(np.arange(len(z)), held)
                self._quantiles = [
                    self._class(loss="quantile", quantile=level, **self._settings).fit(
                        matrix[seen], target[seen]
                    )
                    for level in self._levels
                ]
        if grid is not None:
            judged = self._histogram(matrix[held], grid)
            self._smoothing = Smoothing.fit(judged, z[held], z, grid)
        return self

    def predict(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N,) redshifts, from the mean of ln(1 + z)."""
        if self._mean is None:
            raise RuntimeError("predictions need fit(arrays, z_true) first")
        matrix = self._photometry.matrix(arrays)
        if not len(matrix):
            return np.empty(0, np.float32)
        with _threads(self._num_threads):
            return np.asarray(np.expm1(self._mean.predict(matrix)), np.float32)

    def predict_pdf(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N, Z) posteriors from the quantiles."""
        smoothing = fitted(self._smoothing)
        matrix = self._photometry.matrix(arrays)

        def histogram_of(rows: slice) -> FloatArray:
            return self._histogram(matrix[rows], smoothing.grid)

        return smoothing.posteriors(len(matrix), histogram_of)

    def _histogram(self, matrix: npt.NDArray[np.float32], grid: RedshiftGrid) -> FloatArray:
        with _threads(self._num_threads):
            columns = [quantile.predict(matrix) for quantile in self._quantiles]
        return quantiles_to_histogram(np.stack(columns, axis=1), self._levels, grid)


def quantiles_to_histogram(
    log_z_NQ: FloatArray, levels: tuple[float, ...], grid: RedshiftGrid
) -> FloatArray:
    """(N, Z) probability of each bin from quantiles of ln(1 + z); beyond the grid, at its ends."""
    q = np.sort(log_z_NQ, axis=1)
    lowest, highest = levels[0], 1 - levels[-1]
    first = q[:, 0] - (q[:, 1] - q[:, 0]) * lowest / (levels[1] - lowest)
    last = q[:, -1] + (q[:, -1] - q[:, -2]) * highest / (levels[-1] - levels[-2])
    knots = np.column_stack([first, q, last])
    mass = np.diff([0.0, *levels, 1.0])
    # Two equal quantiles are a step: a width too small to matter.
    width = np.maximum(np.diff(knots, axis=1), 1e-9)
    edges = np.log1p(grid.edges)
    cdf = np.zeros((len(q), len(edges)))
    for s, probability in enumerate(mass):
        reached = (edges[None, :] - knots[:, s : s + 1]) / width[:, s : s + 1]
        cdf += probability * np.clip(reached, 0, 1)
    cdf[:, 0], cdf[:, -1] = 0.0, 1.0
    # Sums of the same numbers may differ by rounding from edge to edge.
    return np.asarray(np.maximum(np.diff(cdf, axis=1), 0.0))


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """OpenMP threads inside the block: this regressor has no argument for them."""
    # threadpoolctl comes with scikit-learn.
    with import_module("threadpoolctl").threadpool_limits(num_threads, user_api="openmp"):
        yield
