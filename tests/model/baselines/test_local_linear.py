"""Batched local regression against scikit-learn, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.baselines.local_linear import local_linear

linear_model = pytest.importorskip(
    "sklearn.linear_model", reason="the extra `baselines` is not installed"
)


def one_by_one(
    offset_KD: np.ndarray, target_K: np.ndarray, clip: float
) -> tuple[float, float, np.ndarray]:
    first = linear_model.LinearRegression().fit(offset_KD, target_K)
    residual = target_K - first.predict(offset_KD)
    kept = np.abs(residual) <= clip * np.sqrt(np.mean(residual**2))
    second = linear_model.LinearRegression().fit(offset_KD[kept], target_K[kept])
    residual = target_K - second.predict(offset_KD)
    return second.intercept_, float(np.sqrt(np.mean(residual[kept] ** 2))), residual


@given(seed=st.integers(0, 999), dimensions=st.integers(1, 6), clip=st.floats(1.5, 4.0))
def test_equals_a_loop_over_rows(seed: int, dimensions: int, clip: float) -> None:
    rng = np.random.default_rng(seed)
    offset = rng.normal(size=(8, 40, dimensions)) * rng.uniform(0.01, 3, dimensions) + 0.3
    target = offset @ rng.normal(size=dimensions) + rng.standard_t(2, size=(8, 40)) * 0.1
    found = local_linear(offset, target, clip)
    for row in range(8):
        value, error, residual = one_by_one(offset[row], target[row], clip)
        assert found.value[row] == pytest.approx(value, abs=1e-8)
        assert found.error[row] == pytest.approx(error, abs=1e-9)
        assert np.allclose(found.residuals[row], residual, atol=1e-8)


def test_an_outlier_does_not_move_the_fit() -> None:
    rng = np.random.default_rng(0)
    offset = rng.normal(size=(1, 50, 2))
    target = 0.5 + offset @ [0.2, -0.1] + 1e-4 * rng.normal(size=(1, 50))
    spoiled = target.copy()
    spoiled[0, 7] += 3
    found = local_linear(offset, spoiled)
    assert not found.kept[0, 7]
    assert found.value[0] == pytest.approx(0.5, abs=1e-3)
    assert found.residuals[0, 7] == pytest.approx(3, abs=1e-2)


def test_neighbours_at_one_point_give_their_mean() -> None:
    target = np.array([[0.1, 0.2, 0.3, 0.4]])
    found = local_linear(np.ones((1, 4, 3)), target)
    assert found.value[0] == pytest.approx(0.25)
    exact = local_linear(np.zeros((1, 4, 3)), np.full((1, 4), 0.7))
    assert (exact.value[0], exact.error[0]) == (pytest.approx(0.7), pytest.approx(0.0))
    assert exact.kept.all()
