"""Random forest: the method of the official Legacy Surveys redshifts, with its posterior.

The posterior is that of a quantile regression forest (Meinshausen 2006): every training row of
the leaves that a source falls into has a weight, and the weights are a conditional distribution.
The alternative, the spread of the trees' means, is the error of an estimate of the mean and far
narrower than the redshifts that share the leaves. Here the leaves hold the rows that each tree
was grown on, so that rows out of its bag are honest tests, and the mean of the weights is the
forest's own prediction.

Memory: one number for each tree and distinct redshift bin of a leaf, about 8 bytes x trees x
training rows; predictions are made in blocks.

References
----------
* Zhou et al. 2021, MNRAS 501, 3309; Zhou et al. 2023, arXiv:2309.06443: Legacy Surveys photo-z.
* Meinshausen 2006, J. Mach. Learn. Res. 7, 983: quantile regression forests.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse

from model.baselines.interface import checked_redshifts
from model.baselines.photometry import SURVEY, Arrays, Photometry
from model.baselines.scikit import scikit_class
from model.baselines.smoothing import FloatArray, Smoothing, fitted, held_out_rows
from model.posterior import RedshiftGrid

Matrix = npt.NDArray[np.float32]


class RandomForest:
    """Random forest from photometry to redshift; a `Baseline`."""

    def __init__(
        self,
        num_trees: int = 200,
        min_samples_leaf: int = 3,
        max_features: float = 0.4,
        seed: int = 0,
        num_threads: int = 1,
        photometry: Photometry = SURVEY,
    ) -> None:
        forest_class = scikit_class("ensemble", "RandomForestRegressor", "the random forest")
        self._forest = forest_class(
            n_estimators=num_trees,
            min_samples_leaf=min_samples_leaf,
            max_features=max_features,
            random_state=seed,
            n_jobs=num_threads,
        )
        self._photometry = photometry
        self._seed = seed
        self._smoothing: Smoothing | None = None
        self._leaves: Any = None

    def fit(self, arrays: Arrays, z_true: npt.ArrayLike, grid: RedshiftGrid | None = None) -> Self:
        """Fit on training rows; the target is ln(1 + z), whose errors are dz / (1 + z)."""
        matrix = self._photometry.matrix(arrays)
        z = checked_redshifts(z_true, len(matrix))
        self._forest.fit(matrix, np.log1p(z))
        self._smoothing = None
        if grid is not None:
            self._leaves = self._leaf_table(matrix, grid.bin_of(z), grid.num_bins)
            self._smoothing = self._fit_smoothing(matrix, z, grid)
        return self

    def predict(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N,) redshifts, from the mean of ln(1 + z) over trees."""
        if not hasattr(self._forest, "estimators_"):
            raise RuntimeError("predictions need fit(arrays, z_true) first")
        matrix = self._photometry.matrix(arrays)
        if not len(matrix):
            return np.empty(0, np.float32)
        return np.asarray(np.expm1(self._forest.predict(matrix)), np.float32)

    def predict_pdf(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N, Z) posteriors from the training redshifts in the leaves."""
        smoothing = fitted(self._smoothing)
        matrix = self._photometry.matrix(arrays)

        def histogram_of(rows: slice) -> FloatArray:
            return self._histogram(matrix[rows])

        return smoothing.posteriors(len(matrix), histogram_of)

    def _first_nodes(self) -> npt.NDArray[np.int64]:
        """(trees + 1,) number of the first node of each tree, all trees' nodes in one count."""
        counts = [tree.tree_.node_count for tree in self._forest.estimators_]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def _leaf_table(self, matrix: Matrix, bin_N: npt.NDArray[np.int64], num_bins: int) -> Any:
        """(nodes of all trees, Z) sparse: distribution of the redshifts that grew each leaf."""
        first = self._first_nodes()
        tables = []
        for t, tree in enumerate(self._forest.estimators_):
            num_nodes = int(first[t + 1] - first[t])
            drawn = self._forest.estimators_samples_[t]
            node = tree.apply(matrix)[drawn]
            share = 1 / np.bincount(node, minlength=num_nodes)[node]
            entries = (share.astype(np.float32), (node, bin_N[drawn]))
            tables.append(sparse.coo_array(entries, shape=(num_nodes, num_bins)).tocsr())
        return sparse.vstack(tables, format="csr")

    def _histogram(self, matrix: Matrix, use_NT: npt.NDArray[np.bool_] | None = None) -> FloatArray:
        """(N, Z) mean of the leaves' distributions, over all trees or those in `use_NT`."""
        node_NT = self._forest.apply(matrix) + self._first_nodes()[:-1]
        use = np.ones(node_NT.shape, bool) if use_NT is None else use_NT
        weight = (use / use.sum(axis=1, keepdims=True))[use]
        row = np.nonzero(use)[0]
        shape = (len(matrix), self._leaves.shape[0])
        chosen = sparse.coo_array((weight, (row, node_NT[use])), shape=shape).tocsr()
        return np.asarray((chosen @ self._leaves).toarray(), np.float64)

    def _fit_smoothing(self, matrix: Matrix, z: FloatArray, grid: RedshiftGrid) -> Smoothing:
        """Kernel and prior weight from rows judged by the trees that did not see them."""
        rows = held_out_rows(len(z), self._seed)
        out_of_bag = np.ones((len(rows), len(self._forest.estimators_)), bool)
        for t, drawn in enumerate(self._forest.estimators_samples_):
            out_of_bag[:, t] = ~np.isin(rows, drawn)
        # A forest of very few trees has rows that every tree has seen.
        judged = out_of_bag.any(axis=1)
        if not judged.any():
            raise ValueError(f"no row is out of bag in all {len(self._forest.estimators_)} trees")
        rows, out_of_bag = rows[judged], out_of_bag[judged]
        return Smoothing.fit(self._histogram(matrix[rows], out_of_bag), z[rows], z, grid)
