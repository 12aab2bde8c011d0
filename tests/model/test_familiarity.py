"""How far from the training set: against the exact Gaussian, and on held-out rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from model.familiarity import FAR_FRACTION, Familiarity, fit_familiarity


def drawn(seed: int, num_rows: int, num_numbers: int = 100) -> np.ndarray:
    """Rows of a Gaussian of 10 wide axes, turned at random, and a narrow rest."""
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(num_numbers, num_numbers)))[0]
    spread = np.where(np.arange(num_numbers) < 10, 5.0, 0.3)
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(num_rows, num_numbers)) * spread) @ turn + 7


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    return fit_familiarity(drawn(0, 20_000), drawn(1, 20_000))


def test_distance_is_mahalanobis(fitted: Familiarity) -> None:
    other = drawn(2, 5000)
    covariance = np.cov(drawn(0, 20_000), rowvar=False)
    offset = other - drawn(0, 20_000).mean(axis=0)
    exact = np.sqrt((offset @ np.linalg.inv(covariance) * offset).sum(axis=1) / 100)
    found = fitted.distance(torch.from_numpy(other.astype(np.float32))).numpy()
    # Of the rest, isotropic in truth, the exact covariance fits noise of its own.
    assert np.allclose(found, exact, rtol=0.02)


def test_the_threshold_is_that_of_a_gaussian(fitted: Familiarity) -> None:
    expected = np.sqrt(chi2(100).isf(FAR_FRACTION) / 100)
    assert float(fitted.threshold) == pytest.approx(expected, rel=0.02)


def test_far_rows_are_found_along_narrow_axes_too(fitted: Familiarity) -> None:
    rows = drawn(3, 2000).astype(np.float32)
    assert fitted.is_far(torch.from_numpy(rows)).numpy().mean() < 0.005
    # Ten units are two deviations of a wide axis, and 33 of a narrow one.
    narrow = torch.from_numpy(rows + 10 * fitted.axes[:, 30])
    wide = torch.from_numpy(rows + 10 * fitted.axes[:, 0])
    assert fitted.is_far(narrow).all()
    assert fitted.is_far(wide).numpy().mean() < 0.05
    assert fitted.is_far(torch.full((1, 100), float("nan"))).all()


@pytest.mark.parametrize("num_numbers", [1, 3, 70])
def test_few_numbers_and_dead_units(num_numbers: int) -> None:
    values = np.random.default_rng(0).normal(size=(500, num_numbers))
    values[:, -1] = 0.0
    fitted = fit_familiarity(values, values)
    assert np.isfinite(fitted.distance(torch.from_numpy(values.astype(np.float32))).numpy()).all()


def test_bad_parts_are_refused(fitted: Familiarity) -> None:
    with pytest.raises(ValueError, match="0 and 3 embeddings"):
        fit_familiarity(np.empty((0, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="axes have shape"):
        replace(fitted, axes=fitted.axes[:5])
    with pytest.raises(ValueError, match="must be positive"):
        replace(fitted, variance=-fitted.variance)
