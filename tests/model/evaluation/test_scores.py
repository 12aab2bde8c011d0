"""Scores of posteriors against closed forms for Gaussians and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from model import metrics
from model.evaluation import STATISTICS, Scores
from model.posterior import RedshiftGrid

GRID = RedshiftGrid.uniform(0.0, 2.0, width=0.004)


def gaussian_pdf(mean: np.ndarray, sigma: np.ndarray, grid: RedshiftGrid = GRID) -> np.ndarray:
    """(N, Z) exact probability of each bin."""
    return np.diff(norm.cdf(grid.edges, mean[:, None], sigma[:, None]), axis=1)


def sample(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean, sigma = rng.uniform(0.6, 1.4, num_rows), rng.uniform(0.02, 0.09, num_rows)
    return mean, sigma, rng.normal(mean, sigma)


def test_gaussians_have_their_closed_forms() -> None:
    mean, sigma, z = sample(200, 0)
    fine = RedshiftGrid.uniform(0.0, 2.0, width=0.001, max_bins=2000)
    scores = Scores.of_pdf(gaussian_pdf(mean, sigma, fine), fine, z)
    x = (z - mean) / sigma
    # Gneiting & Raftery 2007, section 4.2.
    crps = sigma * (x * (2 * norm.cdf(x) - 1) + 2 * norm.pdf(x) - 1 / np.sqrt(np.pi))
    assert np.allclose(scores.columns["crps"], crps, atol=2e-5)
    assert np.allclose(scores.columns["nll"], -norm.logpdf(z, mean, sigma), atol=0.2)
    assert np.mean(scores.columns["nll"]) == pytest.approx(
        -norm.logpdf(z, mean, sigma).mean(), abs=0.01
    )
    cde = 1 / (2 * np.sqrt(np.pi) * sigma) - 2 * norm.pdf(z, mean, sigma)
    assert np.allclose(scores.columns["cde_loss"], cde, rtol=0.02, atol=1.0)
    assert scores.columns["cde_loss"].mean() == pytest.approx(cde.mean(), abs=0.1)
    assert np.allclose(scores.columns["pit"], norm.cdf(x), atol=1e-3)
    assert np.array_equal(scores.columns["inside_68"], (np.abs(x) <= norm.ppf(0.84)))
    assert np.array_equal(scores.columns["inside_95"], (np.abs(x) <= norm.ppf(0.975)))
    # Medians of Gaussians are their means.
    assert np.allclose(scores.dz, (mean - z) / (1 + z), atol=1e-5)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_true_density_is_calibrated(seed: int) -> None:
    mean, sigma, z = sample(1000, seed)
    scores = Scores.of_pdf(gaussian_pdf(mean, sigma), GRID, z)
    for column, nominal in (("inside_68", 0.68), ("inside_95", 0.95)):
        error = np.sqrt(nominal * (1 - nominal) / 1000)
        assert abs(scores.columns[column].mean() - nominal) < 5 * error
    assert STATISTICS["pit_ks"].of(scores.columns["pit"]) < 2.8 / np.sqrt(1000)
    assert np.abs(scores.pit_histogram() - 50).max() < 45


@given(seed=st.integers(0, 10_000), shift=st.floats(-0.05, 0.05))
@settings(max_examples=10)
def test_no_other_density_beats_the_true_one(seed: int, shift: float) -> None:
    """CRPS, CDE loss and likelihood are proper: on average the truth has the lowest."""
    mean, sigma, z = sample(1000, seed)
    true = Scores.of_pdf(gaussian_pdf(mean, sigma), GRID, z)
    for moved in (gaussian_pdf(mean + shift, sigma), gaussian_pdf(mean, sigma * (1.5 + shift))):
        other = Scores.of_pdf(moved, GRID, z)
        for name in ("crps", "cde_loss", "nll"):
            difference = other.columns[name] - true.columns[name]
            assert difference.mean() >= -5 * difference.std() / np.sqrt(1000)


@given(size=st.integers(1, 300), seed=st.integers(0, 999), power=st.floats(0.3, 3))
def test_uniform_distance_is_scipys(size: int, seed: int, power: float) -> None:
    values = np.random.default_rng(seed).random((3, size)) ** power
    found = metrics.uniform_distances(values)
    assert np.allclose(found, [kstest(row, "uniform").statistic for row in values])


def test_statistics_are_those_of_the_metrics() -> None:
    mean, sigma, z = sample(500, 1)
    pdf = gaussian_pdf(mean, sigma)
    scores = Scores.of_pdf(pdf, GRID, z, z_phot=mean + 0.2)
    values = {name: float(s.of(scores.columns[s.column])) for name, s in scores.statistics.items()}
    dz = metrics.normalised_error(mean + 0.2, z)
    assert values["bias"] == metrics.bias(dz)
    assert values["sigma_nmad"] == metrics.sigma_nmad(dz)
    assert values["eta_0.15"] == metrics.outlier_fraction(dz, 0.15)
    assert values["eta_0.10"] == metrics.outlier_fraction(dz, 0.10)
    assert values["crps"] == metrics.crps(pdf, GRID, z).mean()
    assert set(values) == set(STATISTICS)
    points = Scores.of_points(mean, z)
    assert set(points.statistics) == {"bias", "sigma_nmad", "eta_0.15", "eta_0.10"}
    with pytest.raises(KeyError, match="pit"):
        points.pit_histogram()


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, sigma, z = sample(100, 1)
    pdf = gaussian_pdf(mean, sigma)
    whole = Scores.of_pdf(pdf, GRID, z)
    monkeypatch.setattr("model.evaluation.scores._BLOCK_ROWS", 7)
    parts = Scores.of_pdf(pdf, GRID, z)
    for name, values in whole.columns.items():
        assert np.array_equal(values, parts.columns[name])


def test_no_rows_and_wrong_rows() -> None:
    nothing = Scores.of_pdf(np.empty((0, GRID.num_bins)), GRID, [])
    assert len(nothing) == 0
    assert all(np.isnan(s.of(nothing.columns[s.column])) for s in STATISTICS.values())
    with pytest.raises(ValueError, match="2 posteriors for 3 redshifts"):
        Scores.of_pdf(np.ones((2, GRID.num_bins)), GRID, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="all of one length"):
        Scores({"dz": np.zeros(3), "pit": np.zeros(2)})
