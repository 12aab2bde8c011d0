"""Metrics against straightforward numpy on the whole, and the laws of merging."""

from __future__ import annotations

import math
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import metrics
from model.metrics import PointMetrics
from model.posterior import RedshiftGrid, summarise

GRID = RedshiftGrid.uniform(0.0, 1.0, width=0.02)


def sample(num_objects: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z_spec = rng.uniform(0.0, 1.6, num_objects)
    scatter = np.where(rng.random(num_objects) < 0.1, 0.4, 0.03)
    return z_spec + (1 + z_spec) * scatter * rng.normal(size=num_objects), z_spec


def test_definitions_on_a_worked_example() -> None:
    z_spec = np.array([0.0, 1.0, 1.0, 0.0, 0.0])
    z_phot = np.array([0.01, 1.04, 1.0, 0.2, -0.12])
    dz = metrics.normalised_error(z_phot, z_spec)
    assert np.allclose(dz, [0.01, 0.02, 0.0, 0.2, -0.12])
    assert metrics.bias(dz) == pytest.approx(0.01)
    assert metrics.sigma_nmad(dz) == pytest.approx(1.48 * 0.01)
    assert metrics.outlier_fraction(dz, 0.15) == pytest.approx(0.2)
    assert metrics.outlier_fraction(dz, 0.10) == pytest.approx(0.4)


def test_nan_is_refused_not_skipped() -> None:
    with pytest.raises(ValueError, match="1 of 2"):
        metrics.normalised_error([0.1, np.nan], [0.1, 0.2])


@given(sizes=st.lists(st.integers(0, 200), min_size=1, max_size=6), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_merged_parts_equal_the_whole(sizes: list[int], seed: int) -> None:
    z_phot, z_spec = sample(sum(sizes), seed)
    cuts = np.cumsum([0, *sizes])
    parts = [PointMetrics.of(z_phot[a:b], z_spec[a:b]) for a, b in pairwise(cuts)]
    whole = PointMetrics.of(z_phot, z_spec)
    assert reduce(add, parts, PointMetrics.zero()) == whole
    assert reduce(add, reversed(parts)) == whole
    assert parts[0] + parts[-1] == parts[-1] + parts[0]
    assert whole + PointMetrics.zero() == whole


@given(size=st.integers(1, 400), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_histogram_agrees_with_the_exact_functions(size: int, seed: int) -> None:
    z_phot, z_spec = sample(size, seed)
    dz = metrics.normalised_error(z_phot, z_spec)
    report = PointMetrics.of(z_phot, z_spec).report()
    if np.abs(dz).max() < metrics.DZ_LIMIT:
        assert report["bias"] == pytest.approx(np.median(dz), abs=6e-5)
        exact = 1.48 * np.median(np.abs(dz - np.median(dz)))
        assert report["sigma_nmad"] == pytest.approx(exact, abs=1.48 * 1.1e-4)
    assert report["eta_0.15"] == np.mean(np.abs(dz) > 0.15)
    assert report["eta_0.10"] == np.mean(np.abs(dz) > 0.10)
    assert report["num_objects"] == size


def test_different_sums_are_unequal() -> None:
    a, b = PointMetrics.of([0.1], [0.1]), PointMetrics.of([0.2], [0.1])
    assert a != b
    assert a == PointMetrics.of([0.1], [0.1])
    assert hash(a) == hash(PointMetrics.of([0.1], [0.1]))


def test_wild_errors_are_counted_at_the_ends() -> None:
    found = PointMetrics.of([5.0, -0.99, 0.1], [0.1, 1.5, 0.1])
    assert (found.dz_counts[-1], found.dz_counts[0], found.dz_counts.sum()) == (1, 0, 3)
    assert found.num_outliers == (2, 2)


def test_zero_reports_nan() -> None:
    report = PointMetrics.zero().report()
    assert report["num_objects"] == 0
    assert all(math.isnan(v) for k, v in report.items() if k != "num_objects")


def test_intervals_and_pit_are_counted() -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.3, 0.7, 2000)
    estimate = truth + rng.normal(size=2000) * 0.05
    pdf = np.exp(-0.5 * ((GRID.centres - estimate[:, None]) / 0.05) ** 2)
    summary = summarise(pdf, GRID)
    pit = metrics.pit(pdf, GRID, truth)
    report = PointMetrics.of(summary["median"], truth, summary, pit)
    values = report.report()
    assert values["coverage_68"] == metrics.interval_coverage(summary["l68"], summary["u68"], truth)
    assert values["coverage_68"] == pytest.approx(0.68, abs=0.03)
    assert values["coverage_95"] == pytest.approx(0.95, abs=0.02)
    assert report.pit_counts.sum() == 2000
    # A calibrated posterior has a flat PIT histogram; 100 per bin, 4 sigma.
    assert np.abs(report.pit_counts - 100).max() < 40
    # PIT values below 16 % lie below the 68 % interval.
    assert np.mean(pit < 0.16) == pytest.approx(np.mean(truth < summary["l68"]), abs=1e-3)


@given(z=st.floats(-0.3, 1.3), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_crps_equals_its_integral(z: float, seed: int) -> None:
    pdf = np.random.default_rng(seed).random((1, GRID.num_bins)) ** 3
    x = np.linspace(-0.5, 1.5, 400_001)
    cdf = np.interp(x, GRID.edges, np.concatenate([[0], np.cumsum(pdf[0] / pdf.sum())]))
    brute = np.mean((cdf - (x >= z)) ** 2) * (x[-1] - x[0])
    assert metrics.crps(pdf, GRID, [z])[0] == pytest.approx(brute, abs=2e-5)


def test_nll_is_a_density_in_z() -> None:
    flat = np.ones((1, GRID.num_bins))
    assert metrics.negative_log_likelihood(flat, GRID, [0.5])[0] == pytest.approx(0.0)
    half = RedshiftGrid.uniform(0.0, 0.5, width=0.02)
    assert metrics.negative_log_likelihood(np.ones((1, 25)), half, [0.1])[0] == pytest.approx(
        -math.log(2)
    )
