"""Temperature scaling, and the recalibration that follows it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.calibrate import (
    Recalibration,
    calibrated,
    cross_entropy,
    fit_recalibration,
    fit_temperature,
    reference_magnitude,
    softmax,
)
from model.metrics import pit, uniform_distances
from model.posterior import RedshiftGrid
from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS


def drawn(seed: int, num_rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits and bins drawn from exactly their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_rows, 12)) * 2
    cdf = softmax(logits).cumsum(axis=1)
    bins = (cdf < rng.random(num_rows)[:, None]).sum(axis=1)
    return logits, np.minimum(bins, 11)


@given(scale=st.floats(0.3, 6.0), seed=st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_temperature_undoes_a_scaling_of_the_logits(scale: float, seed: int) -> None:
    logits, bins = drawn(seed)
    assert fit_temperature(logits * scale, bins) == pytest.approx(scale, rel=0.1)


def test_temperature_is_the_minimum() -> None:
    logits, bins = drawn(1, 500)
    best = fit_temperature(3 * logits, bins)
    nll = cross_entropy(3 * logits, bins, best)
    assert nll < cross_entropy(3 * logits, bins)
    assert nll <= min(cross_entropy(3 * logits, bins, best * f) for f in (0.97, 1.03))


def test_cross_entropy_equals_its_definition() -> None:
    logits, bins = drawn(2, 50)
    expected = -np.log(softmax(logits, 1.7)[np.arange(50), bins]).mean()
    assert cross_entropy(logits, bins, 1.7) == pytest.approx(expected, rel=1e-12)


def test_softmax_of_huge_logits_is_finite_and_normalised() -> None:
    p = softmax(np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], np.float32), 0.5)
    assert np.isfinite(p).all()
    assert np.allclose(p.sum(axis=1), 1)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="0 validation rows"):
        fit_temperature(np.empty((0, 5)), np.empty(0, np.int64))


# --- beyond one temperature ------------------------------------------------------------------

GRID = RedshiftGrid.uniform(0.0, 0.5)


def magnitude_dependent(seed: int, num_rows: int = 6000) -> tuple[np.ndarray, ...]:
    """Gaussian posteriors of which bright ones are twice too wide, faint ones twice too narrow."""
    rng = np.random.default_rng(seed)
    magnitude = rng.uniform(17, 23, num_rows)
    z, sigma = rng.uniform(0.15, 0.35, num_rows), 0.02
    estimate = z + rng.normal(size=num_rows) * sigma
    claimed = sigma * np.exp(np.log(2) * (20 - magnitude) / 3)
    logits = -0.5 * ((GRID.centres[None, :] - estimate[:, None]) / claimed[:, None]) ** 2
    return logits, z, magnitude


def test_temperatures_follow_the_magnitude() -> None:
    logits, z, magnitude = magnitude_dependent(0)
    found = fit_recalibration(
        logits, GRID.bin_of(z), fit_temperature(logits, GRID.bin_of(z)), magnitude
    )
    # Temperatures act on variances: a factor 2 in width is a factor 4.
    ratio = found.temperature([18.0, 22.0])
    assert ratio[1] / ratio[0] == pytest.approx(4 ** (4 / 3), rel=0.2)


def test_every_magnitude_is_calibrated_on_other_rows() -> None:
    logits, z, magnitude = magnitude_dependent(1)
    true_bin = GRID.bin_of(z)
    temperature = fit_temperature(logits, true_bin)
    found = fit_recalibration(logits, true_bin, temperature, magnitude)
    logits, z, magnitude = magnitude_dependent(2)
    before, after = (
        pit(calibrated(logits, temperature, r, magnitude), GRID, z) for r in (None, found)
    )
    for bright in (magnitude < 19, magnitude > 21):
        assert uniform_distances(before[bright]) > 0.08
        assert uniform_distances(after[bright]) < 0.035


@given(
    link=st.tuples(*[st.floats(-0.7, 0.7)] * 3),
    log_temperature=st.lists(st.floats(-1, 1), min_size=2, max_size=5),
    seed=st.integers(0, 100),
)
@settings(max_examples=50, deadline=None)
def test_recalibrated_posteriors_are_posteriors(
    link: tuple[float, ...], log_temperature: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(20, 30)) * rng.choice([0.1, 3.0, 300.0])
    magnitude = np.where(rng.random(20) < 0.2, np.nan, rng.uniform(10, 30, 20))
    recalibration = Recalibration(
        17.0 + np.arange(len(log_temperature)), np.array(log_temperature), np.array(link)
    )
    pdf = calibrated(logits, 1.3, recalibration, magnitude)
    assert np.isfinite(pdf).all()
    assert (pdf >= 0).all()
    assert np.allclose(pdf.sum(axis=1), 1)


def test_a_link_of_zeros_changes_nothing_and_tails_survive_it() -> None:
    logits = np.linspace(0, 60, 40)[None, :] * np.array([[1.0], [-1.0]])
    unchanged = Recalibration(np.zeros(1), np.zeros(1), np.zeros(3))
    pdf = calibrated(logits, 1.0, unchanged, np.full(2, 20.0))
    assert np.allclose(pdf, softmax(logits), rtol=1e-9, atol=0)
    # 1 - u would have lost both tails at 1e-16.
    bent = Recalibration(np.zeros(1), np.zeros(1), np.array([0.1, -0.1, 0.05]))
    assert (calibrated(logits, 1.0, bent, np.full(2, 20.0)) > 0).all()


def test_few_rows_change_little() -> None:
    logits, z, magnitude = magnitude_dependent(3, 5)
    found = fit_recalibration(logits, GRID.bin_of(z), 1.0, np.full(5, np.nan))
    assert found.temperature(magnitude).tolist() == [1.0] * 5
    assert np.abs(found.link).max() < 0.5
    with pytest.raises(ValueError, match="0 validation rows"):
        fit_recalibration(np.empty((0, 5)), np.empty(0, np.int64), 1.0, np.empty(0))


def test_reference_magnitude_is_the_first_that_was_measured() -> None:
    features = np.full((3, len(FEATURE_NAMES)), np.nan, np.float32)
    features[:, FEATURE_NAMES.index("MAG_R")] = 20
    features[:, FEATURE_NAMES.index("MAG_W1")] = 18
    ivar = np.zeros((3, len(BANDS)), np.float32)
    ivar[0] = 1
    ivar[1, BANDS.index("W1")] = 1
    found = reference_magnitude({"features": features, "flux_ivar": ivar}, slice(None))
    assert found[:2].tolist() == [20, 18]
    assert np.isnan(found[2])
