"""Nearest neighbours in magnitude and colours, and a linear regression among them.

This is the method of Zou et al. 2019 on the Legacy Surveys; the details are those of Beck et al.
2016: coordinates are the reference magnitude and the colours of neighbouring bands, corrected for
Galactic extinction, each scaled to unit standard deviation over the training set; 100 neighbours;
one clipping of residuals beyond 3 rms; the target is z itself.

*Missing bands.* There is one model per pattern of present bands: a row is compared, in the
colours of its own bands, with the training rows that have at least these. Where no more than
`num_neighbours` have them, the band that fewest training rows have is given up, and so on; a row
without any band gets the median of the training set, and its prior.

*Posterior.* The residuals of all neighbours around the fit, clipped ones included, moved to the
row's estimate: a Gaussian of their rms, the papers' error, has no room for the outliers that the
clipping has removed. The neighbourhood is the sample of a conditional distribution, as in
Ball et al. 2008, ApJ 683, 12.

References
----------
* Zou et al. 2019, ApJS 242, 8: the Legacy Surveys. Beck et al. 2016, MNRAS 460, 1371: SDSS DR12.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from model.baselines.interface import checked_redshifts
from model.baselines.local_linear import local_linear
from model.baselines.photometry import SURVEY, Arrays, Photometry
from model.baselines.smoothing import (
    BLOCK_ROWS,
    FloatArray,
    Smoothing,
    fitted,
    held_out_rows,
    histogram,
)
from model.posterior import RedshiftGrid

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Neighbourhood:
    """Training rows that have some bands, in the coordinates of these bands."""

    bands: Rows
    rows: Rows
    """Their numbers in the training set."""
    points: FloatArray
    scale: FloatArray
    tree: Any


class NearestNeighboursLinear:
    """k nearest neighbours and local linear regression; a `Baseline`."""

    def __init__(
        self,
        num_neighbours: int = 100,
        clip: float = 3.0,
        seed: int = 0,
        num_threads: int = 1,
        photometry: Photometry = SURVEY,
    ) -> None:
        minimum = len(photometry.bands) + 2
        if num_neighbours < minimum:
            raise ValueError(
                f"num_neighbours={num_neighbours}: a fit in {len(photometry.bands)} bands needs at "
                f"least {minimum}"
            )
        self._num_neighbours = num_neighbours
        self._clip = clip
        self._seed = seed
        self._num_threads = num_threads
        self._photometry = photometry
        self._reference = photometry.bands.index(photometry.reference)
        self._smoothing: Smoothing | None = None
        self._z: FloatArray | None = None

    def fit(self, arrays: Arrays, z_true: npt.ArrayLike, grid: RedshiftGrid | None = None) -> Self:
        """Keep the training rows; search trees are made for the band patterns that turn up."""
        magnitudes = self._photometry.magnitudes(arrays)
        z = checked_redshifts(z_true, len(magnitudes))
        if len(z) <= self._num_neighbours:
            raise ValueError(
                f"{len(z)} training rows for num_neighbours={self._num_neighbours}: more are needed"
            )
        self._magnitudes, self._z = magnitudes, z
        self._models: dict[bytes, _Neighbourhood | None] = {}
        self._smoothing = None
        if grid is not None:
            rows = held_out_rows(len(z), self._seed)
            samples = self._estimate(self._magnitudes[rows], left_out=rows)[2]
            self._smoothing = Smoothing.fit(histogram(samples, grid), z[rows], z, grid)
        return self

    def predict(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N,) redshifts: the local fit, kept within the redshifts of the neighbours."""
        return self.predict_with_error(arrays)[0]

    def predict_with_error(
        self, arrays: Arrays
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(N,) redshifts and (N,) their errors, the rms of the neighbours' residuals."""
        magnitudes = self._photometry.magnitudes(arrays)
        blocks = [self._estimate(magnitudes[rows])[:2] for rows in _blocks(len(magnitudes))]
        if not blocks:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        z, error = (np.concatenate(parts).astype(np.float32) for parts in zip(*blocks, strict=True))
        return z, error

    def predict_pdf(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N, Z) posteriors from the residuals of the neighbours."""
        smoothing = fitted(self._smoothing)
        magnitudes = self._photometry.magnitudes(arrays)

        def histogram_of(rows: slice) -> FloatArray:
            return histogram(self._estimate(magnitudes[rows])[2], smoothing.grid)

        return smoothing.posteriors(len(magnitudes), histogram_of)

    def _coordinates(self, magnitudes: FloatArray, bands: Rows) -> FloatArray:
        """(N, D) reference magnitude (of the first band where it is missing) and colours."""
        present = magnitudes[:, bands]
        which = np.flatnonzero(bands == self._reference)
        brightness = present[:, which[:1]] if which.size else present[:, :1]
        return np.concatenate([brightness, present[:, :-1] - present[:, 1:]], axis=1)

    def _neighbourhood(self, wanted_B: npt.NDArray[np.bool_]) -> _Neighbourhood | None:
        """The training rows for a pattern of present bands; None if no band is of use."""
        key = wanted_B.tobytes()
        if key not in self._models:
            self._models[key] = self._make_neighbourhood(wanted_B.copy())
        return self._models[key]

    def _make_neighbourhood(self, wanted_B: npt.NDArray[np.bool_]) -> _Neighbourhood | None:
        has = np.isfinite(self._magnitudes)
        while wanted_B.any():
            rows = np.flatnonzero(has[:, wanted_B].all(axis=1))
            # One more than the neighbours: a training row is not its own neighbour.
            if len(rows) > self._num_neighbours:
                break
            count = np.where(wanted_B, has.sum(axis=0), len(has) + 1)
            wanted_B[np.argmin(count)] = False
        else:
            return None
        bands = np.flatnonzero(wanted_B)
        points = self._coordinates(self._magnitudes[rows], bands)
        scale = np.maximum(points.std(axis=0), 1e-6)
        return _Neighbourhood(bands, rows, points / scale, scale, cKDTree(points / scale))

    def _estimate(
        self, magnitudes: FloatArray, left_out: Rows | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(N,) estimates, (N,) errors, (N, K) redshifts that stand for the posterior.

        `left_out` are the numbers of these rows in the training set, if they belong to it.
        """
        if self._z is None:
            raise RuntimeError("predictions need fit(arrays, z_true) first")
        num_rows = len(magnitudes)
        # What a row without any band gets: quantiles of the training set.
        levels = (np.arange(self._num_neighbours) + 0.5) / self._num_neighbours
        z, error = np.full(num_rows, np.median(self._z)), np.full(num_rows, self._z.std())
        samples = np.tile(np.quantile(self._z, levels), (num_rows, 1))
        present = np.isfinite(magnitudes)
        patterns, pattern_of = np.unique(present, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            model = self._neighbourhood(pattern)
            if model is None:
                continue
            chosen = np.flatnonzero(pattern_of.ravel() == number)
            for part in _blocks(len(chosen)):
                rows = chosen[part]
                excluded = None if left_out is None else left_out[rows]
                z[rows], error[rows], samples[rows] = self._regress(
                    model, magnitudes[rows], excluded
                )
        return z, error, samples

    def _regress(
        self, model: _Neighbourhood, magnitudes: FloatArray, excluded: Rows | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        assert self._z is not None
        points = self._coordinates(magnitudes, model.bands) / model.scale
        k = self._num_neighbours
        nearest = self._nearest(model, points, k if excluded is None else k + 1)
        if excluded is not None:
            # Without the row itself; where it is not among the nearest, without the farthest.
            itself = model.rows[nearest] == excluded[:, None]
            itself[~itself.any(axis=1), -1] = True
            nearest = nearest[~itself].reshape(len(points), k)
        z_NK = self._z[model.rows[nearest]]
        fit = local_linear(model.points[nearest] - points[:, None], z_NK, self._clip)
        # A line leads out of the neighbourhood where the row lies at its edge.
        value = np.clip(fit.value, z_NK.min(axis=1), z_NK.max(axis=1))
        return value, fit.error, value[:, None] + fit.residuals

    def _nearest(self, model: _Neighbourhood, points: FloatArray, k: int) -> Rows:
        return np.asarray(model.tree.query(points, k=k, workers=self._num_threads)[1], np.int64)


def _blocks(num_rows: int) -> Iterator[slice]:
    for start in range(0, num_rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, num_rows))
