"""The forest's posterior against quantile-regression-forest weights written out one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.baselines import RandomForest, photometry_matrix
from model.posterior import RedshiftGrid

pytest.importorskip("sklearn", reason="the extra `baselines` is not installed")

GRID = RedshiftGrid.uniform(0.0, 1.6, width=0.01)


def test_weights_equal_those_written_out(arrays_of: Any) -> None:
    arrays, fresh = arrays_of(150, seed=1), arrays_of(5, seed=2)
    method = RandomForest(num_trees=7).fit(arrays, arrays["z_true"], GRID)
    found = method._histogram(photometry_matrix(fresh))
    forest, matrix = method._forest, photometry_matrix(arrays)
    expected = np.zeros((5, GRID.num_bins))
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        leaf_of_drawn = tree.apply(matrix)[drawn]
        for row, leaf in enumerate(tree.apply(photometry_matrix(fresh))):
            inside = drawn[leaf_of_drawn == leaf]
            for i in inside:
                expected[row, GRID.bin_of(arrays["z_true"][i])] += 1 / (7 * len(inside))
    assert np.allclose(found, expected, atol=1e-6)


def test_mean_of_the_weights_is_the_prediction(arrays_of: Any) -> None:
    arrays, fresh = arrays_of(400, seed=1), arrays_of(50, seed=2)
    grid = RedshiftGrid.log_uniform(0.0, 1.6, 20_000)
    method = RandomForest(num_trees=20).fit(arrays, arrays["z_true"])
    method._leaves = method._leaf_table(
        photometry_matrix(arrays), grid.bin_of(arrays["z_true"]), grid.num_bins
    )
    mean = method._histogram(photometry_matrix(fresh)) @ np.log1p(grid.centres)
    assert np.allclose(np.expm1(mean), method.predict(fresh), atol=1e-4)


def test_rows_in_every_bag_cannot_choose_the_kernel(arrays_of: Any) -> None:
    arrays = arrays_of(40, seed=1)
    method = RandomForest(num_trees=3)
    method._forest.set_params(bootstrap=False)
    with pytest.raises(ValueError, match="no row is out of bag in all 3 trees"):
        method.fit(arrays, arrays["z_true"], GRID)
