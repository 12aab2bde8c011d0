from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model.table import POINT_NAMES, TablePredictor, TableRows, TableWeights

Known = tuple[TableRows, npt.NDArray[np.float64]]


def test_a_row_does_not_depend_on_its_neighbours(known: Known, weights: TableWeights) -> None:
    rows = known[0].take(np.arange(300))
    order = np.random.default_rng(0).permutation(300)
    predictor = TablePredictor(weights, batch_size=128)
    straight, mixed = predictor.predict(rows), predictor.predict(rows.take(order))
    for name in POINT_NAMES:
        np.testing.assert_array_equal(straight.summary[name][order], mixed.summary[name])
    alone = predictor.predict(rows.take(slice(7, 8)))
    assert alone.summary["median"][0] == straight.summary["median"][7]


def test_every_row_gets_finite_numbers(known: Known, weights: TableWeights) -> None:
    rows = known[0].take(np.arange(8))
    rows.flux[0] = rows.flux_error[0] = np.nan
    rows.flux[1] = -1e4
    rows.extra[2] = np.nan
    found = TablePredictor(weights).predict(rows, with_pdf=True)
    assert all(np.isfinite(values).all() for values in found.summary.values())
    assert found.pdf is not None
    np.testing.assert_allclose(found.pdf.sum(axis=1), 1, rtol=1e-5)
    assert found.num_bands[0] == 0
    np.testing.assert_allclose(found.pdf[0], weights.prior, rtol=1e-5)
    assert found.outside_range[1]
    assert not found.outside_range[0]


def test_a_lost_band_costs_little_more_than_its_information(
    known: Known, weights: TableWeights
) -> None:
    rows, z = known
    lost = TableRows(rows.flux.copy(), rows.flux_error.copy(), rows.extra)
    lost.flux[:, 3] = lost.flux_error[:, 3] = np.nan
    found = TablePredictor(weights).predict(lost)
    assert np.median(np.abs(found.summary["median"] - z)) < 0.1
    assert found.summary["std"].mean() > TablePredictor(weights).predict(rows).summary["std"].mean()


def test_no_rows(weights: TableWeights) -> None:
    empty = TableRows(np.empty((0, 4)), np.empty((0, 4)), np.empty((0, 1)))
    assert len(TablePredictor(weights).predict(empty).summary["safe"]) == 0


def test_rows_of_another_table(weights: TableWeights) -> None:
    with pytest.raises(ValueError, match="3 bands and 0 extra columns"):
        TablePredictor(weights).predict(TableRows.from_fluxes(np.ones((2, 3)), np.ones((2, 3))))
