"""What the baselines read from the survey's arrays and from plain tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.baselines import (
    MISSING_VALUE,
    SURVEY,
    fluxes_to_table,
    photometry_matrix,
    table_photometry,
)


def test_matrix_is_finite_and_flags_what_is_missing(arrays_of: Any) -> None:
    arrays = arrays_of(5)
    arrays["flux_ivar"][2, 3] = 0
    arrays["features"][2, 1] = np.nan
    matrix = photometry_matrix(arrays)
    assert matrix.shape == (5, 86 + 18)
    assert np.isfinite(matrix).all()
    assert matrix[2, 1] == MISSING_VALUE
    assert matrix[2, 86 + 3] == matrix[2, 92 + 3] == MISSING_VALUE
    assert matrix[:, 98:].sum(axis=1).tolist() == [6, 6, 5, 6, 6]


def test_survey_magnitudes_are_dereddened_model_magnitudes(arrays_of: Any) -> None:
    arrays = arrays_of(50)
    flux = np.maximum(arrays["flux"] / arrays["mw_transmission"], 1e-3)
    bright = flux > 100 / np.sqrt(arrays["flux_ivar"])
    assert bright.any()
    expected = 22.5 - 2.5 * np.log10(flux)
    assert np.allclose(SURVEY.magnitudes(arrays)[bright], expected[bright], atol=2e-3)


def test_table_holds_magnitudes_errors_and_colours() -> None:
    photometry = table_photometry(("u", "g", "r"))
    arrays = {
        "magnitude": np.array([[20.0, 19.0, 18.5], [np.nan, 19.0, 18.0]]),
        "magnitude_error": np.array([[0.1, 0.2, 0.3], [np.inf, 0.2, 0.3]]),
    }
    matrix = photometry.matrix(arrays)
    assert np.allclose(matrix[0], [20, 19, 18.5, 0.1, 0.2, 0.3, 1.0, 0.5])
    missing = MISSING_VALUE
    assert np.allclose(matrix[1], [missing, 19, 18, missing, 0.2, 0.3, missing, 1.0])
    with pytest.raises(ValueError, match="reference band 'r'"):
        table_photometry(("u", "g"))


def test_fluxes_become_asinh_magnitudes_with_their_errors() -> None:
    flux = np.array([[1000.0, 50.0], [-0.1, 20.0]])
    ivar = np.array([[25.0, 4.0], [25.0, 0.0]])
    table = fluxes_to_table(flux, ivar, softening=[0.2, 0.5], mw_transmission=0.8)
    assert table["magnitude"][0, 0] == pytest.approx(22.5 - 2.5 * np.log10(1000 / 0.8), abs=1e-4)
    assert table["magnitude_error"][0, 1] == pytest.approx(1.0857 * 0.5 / 50, rel=1e-3)
    assert np.isfinite(table["magnitude"][1, 0])
    assert np.isnan(table["magnitude"][1, 1])
    assert np.isnan(table["magnitude_error"][1, 1])
    # The error is the change of the magnitude by one standard deviation of the flux.
    step = 1e-4
    moved = fluxes_to_table(flux + step / np.sqrt(25), ivar, [0.2, 0.5], 0.8)["magnitude"]
    slope = np.abs(moved - table["magnitude"])[:, 0] / step
    assert np.allclose(slope, table["magnitude_error"][:, 0], rtol=1e-3)
