from __future__ import annotations

import numpy as np
import pytest

from model.table import split_by_row


def test_every_row_once_and_the_same_again() -> None:
    split = split_by_row(1003, 1, (0.7, 0.1, 0.2))
    parts = [split.train, split.validation, split.test]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1003))
    assert [len(part) for part in parts] == [702, 100, 201]
    np.testing.assert_array_equal(split.test, split_by_row(1003, 1, (0.7, 0.1, 0.2)).test)
    assert set(split.test) != set(split_by_row(1003, 2, (0.7, 0.1, 0.2)).test)


def test_the_test_rows_do_not_depend_on_the_share_of_validation() -> None:
    one, other = (split_by_row(500, 3, (0.8 - v, v, 0.2)) for v in (0.1, 0.3))
    np.testing.assert_array_equal(one.test, other.test)


def test_fractions_that_do_not_sum_to_one() -> None:
    with pytest.raises(ValueError, match="expected 1"):
        split_by_row(10, 0, (0.5, 0.1, 0.1))
