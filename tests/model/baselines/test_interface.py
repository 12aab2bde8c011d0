"""All baselines through their one interface, on the same synthetic photometry."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.baselines import (
    Baseline,
    BoostedTrees,
    NearestNeighboursLinear,
    RandomForest,
    table_photometry,
)
from model.evaluation import Scores
from model.posterior import RedshiftGrid

pytest.importorskip("sklearn", reason="the extra `baselines` is not installed")

GRID = RedshiftGrid.uniform(0.0, 1.6, width=0.01)
FEW_LEVELS = (0.025, 0.16, 0.5, 0.84, 0.975)
MAKERS: dict[str, Callable[..., Baseline]] = {
    "forest": lambda **more: RandomForest(num_trees=30, **more),
    "neighbours": lambda **more: NearestNeighboursLinear(num_neighbours=30, **more),
    "boosted": lambda **more: BoostedTrees(num_rounds=40, levels=FEW_LEVELS, **more),
}
METHODS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def table_of(arrays: dict[str, Any]) -> dict[str, Any]:
    """Three bands of the synthetic fluxes as a plain table."""
    flux, transmission = arrays["flux"][:, :3], arrays["mw_transmission"][:, :3]
    return {
        "magnitude": 22.5 - 2.5 * np.log10(np.maximum(flux / transmission, 1e-3)),
        "magnitude_error": 1.086 / np.sqrt(arrays["flux_ivar"][:, :3]) / np.maximum(flux, 1e-3),
    }


@METHODS
def test_points_and_posteriors(make: Callable[..., Baseline], arrays_of: Any) -> None:
    arrays, fresh = arrays_of(800, seed=1), arrays_of(300, seed=2)
    method = make()
    assert isinstance(method, Baseline)
    assert method.fit(arrays, arrays["z_true"], GRID) is method
    z, pdf = method.predict(fresh), method.predict_pdf(fresh)
    assert z.shape == (300,)
    assert z.dtype == pdf.dtype == np.float32
    assert pdf.shape == (300, GRID.num_bins)
    assert np.allclose(pdf.sum(axis=1), 1, atol=1e-5)
    assert (pdf > 0).all()
    scores = Scores.of_pdf(pdf, GRID, fresh["z_true"], z)
    assert np.median(np.abs(scores.dz)) < 0.03
    # No narrower than the errors (300 rows, 4 sigma). Leaves are wide where photometry is as good
    # as here, so that the forest may cover more.
    assert 0.57 < scores.columns["inside_68"].mean() < 0.97
    assert scores.columns["inside_95"].mean() > 0.90
    # Far better than knowing nothing, for which the CRPS of this uniform sample is 0.25.
    assert scores.columns["crps"].mean() < 0.06


@METHODS
def test_a_seed_repeats_itself(make: Callable[..., Baseline], arrays_of: Any) -> None:
    arrays, fresh = arrays_of(200, seed=1), arrays_of(40, seed=2)
    first, again = (make(seed=3).fit(arrays, arrays["z_true"], GRID) for _ in range(2))
    assert np.array_equal(first.predict(fresh), again.predict(fresh))
    assert np.array_equal(first.predict_pdf(fresh), again.predict_pdf(fresh))
    threaded = make(seed=3, num_threads=2).fit(arrays, arrays["z_true"])
    assert np.allclose(first.predict(fresh), threaded.predict(fresh), atol=1e-6)


@METHODS
def test_a_plain_table_of_three_bands(make: Callable[..., Baseline], arrays_of: Any) -> None:
    arrays, fresh = arrays_of(400, seed=1), arrays_of(60, seed=2)
    method = make(photometry=table_photometry(("g", "r", "i")))
    method.fit(table_of(arrays), arrays["z_true"], GRID)
    table = table_of(fresh)
    table["magnitude"][0] = np.nan
    table["magnitude"][1, 2] = np.inf
    assert np.isfinite(method.predict(table)).all()
    assert np.allclose(method.predict_pdf(table).sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \(N, 3\)"):
        method.predict({"magnitude": np.ones((5, 2)), "magnitude_error": np.ones((5, 2))})


@METHODS
def test_no_rows_no_redshifts(make: Callable[..., Baseline], arrays_of: Any) -> None:
    arrays = arrays_of(100, seed=1)
    method = make().fit(arrays, arrays["z_true"], GRID)
    empty = {name: values[:0] for name, values in arrays.items()}
    assert method.predict(empty).shape == (0,)
    assert method.predict_pdf(empty).shape == (0, GRID.num_bins)


@METHODS
def test_misuse_is_refused(make: Callable[..., Baseline], arrays_of: Any) -> None:
    arrays = arrays_of(100, seed=1)
    empty = {name: values[:0] for name, values in arrays.items()}
    with pytest.raises(RuntimeError, match="fit"):
        make().predict(arrays)
    with pytest.raises(RuntimeError, match="with a redshift grid"):
        make().fit(arrays, arrays["z_true"]).predict_pdf(arrays)
    with pytest.raises(ValueError, match="3 redshifts for 100 rows"):
        make().fit(arrays, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="no rows"):
        make().fit(empty, [])
    bad = arrays["z_true"].copy()
    bad[:2] = np.nan, -1
    with pytest.raises(ValueError, match="2 of 100 redshifts"):
        make().fit(arrays, bad)


@METHODS
def test_refitting_without_a_grid_forgets_the_posterior(
    make: Callable[..., Baseline], arrays_of: Any
) -> None:
    arrays = arrays_of(100, seed=1)
    method = make().fit(arrays, arrays["z_true"], GRID)
    method.fit(arrays, arrays["z_true"])
    with pytest.raises(RuntimeError, match="with a redshift grid"):
        method.predict_pdf(arrays)


@pytest.mark.parametrize("method", [RandomForest, BoostedTrees])
def test_a_missing_library_names_the_extra(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ImportError, match="extra `baselines`"):
        method()
