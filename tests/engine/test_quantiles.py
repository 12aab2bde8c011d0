"""Stacks and PIT from quantiles; the distribution itself: selection/test_probability."""

from __future__ import annotations

import numpy as np

from engine.quantiles import cumulative_at, stacked_posteriors
from model.posterior import QUANTILE_LEVELS, RedshiftGrid, cdf_at, summarise

LEVELS = np.array(QUANTILE_LEVELS)


def quantiles_of(seed: int, num_rows: int) -> np.ndarray:
    """Rising quantiles, some rows narrow and some wide."""
    random = np.random.default_rng(seed)
    steps = random.exponential(10 ** random.uniform(-4, -1, (num_rows, 1)), (num_rows, len(LEVELS)))
    return random.uniform(0, 3, (num_rows, 1)) + np.cumsum(steps, axis=1)


def test_one_redshift_a_source_is_as_one_redshift_for_all() -> None:
    quantiles = quantiles_of(3, 50)
    z = np.linspace(-1, 6, 50)
    found = cumulative_at(quantiles, LEVELS, z)
    expected = [cumulative_at(quantiles[k : k + 1], LEVELS, z[k])[0] for k in range(50)]
    np.testing.assert_array_equal(found, expected)


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
    found = cumulative_at(summary["quantiles"], LEVELS, z)
    # Between two levels the two can differ by a part of their distance, at most 0.1.
    assert np.abs(found - cdf_at(pdf, grid, z)).max() < 0.03
