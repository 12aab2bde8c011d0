"""Bootstrap errors against theory, and the laws of paired comparison."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import metrics
from model.evaluation import Scores, as_row, compare, evaluate, slices_by_value
from model.evaluation.bootstrap import MIN_ROWS, Record, bootstrap
from model.posterior import RedshiftGrid

GRID = RedshiftGrid.uniform(0.0, 2.0, width=0.02)


def points(num_rows: int, seed: int, scatter: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.1, 1.5, num_rows)
    return z + (1 + z) * rng.normal(scale=scatter, size=num_rows), z


def by_name(records: list[Record]) -> dict[tuple[str, str], Record]:
    return {(r.slice, r.metric): r for r in records}


def test_equals_a_loop_over_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Scores.of_points(*points(50, 1))
    # Blocks of 3 resamples draw the same numbers as one block.
    monkeypatch.setattr("model.evaluation.bootstrap._BLOCK_VALUES", 150)
    found = bootstrap(scores, num_resamples=20, seed=4)
    rng = np.random.default_rng(4)
    draws = [scores.dz[rng.integers(0, 50, (1, 50))[0]] for _ in range(20)]
    assert np.array_equal(found["sigma_nmad"], [metrics.sigma_nmad(dz) for dz in draws])
    assert np.array_equal(found["bias"], [metrics.bias(dz) for dz in draws])
    with pytest.raises(ValueError, match="no rows"):
        bootstrap(scores.take(np.empty(0, int)))


def test_errors_are_those_of_theory() -> None:
    found = by_name(evaluate(Scores.of_points(*points(4000, 2, 0.1)), num_resamples=400))
    eta = found["all", "eta_0.15"]
    assert eta.value == pytest.approx(0.1336, abs=4 * eta.error)
    assert eta.error == pytest.approx(math.sqrt(0.1336 * 0.8664 / 4000), rel=0.15)
    # The median of a Gaussian: sigma sqrt(pi / 2 N).
    assert found["all", "bias"].error == pytest.approx(
        0.1 * math.sqrt(math.pi / 2 / 4000), rel=0.25
    )
    assert found["all", "sigma_nmad"].value == pytest.approx(0.1 * 1.48 / 1.4826, rel=0.06)


@given(num_rows=st.integers(MIN_ROWS, 200), seed=st.integers(0, 999))
def test_a_method_against_itself_is_zero(num_rows: int, seed: int) -> None:
    z_phot, z = points(num_rows, seed)
    pdf = np.random.default_rng(seed).random((num_rows, GRID.num_bins))
    scores = Scores.of_pdf(pdf, GRID, z, z_phot)
    for record in compare(scores, scores, num_resamples=20, seed=seed):
        assert (record.value, record.error) == (0.0, 0.0)


def test_pairing_removes_what_is_hard_for_both() -> None:
    z_phot, z = points(1000, 3)
    a, b = Scores.of_points(z_phot, z), Scores.of_points(z_phot + 0.01 * (1 + z), z)
    paired = by_name(compare(a, b, method="a - b"))
    alone = by_name(evaluate(a))
    assert paired["all", "bias"].value == pytest.approx(-0.01)
    assert paired["all", "bias"].error < 1e-9 < alone["all", "bias"].error
    opposite = by_name(compare(b, a))
    assert opposite["all", "eta_0.15"].value == -paired["all", "eta_0.15"].value
    assert opposite["all", "eta_0.15"].error == pytest.approx(paired["all", "eta_0.15"].error)


def test_only_shared_metrics_are_compared() -> None:
    z_phot, z = points(20, 3)
    both = Scores.of_pdf(np.ones((20, GRID.num_bins)), GRID, z)
    names = {r.metric for r in compare(both, Scores.of_points(z_phot, z))}
    assert names == {"bias", "sigma_nmad", "eta_0.15", "eta_0.10"}


def test_slices_are_judged_alone() -> None:
    z_phot, z = points(300, 5)
    slices = slices_by_value("z", z, (-np.inf, 0.8, np.inf))
    found = by_name(evaluate(Scores.of_points(z_phot, z), slices, "m"))
    low = z < 0.8
    alone = by_name(evaluate(Scores.of_points(z_phot[low], z[low])))
    record = found["z < 0.8", "sigma_nmad"]
    assert (record.value, record.error) == (
        alone["all", "sigma_nmad"].value,
        alone["all", "sigma_nmad"].error,
    )
    assert record.num_rows == np.count_nonzero(low)
    assert {r.method for r in found.values()} == {"m"}


def test_small_slices_have_counts_and_nan() -> None:
    z_phot, z = points(100, 5)
    masks = {"few": np.arange(100) < MIN_ROWS - 1, "none": np.zeros(100, bool)}
    records = evaluate(Scores.of_points(z_phot, z), masks)
    assert [r.num_rows for r in records[::4]] == [MIN_ROWS - 1, 0]
    assert all(math.isnan(r.value) and math.isnan(r.error) for r in records)
    # JSON has no NaN.
    text = json.dumps([as_row(r) for r in records], allow_nan=False)
    assert json.loads(text)[0] == {
        "method": "",
        "slice": "few",
        "metric": "bias",
        "value": None,
        "error": None,
        "num_rows": MIN_ROWS - 1,
    }


def test_wrong_shapes_are_refused() -> None:
    a, b = Scores.of_points(*points(20, 1)), Scores.of_points(*points(30, 1))
    with pytest.raises(ValueError, match="20 and 30 rows"):
        compare(a, b)
    for mask in (np.ones(19, bool), np.ones(20)):
        with pytest.raises(ValueError, match=r"expected bool \(20,\)"):
            evaluate(a, {"wrong": mask})
