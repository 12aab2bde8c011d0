"""Properties of posteriors and of what is read off them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.posterior import (
    QUANTILE_LEVELS,
    RedshiftGrid,
    cdf_at,
    interval_probability,
    summarise,
)

GRIDS = {
    "linear": RedshiftGrid.uniform(0.0, 2.0, width=0.01),
    "log": RedshiftGrid.log_uniform(0.0, 4.0, 300),
}


def normal_pdf(grid: RedshiftGrid, mean: float, sigma: float) -> np.ndarray:
    """(1, Z) exact bin probabilities of a normal distribution."""
    cdf = np.array([0.5 * math.erfc((mean - e) / (sigma * math.sqrt(2))) for e in grid.edges])
    return np.diff(cdf)[None, :]


def test_source_grid_has_bins_of_0_005_and_at_most_770() -> None:
    grid = RedshiftGrid.uniform(0.0, 9.0)
    assert grid.num_bins == 770
    assert np.allclose(grid.widths, 0.005)
    assert RedshiftGrid.uniform(0.0, 1.0).num_bins == 200


def test_log_grid_has_constant_resolution() -> None:
    grid = RedshiftGrid.log_uniform(0.0, 4.0, 300)
    assert np.ptp(np.diff(np.log1p(grid.edges))) < 1e-12
    assert (grid.edges[0], grid.edges[-1]) == (0.0, 4.0)


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.0], [1.0, 0.5], [0.0, np.nan], [-1.0, 2.0]])
def test_bad_edges_are_refused(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="grid"):
        RedshiftGrid(np.array(edges))


def test_bin_of_finds_the_bin_and_clips() -> None:
    grid = RedshiftGrid(np.array([0.0, 1.0, 2.0]))
    assert grid.bin_of([-1.0, 0.0, 0.99, 1.0, 2.0, 7.0]).tolist() == [0, 0, 0, 1, 1, 1]


def test_levels_increase_and_hold_the_intervals() -> None:
    assert len(QUANTILE_LEVELS) == 21
    assert (np.diff(QUANTILE_LEVELS) > 0).all()
    assert {0.025, 0.16, 0.5, 0.84, 0.975} <= set(QUANTILE_LEVELS)


@given(
    pdf=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.just(40)),
        elements=st.one_of(st.just(0.0), st.floats(1e-300, 1e-200), st.floats(1e-12, 1e3)),
    ).filter(lambda p: bool((p.sum(axis=1) > 0).all())),
    log=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_order_and_finiteness_for_any_pdf(pdf: np.ndarray, log: bool) -> None:
    grid = (
        RedshiftGrid.log_uniform(0.0, 3.0, 40) if log else RedshiftGrid(np.linspace(0, 2, 41) ** 2)
    )
    summary = summarise(pdf, grid)
    for name, values in summary.items():
        assert values.dtype == np.float32
        assert np.isfinite(values).all(), name
    assert (np.diff(summary["quantiles"], axis=1) >= 0).all()
    chain = [summary[name] for name in ("l95", "l68", "median", "u68", "u95")]
    assert all((a <= b).all() for a, b in pairwise(chain))
    assert ((summary["odds"] >= 0) & (summary["odds"] <= 1)).all()
    bounds = np.float32(grid.edges[0]), np.float32(grid.edges[-1])
    for name in ("mean", "median", "mode", "l95", "u95"):
        assert ((summary[name] >= bounds[0]) & (summary[name] <= bounds[1])).all(), name


@given(mean=st.floats(0.4, 1.4), sigma=st.floats(0.02, 0.08), grid=st.sampled_from(sorted(GRIDS)))
@settings(max_examples=60, deadline=None)
def test_normal_is_recovered(mean: float, sigma: float, grid: str) -> None:
    bins = GRIDS[grid]
    summary = {k: v[0] for k, v in summarise(normal_pdf(bins, mean, sigma), bins).items()}
    # Inside a bin the density is flat, so a level may be off by a part of the bin's width, and
    # binning and flatness add width^2 / 12 each to the variance.
    width = float(bins.widths[bins.bin_of(mean + 2 * sigma)])
    tolerance = 0.05 * width
    assert summary["mean"] == pytest.approx(mean, abs=tolerance)
    assert summary["median"] == pytest.approx(mean, abs=tolerance)
    assert summary["mode"] == pytest.approx(mean, abs=width)
    assert summary["std"] == pytest.approx(math.hypot(sigma, width / math.sqrt(6)), rel=0.02)
    assert summary["l68"] == pytest.approx(mean - 0.99446 * sigma, abs=0.25 * width)
    assert summary["u95"] == pytest.approx(mean + 1.95996 * sigma, abs=0.25 * width)
    half = 0.06 * (1 + float(summary["mode"]))
    low, high = (float(summary["mode"]) + side * half - mean for side in (-1, 1))
    root = sigma * math.sqrt(2)
    assert summary["odds"] == pytest.approx(
        0.5 * (math.erf(high / root) - math.erf(low / root)), abs=0.01
    )


@given(k=st.integers(0, 299))
@settings(max_examples=30, deadline=None)
def test_delta_function_stays_in_its_bin(k: int) -> None:
    grid = GRIDS["log"]
    pdf = np.zeros((1, grid.num_bins))
    pdf[0, k] = 3.0
    summary = summarise(pdf, grid)
    assert summary["mode"][0] == np.float32(grid.centres[k])
    assert summary["median"][0] == pytest.approx(grid.centres[k], rel=1e-6)
    assert summary["std"][0] == pytest.approx(grid.widths[k] / math.sqrt(12), rel=1e-5)
    assert grid.edges[k] - 1e-6 <= summary["l95"][0] <= summary["u95"][0]
    assert summary["u95"][0] <= grid.edges[k + 1] + 1e-6
    assert summary["odds"][0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_flat_density_has_linear_quantiles(name: str) -> None:
    grid = GRIDS[name]
    z_max = grid.edges[-1]
    summary = summarise(grid.widths[None, :], grid)
    assert np.allclose(summary["quantiles"][0], np.array(QUANTILE_LEVELS) * z_max, atol=1e-5)
    assert summary["mean"][0] == pytest.approx(z_max / 2, rel=1e-6)
    assert summary["std"][0] == pytest.approx(z_max / math.sqrt(12), rel=1e-6)


@given(shift=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_shifting_bins_shifts_every_estimate(shift: int) -> None:
    grid = GRIDS["linear"]
    rng = np.random.default_rng(shift)
    pdf = np.zeros((4, grid.num_bins))
    pdf[:, 40:90] = rng.random((4, 50))
    before, after = summarise(pdf, grid), summarise(np.roll(pdf, shift, axis=1), grid)
    for name in ("mean", "median", "mode", "l68", "u95", "quantiles"):
        assert np.allclose(after[name] - before[name], 0.01 * shift, atol=2e-6), name
    assert np.allclose(before["std"], after["std"], atol=1e-6)


def test_rows_do_not_know_their_neighbours() -> None:
    grid = GRIDS["log"]
    pdf = np.random.default_rng(0).random((1500, grid.num_bins))
    whole = summarise(pdf, grid)
    for rows in (slice(0, 1), slice(700, 1500), slice(1499, 1500)):
        for name, values in summarise(pdf[rows], grid).items():
            assert np.array_equal(values, whole[name][rows]), name


@given(z1=st.floats(-0.5, 4.5), z2=st.floats(-0.5, 4.5), z3=st.floats(-0.5, 4.5))
@settings(max_examples=50, deadline=None)
def test_interval_probabilities_add_up(z1: float, z2: float, z3: float) -> None:
    grid = GRIDS["log"]
    pdf = np.random.default_rng(1).random((3, grid.num_bins)) ** 4
    a, b, c = sorted((z1, z2, z3))
    parts = interval_probability(pdf, grid, a, b) + interval_probability(pdf, grid, b, c)
    assert np.allclose(parts, interval_probability(pdf, grid, a, c), atol=1e-12)
    assert np.allclose(interval_probability(pdf, grid, -0.9, 9.0), 1.0)


def test_interval_probability_takes_bounds_per_row_and_refuses_reversed_ones() -> None:
    grid = RedshiftGrid(np.array([0.0, 1.0, 2.0]))
    pdf = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = interval_probability(pdf, grid, np.array([0.25, 0.5]), np.array([0.5, 2.0]))
    assert found.tolist() == [0.25, 0.75]
    with pytest.raises(ValueError, match="reversed"):
        interval_probability(pdf, grid, 1.0, 0.5)


def test_cdf_at_the_median_is_a_half() -> None:
    pdf = np.random.default_rng(2).random((20, 300))
    median = summarise(pdf, GRIDS["log"])["median"]
    assert np.allclose(cdf_at(pdf, GRIDS["log"], median), 0.5, atol=1e-4)


def test_no_rows_give_empty_arrays() -> None:
    summary = summarise(np.empty((0, 300)), GRIDS["log"])
    assert summary["median"].shape == (0,)
    assert summary["quantiles"].shape == (0, 21)


@pytest.mark.parametrize("bad", [np.nan, -0.1, np.inf])
def test_bad_probabilities_are_refused(bad: float) -> None:
    pdf = np.ones((3, 300))
    pdf[1, 7] = bad
    with pytest.raises(ValueError, match="row 1"):
        summarise(pdf, GRIDS["log"])


def test_wrong_shapes_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 299\), expected \(N, 300\)"):
        summarise(np.ones((2, 299)), GRIDS["log"])
    with pytest.raises(ValueError, match="increase"):
        summarise(np.ones((2, 300)), GRIDS["log"], (0.5, 0.4))
    with pytest.raises(ValueError, match="not all zero"):
        summarise(np.zeros((2, 300)), GRIDS["log"])
