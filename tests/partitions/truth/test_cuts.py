"""Cuts are data: every test by hand, whatever type the file holds."""

from __future__ import annotations

import numpy as np
import pytest

from partitions.truth.cuts import Cut, to_bool, to_float

VALUES = np.array([2.0, 3.0, 3.5, 4.0, 9.5, np.nan])


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"equals": 4}, "...X.."),
        ({"one_of": [3, 4]}, ".X.X.."),
        ({"at_least": 4}, "...XX."),
        ({"at_most": 3}, "XX...."),
        ({"above": 4}, "....X."),
        ({"below": 3}, "X....."),
        ({"between": [3, 4]}, ".XXX.."),
        ({"whole_part_in": [3, 4]}, ".XXX.."),
    ],
)
@pytest.mark.parametrize("dtype", ["f8", "f4", "U8", "S8"])
def test_numbers(entry: dict[str, object], expected: str, dtype: str) -> None:
    cut = Cut.from_entry({"columns": ["q"], **entry})
    assert "".join(".X"[int(passed)] for passed in cut.passes(VALUES.astype(dtype))) == expected


def test_words_and_truth_values() -> None:
    survey = Cut.from_entry({"columns": ["SURVEY"], "equals": "sv3"})
    assert survey.passes(np.array(["sv3 ", "SV3", "sv1"])).tolist() == [True, True, False]
    primary = Cut.from_entry({"columns": ["ZCAT_PRIMARY"], "equals": True})
    for values in ([True, False], [1, 0], [1.0, np.nan], ["t", "f"], ["True", ""]):
        assert primary.passes(np.array(values)).tolist() == [True, False]


def test_what_is_no_number_is_nan_and_passes_nothing() -> None:
    found = to_float(np.array(["1.5", " 2 ", "", "N/A"]))
    np.testing.assert_array_equal(found, [1.5, 2, np.nan, np.nan])
    assert to_bool(np.array(["maybe"])).tolist() == [False]


def test_entries_that_are_no_cut() -> None:
    for entry in ({}, {"equals": 1, "above": 0}, {"eval": "1"}):
        with pytest.raises(ValueError, match="exactly one of equals"):
            Cut.from_entry({"columns": ["z"], **entry})


def test_a_cut_says_what_it_asks() -> None:
    def text(**test: object) -> str:
        return str(Cut.from_entry({"columns": ["cc", "CC"], **test}))

    assert text(between=[3, 5]) == "3 <= cc <= 5"
    assert text(one_of=[3, 4]) == "cc in 3, 4"
    assert text(equals=0) == "cc = 0"
