"""Where outliers gather."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from model.evaluation import as_row, outlier_records, outlier_rows, slices_by_label, whole
from model.metrics import outlier_fraction


def test_rows_are_the_worst_first() -> None:
    assert outlier_rows(np.array([0.1, -0.5, 0.15, 0.2])).tolist() == [1, 3]
    assert outlier_rows(np.array([0.1, -0.5, 0.15, 0.2]), 0.05).tolist() == [1, 3, 2, 0]


def test_a_class_that_fails_stands_out() -> None:
    dz = np.zeros(100)
    dz[:6] = 0.3
    labels = np.where(np.arange(100) < 20, "AGN", "STARFORMING")
    bad, good = outlier_records(dz, slices_by_label("class", labels))
    assert (bad.slice, bad.num_rows, bad.num_outliers) == ("class = AGN", 20, 6)
    assert (bad.fraction, bad.lift, bad.share) == (0.3, pytest.approx(5), 1.0)
    assert (good.num_outliers, good.lift, good.share) == (0, 0, 0)
    assert 0 < bad.lower < 0.3 < bad.upper
    assert good.lower == 0 < good.upper < 0.05


@given(count=st.integers(0, 50), others=st.integers(0, 50))
def test_interval_is_wilsons(count: int, others: int) -> None:
    total = count + others
    dz = np.concatenate([np.ones(count), np.zeros(others)])
    (record,) = outlier_records(dz, whole(total))
    if not total:
        assert math.isnan(record.fraction)
        assert math.isnan(record.lower)
        return
    level = math.erf(1 / math.sqrt(2))
    expected = binomtest(count, total).proportion_ci(level, method="wilson")
    assert (record.lower, record.upper) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert record.fraction == outlier_fraction(dz)


def test_without_outliers_there_is_nothing_to_share() -> None:
    (record,) = outlier_records(np.zeros(5), whole(5))
    assert math.isnan(record.lift)
    assert math.isnan(record.share)
    assert json.loads(json.dumps(as_row(record), allow_nan=False))["lift"] is None
