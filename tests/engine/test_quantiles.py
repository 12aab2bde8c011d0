"""Cumulative distributions from quantiles, against a loop over rows with numpy's interp."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.quantiles import (
    cumulative_at,
    extended_levels,
    extended_redshifts,
    stacked_posteriors,
)
from model.posterior import QUANTILE_LEVELS, RedshiftGrid, cdf_at, summarise

LEVELS = np.array(QUANTILE_LEVELS)


def quantiles_of(seed: int, num_rows: int) -> np.ndarray:
    """Rising quantiles, some rows narrow and some wide."""
    random = np.random.default_rng(seed)
    steps = random.exponential(10 ** random.uniform(-4, -1, (num_rows, 1)), (num_rows, len(LEVELS)))
    return random.uniform(0, 3, (num_rows, 1)) + np.cumsum(steps, axis=1)


def test_ends_go_on_with_the_last_density_and_stay_above_zero() -> None:
    levels = np.array([0.1, 0.2, 0.8, 0.9])
    redshifts = extended_redshifts(np.array([[1, 1.2, 2, 2.3], [0.05, 0.2, 1, 1.1]]), levels)
    np.testing.assert_allclose(redshifts[:, 0], [0.8, 0.0], atol=1e-7)
    np.testing.assert_allclose(redshifts[:, -1], [2.6, 1.2], rtol=1e-6)
    assert extended_levels(levels)[[0, -1]].tolist() == [0, 1]


@given(seed=st.integers(0, 1000), num_rows=st.integers(0, 30))
def test_cumulative_is_numpys_interpolation_row_by_row(seed: int, num_rows: int) -> None:
    quantiles = quantiles_of(seed, num_rows)
    z = np.sort(np.random.default_rng(seed + 1).uniform(-1, 8, (num_rows, 7)), axis=1)
    found = cumulative_at(quantiles, LEVELS, z)
    for row in range(num_rows):
        x = extended_redshifts(quantiles[row : row + 1], LEVELS)[0]
        expected = np.interp(z[row], x, extended_levels(LEVELS), left=0, right=1)
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


def test_blocks_do_not_show() -> None:
    quantiles = quantiles_of(3, 9001)  # More than two blocks.
    z = np.full((9001, 1), 2.0)
    whole = cumulative_at(quantiles, LEVELS, z)
    parts = [
        cumulative_at(quantiles[k : k + 100], LEVELS, z[k : k + 100]) for k in range(0, 9001, 100)
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)


def test_stack_counts_every_source_once() -> None:
    quantiles = quantiles_of(4, 500)
    stack = stacked_posteriors(quantiles, LEVELS, np.linspace(0, 90, 400))
    assert (stack >= -1e-9).all()
    np.testing.assert_allclose(stack.sum(), 500, rtol=1e-6)


def test_pit_from_quantiles_is_near_that_of_the_whole_posterior() -> None:
    random = np.random.default_rng(8)
    grid = RedshiftGrid.log_uniform(0, 4, 400)
    centre, width = random.uniform(0.1, 3, (300, 1)), random.uniform(0.02, 0.3, (300, 1))
    pdf = np.exp(-0.5 * ((grid.centres - centre) / width) ** 2) * grid.widths
    z = np.clip(centre[:, 0] + width[:, 0] * random.standard_normal(300), 0.01, 3.9)
    summary = summarise(pdf, grid, QUANTILE_LEVELS)
    found = cumulative_at(summary["quantiles"], LEVELS, z[:, None])[:, 0]
    # Between two levels the two can differ by a part of their distance, at most 0.1.
    assert np.abs(found - cdf_at(pdf, grid, z)).max() < 0.03
