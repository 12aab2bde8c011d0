"""Permutation importance against scikit-learn and against what is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation import as_row, crps_loss, permutation_importance, sigma_nmad_loss
from model.posterior import RedshiftGrid

WEIGHTS = np.array([0.3, 0.0, 0.1, 0.02])


def test_agrees_with_scikit_learn() -> None:
    inspection = pytest.importorskip("sklearn.inspection", reason="needs the extra `baselines`")
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1000, 4))
    target = features @ WEIGHTS + 0.05 * rng.normal(size=1000)
    model = linear.LinearRegression().fit(features, target)
    theirs = inspection.permutation_importance(
        model, features, target, scoring="neg_mean_squared_error", n_repeats=30, random_state=1
    )
    ours = permutation_importance(
        model.predict,
        features,
        lambda found: float(np.mean((found - target) ** 2)),
        {str(column): [column] for column in range(4)},
        num_repeats=30,
    )
    assert [item.name for item in ours] == ["0", "2", "3", "1"]
    for item in ours:
        mean, spread = (
            v[int(item.name)] for v in (theirs.importances_mean, theirs.importances_std)
        )
        error = np.hypot(spread, item.error) / np.sqrt(30)
        assert item.increase == pytest.approx(mean, abs=4 * error + 1e-9)
        assert item.error == pytest.approx(spread, rel=0.6, abs=1e-6)


def test_a_group_shuffles_together() -> None:
    """Two copies of one feature: each covers for the other, only the pair shows."""
    rng = np.random.default_rng(1)
    z = rng.uniform(0, 1, 2000)
    features = np.column_stack([z, z, rng.normal(size=2000)])

    def median(x: np.ndarray) -> np.ndarray:
        return np.median(np.column_stack([x[:, 0], x[:, 1], x[:, 0]]), axis=1)

    def spread_within_pair(x: np.ndarray) -> np.ndarray:
        return x[:, 0] - x[:, 1]

    groups = {"first": [0], "second": [1], "both": [0, 1], "noise": [2]}
    found = permutation_importance(median, features, sigma_nmad_loss(z), groups)
    increase = {item.name: item.increase for item in found}
    assert found[0].name in ("both", "first")
    assert increase["second"] == increase["noise"] == 0
    assert increase["both"] > 0.1
    # Together, the columns of a group keep their relation.
    kept = permutation_importance(
        spread_within_pair, features, lambda d: float(np.abs(d).max()), {"both": [0, 1]}
    )
    assert kept[0].increase == 0


def test_loss_of_posteriors_and_untouched_input() -> None:
    grid = RedshiftGrid.uniform(0.0, 1.0, width=0.05)
    rng = np.random.default_rng(2)
    z = rng.uniform(0, 1, 300)
    features = np.column_stack([z, np.full(300, np.nan)])
    before = features.copy()

    def posterior(x: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((grid.centres - x[:, :1]) / 0.05) ** 2)

    groups = {"z": [0], "missing": [1]}
    first = permutation_importance(posterior, features, crps_loss(grid, z), groups, 3, seed=5)
    assert [item.name for item in first] == ["z", "missing"]
    assert first[0].increase > 0.1
    assert first[1].increase == first[1].error == 0
    assert np.array_equal(features, before, equal_nan=True)
    assert first == permutation_importance(
        posterior, features, crps_loss(grid, z), groups, 3, seed=5
    )
    once = permutation_importance(posterior, features, crps_loss(grid, z), groups, 1)
    assert np.isnan(once[0].error)
    assert as_row(once[0])["error"] is None
    for columns in ([], [2], [-1]):
        with pytest.raises(ValueError, match="of 2 features"):
            permutation_importance(posterior, features, crps_loss(grid, z), {"bad": columns})
