"""Temperature scaling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.calibrate import cross_entropy, fit_temperature, softmax


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
