"""Rates against a count of whole seconds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rates import WorkSpan, busy_seconds, overall_rate, rate_within

_LAST_S = 60


@st.composite
def work_spans(draw: st.DrawFn) -> WorkSpan:
    """Begins and ends at whole seconds."""
    begin = draw(st.integers(0, _LAST_S - 1))
    end = draw(st.integers(begin + 1, _LAST_S))
    return WorkSpan(begin, end, draw(st.integers(0, 50)), draw(st.integers(0, 10_000)))


def bricks_of_second(spans: list[WorkSpan]) -> np.ndarray:
    """Bricks done in every second, each span spread over its own."""
    bricks = np.zeros(_LAST_S)
    for span in spans:
        seconds = np.arange(int(span.begin), int(span.end))
        bricks[seconds] += span.num_bricks / len(seconds)
    return bricks


@given(st.lists(work_spans(), max_size=12), st.integers(0, _LAST_S), st.integers(0, _LAST_S))
def test_rate_within_is_the_sum_over_seconds(spans: list[WorkSpan], a: int, b: int) -> None:
    begin, end = min(a, b), max(a, b)
    rate = rate_within(spans, begin, end)
    if begin == end:
        assert rate is None
        return
    assert rate is not None
    expected = bricks_of_second(spans)[begin:end].sum()
    assert rate.bricks_per_s * (end - begin) == pytest.approx(expected, abs=1e-9)


@given(st.lists(work_spans(), min_size=1, max_size=12))
def test_overall_rate_leaves_out_the_seconds_without_work(spans: list[WorkSpan]) -> None:
    busy = {second for span in spans for second in range(int(span.begin), int(span.end))}
    assert busy_seconds(spans) == len(busy)
    rate = overall_rate(spans)
    assert rate is not None
    assert rate.bricks_per_s * len(busy) == pytest.approx(sum(span.num_bricks for span in spans))
    assert rate.sources_per_s * len(busy) == pytest.approx(sum(span.num_sources for span in spans))


def test_work_without_duration_counts_in_the_interval_that_ends_with_it() -> None:
    spans = [WorkSpan(5.0, 5.0, 3, 30)]
    counted = [rate_within(spans, begin, begin + 5.0) for begin in (0.0, 5.0, 10.0)]
    assert [rate and rate.bricks_per_s for rate in counted] == [0.6, 0.0, 0.0]
    assert overall_rate(spans) is None
    assert overall_rate([]) is None
