from __future__ import annotations

import numpy as np
import pytest

from model.table import TableLayout, TableRows


def test_magnitudes_become_fluxes_with_errors() -> None:
    rows = TableRows.from_magnitudes([[22.5, 20.0]], [[0.1, 0.01]])
    np.testing.assert_allclose(rows.flux, [[1.0, 10.0]])
    # d flux = flux x d mag x ln(10) / 2.5, by hand
    np.testing.assert_allclose(rows.flux_error, [[0.0921034, 0.0921034]], rtol=1e-6)


def test_what_has_no_value_or_no_error_is_missing() -> None:
    magnitude = [[np.nan, 20.0, 20.0, -99.0, 99.0, 20.0]]
    error = [[0.1, np.nan, 0.0, 0.1, 0.1, 0.1]]
    rows = TableRows.from_magnitudes(magnitude, error)
    assert rows.present.tolist() == [[False, False, False, False, False, True]]
    assert np.isnan(rows.flux_error[~rows.present]).all()


def test_a_negative_flux_is_measured() -> None:
    assert TableRows.from_fluxes([[-1.0]], [[2.0]]).present.all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((("g", "g"), "g"), "each once"),
        (((), "g"), "at least one"),
        ((("g", "r"), "i"), "reference band 'i'"),
    ],
)
def test_layouts_that_contradict_themselves(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TableLayout(*arguments)  # type: ignore[arg-type]
