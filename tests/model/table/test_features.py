from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.table import TableLayout, TableRows
from model.table.features import (
    band_usage,
    features,
    fit_standardisation,
    num_features,
    outside_range,
    value_names,
)

LAYOUT = TableLayout(("g", "r", "i"), "r", ("size",))


def rows_of(num_rows: int = 400, seed: int = 0) -> TableRows:
    rng = np.random.default_rng(seed)
    magnitude = rng.normal(20, 1, (num_rows, 3))
    return TableRows.from_magnitudes(
        magnitude, np.full_like(magnitude, 0.05), rng.random((num_rows, 1))
    )


def test_names_and_shape_agree() -> None:
    rows = rows_of()
    x = features(rows, LAYOUT, fit_standardisation(rows, LAYOUT))
    assert x.shape == (400, num_features(LAYOUT)) == (400, band_usage(LAYOUT).shape[1])
    assert value_names(LAYOUT)[3:6] == ("g-r", "r-i", "g-i")


def test_training_values_are_standardised() -> None:
    rows = rows_of()
    x = features(rows, LAYOUT, fit_standardisation(rows, LAYOUT))[:, : len(value_names(LAYOUT))]
    assert np.abs(np.median(x, axis=0)).max() < 1e-5
    assert 0.7 < np.std(x[:, 0]) < 1.3


def test_a_missing_band_is_zero_in_all_that_needs_it_and_only_there() -> None:
    rows = rows_of()
    statistics = fit_standardisation(rows, LAYOUT)
    whole = features(rows, LAYOUT, statistics)
    lost = replace(rows, flux=rows.flux.copy(), flux_error=rows.flux_error.copy())
    lost.flux[:, 1] = lost.flux_error[:, 1] = np.nan
    x, uses_r = features(lost, LAYOUT, statistics), band_usage(LAYOUT)[1]
    assert (x[:, uses_r] == 0).all()
    np.testing.assert_array_equal(x[:, ~uses_r], whole[:, ~uses_r])


def test_a_band_that_no_row_has_changes_nothing() -> None:
    rows = rows_of()
    rows.flux[:, 0] = rows.flux_error[:, 0] = np.nan
    statistics = fit_standardisation(rows, LAYOUT)
    assert np.isfinite(features(rows, LAYOUT, statistics)).all()
    assert not outside_range(rows, LAYOUT, statistics).all()


def test_beyond_the_training_range() -> None:
    rows = rows_of()
    statistics = fit_standardisation(rows, LAYOUT)
    far = TableRows.from_magnitudes(
        [[20, 20, 20], [12, 12, 12]], np.full((2, 3), 0.05), [[0.5]] * 2
    )
    assert outside_range(far, LAYOUT, statistics).tolist() == [False, True]
