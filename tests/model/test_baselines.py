"""The random forest on the same photometry."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from model.baselines import MISSING_VALUE, RandomForest, photometry_matrix


def test_matrix_is_finite_and_flags_what_is_missing(arrays_of: Any) -> None:
    arrays = arrays_of(5)
    arrays["flux_ivar"][2, 3] = 0
    arrays["features"][2, 1] = np.nan
    matrix = photometry_matrix(arrays)
    assert matrix.shape == (5, 86 + 18)
    assert np.isfinite(matrix).all()
    assert matrix[2, 1] == MISSING_VALUE
    assert matrix[2, 86 + 3] == matrix[2, 92 + 3] == MISSING_VALUE
    assert matrix[:, 98:].sum(axis=1).tolist() == [6, 6, 5, 6, 6]


def test_forest_learns_and_repeats_itself(arrays_of: Any) -> None:
    pytest.importorskip("sklearn", reason="the extra `baselines` is not installed")
    arrays, fresh = arrays_of(400, seed=1), arrays_of(100, seed=2)
    forest = RandomForest(num_trees=20).fit(arrays, arrays["z_true"])
    z = forest.predict(fresh)
    dz = (z - fresh["z_true"]) / (1 + fresh["z_true"])
    assert np.median(np.abs(dz)) < 0.02
    again = RandomForest(num_trees=20).fit(arrays, arrays["z_true"]).predict(fresh)
    assert np.array_equal(z, again)
    trees = forest.predict_trees(fresh)
    assert trees.shape == (100, 20)
    assert np.allclose(np.expm1(np.log1p(trees).mean(axis=1)), z, atol=1e-5)
    empty = {name: values[:0] for name, values in fresh.items()}
    assert forest.predict(empty).shape == (0,)
    with pytest.raises(ValueError, match="3 redshifts for 400 rows"):
        RandomForest(num_trees=2).fit(arrays, [0.1, 0.2, 0.3])


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ImportError, match="extra `baselines`"):
        RandomForest()
