"""P(z1 < z < z2) of quantiles: its properties, and its error against exact posteriors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.quantiles import cumulative_at
from engine.selection import interval_probability
from model.posterior import QUANTILE_LEVELS, RedshiftGrid, summarise
from model.posterior import interval_probability as exact_probability
from model.predict import Predictor
from model.weights import default_weights_path, load_weights
from partitions.build import build_brick
from partitions.dr10 import open_survey, read_bricks

# Steps of 2**-12: apart by more than the rounding of a float32, or equal.
QUANTILES = hnp.arrays(np.int64, (3, len(QUANTILE_LEVELS)), elements=st.integers(0, 4 << 12)).map(
    lambda steps: np.sort(steps, axis=1).astype(np.float32) / np.float32(1 << 12)
)


@given(QUANTILES, st.lists(st.floats(-1, 6), min_size=2, max_size=8))
def test_a_distribution_never_decreases_and_stays_within_0_and_1(
    quantiles: np.ndarray, redshifts: list[float]
) -> None:
    cdf = np.stack([cumulative_at(quantiles, QUANTILE_LEVELS, z) for z in sorted(redshifts)])
    assert ((cdf >= 0) & (cdf <= 1)).all()
    assert (np.diff(cdf, axis=0) >= -1e-12).all()


@given(QUANTILES)
def test_at_a_quantile_stands_its_level(quantiles: np.ndarray) -> None:
    for row in quantiles:
        for z in np.unique(row[row > 0]):
            # Of several equal quantiles one of their levels.
            levels = np.array(QUANTILE_LEVELS)[row == z]
            (value,) = cumulative_at(row[None], QUANTILE_LEVELS, float(z))
            assert levels.min() - 1e-9 <= value <= levels.max() + 1e-9


@given(QUANTILES, st.floats(0.1, 1), st.floats(1.1, 2), st.floats(2.1, 3))
def test_probabilities_of_adjacent_ranges_add_up(
    quantiles: np.ndarray, z1: float, z2: float, z3: float
) -> None:
    parts = [
        interval_probability(quantiles, QUANTILE_LEVELS, *ends) for ends in ((z1, z2), (z2, z3))
    ]
    whole = interval_probability(quantiles, QUANTILE_LEVELS, z1, z3)
    np.testing.assert_allclose(parts[0] + parts[1], whole, atol=1e-12)


def test_everything_lies_above_zero_and_within_any_wide_range() -> None:
    quantiles = np.linspace(0.02, 1.5, len(QUANTILE_LEVELS), dtype=np.float32)[None]
    assert cumulative_at(quantiles, QUANTILE_LEVELS, 0.0) == 0
    assert interval_probability(quantiles, QUANTILE_LEVELS, -1, 50) == pytest.approx(1)
    with pytest.raises(ValueError, match="must not be empty"):
        interval_probability(quantiles, QUANTILE_LEVELS, 1.0, 1.0)


def test_between_quantiles_a_constant_density_is_exact() -> None:
    grid = RedshiftGrid.uniform(0.0, 4.0, width=0.5)
    pdf = np.zeros((1, grid.num_bins))
    pdf[0, 1:4] = 1  # constant from 0.5 to 2.0
    quantiles = summarise(pdf, grid)["quantiles"]
    for z1, z2 in ((0.6, 1.6), (0.55, 0.7), (1.0, 1.95)):
        found = interval_probability(quantiles, QUANTILE_LEVELS, z1, z2)
        assert found == pytest.approx((z2 - z1) / 1.5, abs=1e-6)


def test_tails_carry_on_with_the_density_inside() -> None:
    """An exponential tail: half its probability within ln 2 of its scale."""
    levels = (0.1, 0.3, 0.7, 0.9)
    quantiles = np.array([[1.0, 1.2, 1.4, 1.6]], dtype=np.float64)
    scale = 0.1 * 0.2 / 0.2  # beyond / density
    assert cumulative_at(quantiles, levels, 1.0 - scale * np.log(2)) == pytest.approx(0.05)
    assert cumulative_at(quantiles, levels, 1.6 + scale * np.log(2)) == pytest.approx(0.95)


def test_error_against_the_networks_exact_posteriors(mock_survey: Path) -> None:
    """The errors that the documentation states, in seven ranges; narrow ones among them."""
    layout, weights = open_survey(mock_survey), load_weights(default_weights_path())
    predictor = Predictor(weights)
    errors = []
    for brick in list(read_bricks(layout).values())[:4]:
        arrays, _ = build_brick(layout, brick, weights.stamp_size)
        found = predictor.predict(arrays, with_pdf=True)
        assert found.pdf is not None
        for z1, z2 in ((0.6, 1.6), (0, 0.5), (0.4, 1), (0.8, 1.1), (1.1, 1.6), (2.1, 4)):
            exact = exact_probability(found.pdf, weights.grid, z1, z2)
            stored = found.summary["quantiles"]
            errors.append(interval_probability(stored, weights.quantile_levels, z1, z2) - exact)
    error = np.concatenate(errors)
    assert len(error) > 1000
    assert np.sqrt((error**2).mean()) < 0.005
    assert np.percentile(np.abs(error), 99) < 0.02
    assert np.abs(error).max() < 0.05
    assert abs(error.mean()) < 0.001
