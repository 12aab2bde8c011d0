"""Kernel and prior: sums, widths, and the likelihood that chooses them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from model.baselines.smoothing import (
    WIDTHS,
    Smoothing,
    held_out_rows,
    histogram,
    kernel_matrix,
    nearest_width,
)
from model.metrics import interval_coverage, negative_log_likelihood
from model.posterior import RedshiftGrid, summarise

GRID = RedshiftGrid.uniform(0.0, 2.0, width=0.01)


def test_histogram_counts_values() -> None:
    found = histogram(np.array([[0.005, 0.007, 0.5], [-0.2, 3.0, 1.995]]), GRID)
    assert found[0, 0] == pytest.approx(2 / 3)
    assert found[0, 50] == pytest.approx(1 / 3)
    assert found[1, [0, -1]].tolist() == pytest.approx([1 / 3, 2 / 3])


@given(width=st.floats(0.0003, 0.2))
def test_kernel_spreads_probability_and_keeps_it(width: float) -> None:
    kernel = kernel_matrix(GRID, width)
    assert np.allclose(kernel.sum(axis=1), 1)
    middle = GRID.num_bins // 2
    log_z = np.log1p(GRID.centres)
    spread = np.sqrt(kernel[middle] @ (log_z - log_z[middle]) ** 2)
    # Bins widen a narrow kernel by their own width, 0.005 in ln(1 + z) here.
    assert spread == pytest.approx(width, abs=0.003 + 0.1 * width)


def test_nearest_width_is_nearest() -> None:
    wanted = np.array([0.0, 1e-9, 0.001, 0.0123, 0.04, 5.0])
    distance = np.abs(np.log(np.maximum(wanted, 1e-12))[:, None] - np.log(WIDTHS))
    assert np.array_equal(nearest_width(wanted), distance.argmin(axis=1))


def test_few_samples_become_nearly_as_likely_as_the_truth() -> None:
    """20 draws of the truth's own Gaussian: bare histograms are too narrow, posteriors are not."""
    rng = np.random.default_rng(0)
    centre, sigma = rng.uniform(0.5, 1.5, 4000), rng.choice([0.02, 0.1], 4000)
    truth = centre + sigma * rng.normal(size=4000)
    draws = histogram(centre[:, None] + sigma[:, None] * rng.normal(size=(4000, 20)), GRID)
    smoothing = Smoothing.fit(draws[:2000], truth[:2000], truth[:2000], GRID)
    pdf = smoothing.posteriors(2000, lambda rows: draws[2000:][rows])
    assert np.allclose(pdf.sum(axis=1), 1, atol=1e-5)
    fresh, best = truth[2000:], norm(centre[2000:], sigma[2000:])
    excess = (negative_log_likelihood(pdf, GRID, fresh) + best.logpdf(fresh)).mean()
    assert 0 < excess < 0.15
    found, bare = summarise(pdf, GRID), summarise(draws[2000:], GRID)
    for level, nominal in ((68, 0.68), (95, 0.95)):
        covered, too_few = (
            interval_coverage(s[f"l{level}"], s[f"u{level}"], fresh) for s in (found, bare)
        )
        assert too_few < nominal < covered < nominal + 0.09


def test_held_out_rows_are_distinct() -> None:
    rows = held_out_rows(50, seed=1, limit=20)
    assert len(set(rows.tolist())) == 20
    assert (np.diff(rows) > 0).all()
    assert held_out_rows(5, seed=1).tolist() == [0, 1, 2, 3, 4]
