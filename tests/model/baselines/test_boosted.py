"""Quantiles joined to a posterior, against numpy's interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.baselines import BoostedTrees
from model.baselines.boosted import quantiles_to_histogram
from model.posterior import RedshiftGrid

GRID = RedshiftGrid.uniform(0.0, 2.0, width=0.01)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@given(seed=st.integers(0, 999))
def test_equals_interpolation_of_the_sorted_quantiles(seed: int) -> None:
    crossing = np.random.default_rng(seed).uniform(0.2, 0.8, (3, 5))
    found = quantiles_to_histogram(crossing, LEVELS, GRID)
    assert (found >= 0).all()
    assert np.allclose(found.sum(axis=1), 1)
    for row, q in zip(found, np.sort(crossing, axis=1), strict=True):
        first = q[0] - (q[1] - q[0]) * 0.05 / 0.20
        last = q[-1] + (q[-1] - q[-2]) * 0.05 / 0.20
        knots, levels = [first, *q, last], [0, *LEVELS, 1]
        cdf = np.interp(np.log1p(GRID.edges), knots, levels)
        cdf[0], cdf[-1] = 0, 1
        assert np.allclose(np.cumsum(row), cdf[1:], atol=1e-6)


def test_equal_quantiles_are_a_step() -> None:
    found = quantiles_to_histogram(np.full((1, 5), np.log1p(0.505)), LEVELS, GRID)
    assert found[0, GRID.bin_of(0.505)] == pytest.approx(1)


def test_levels_are_checked() -> None:
    pytest.importorskip("sklearn", reason="the extra `baselines` is not installed")
    for levels in ((0.5,), (0.5, 0.1), (0.0, 0.5), (0.2, 0.2)):
        with pytest.raises(ValueError, match="levels"):
            BoostedTrees(levels=levels)
