"""Names and rows of slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation import slices_by_label, slices_by_missing_band, slices_by_value


def test_bins_are_named_and_half_open() -> None:
    found = slices_by_value("r", [20.0, 21.5, 22.0, np.nan], (-np.inf, 21.5, 22, np.inf))
    rows = {name: np.flatnonzero(mask).tolist() for name, mask in found.items()}
    assert rows == {"r < 21.5": [0], "21.5 <= r < 22": [1], "r >= 22": [2], "r missing": [3]}
    for edges in ((1.0,), (2.0, 1.0), (1.0, 1.0)):
        with pytest.raises(ValueError, match="edges"):
            slices_by_value("r", [1.0], edges)


@given(values=st.lists(st.floats(allow_infinity=True, allow_nan=True), max_size=30))
def test_open_bins_hold_every_row_once(values: list[float]) -> None:
    found = slices_by_value("x", values, (-np.inf, 0.0, 1.0, np.inf))
    assert sum(mask.astype(int) for mask in found.values()).tolist() == [1] * len(values)


def test_labels_and_bands() -> None:
    found = slices_by_label("TYPE", np.array(["PSF", "DEV", "PSF"]))
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "TYPE = DEV": [False, True, False],
        "TYPE = PSF": [True, False, True],
    }
    present = np.array([[True, True], [True, False]])
    bands = slices_by_missing_band(present, ("g", "i"))
    assert {name: mask.tolist() for name, mask in bands.items()} == {
        "all bands": [True, False],
        "no g": [False, False],
        "no i": [False, True],
    }
    with pytest.raises(ValueError, match=r"expected \(N, 3\)"):
        slices_by_missing_band(present, ("g", "r", "i"))
