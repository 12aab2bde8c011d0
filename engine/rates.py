"""How fast a run goes: pieces of work, each spread evenly over the time that it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkSpan:
    """Work of one process from `begin` to `end`, Unix time in s."""

    begin: float
    end: float
    num_bricks: int
    num_sources: int

    def fraction_within(self, begin: float, end: float) -> float:
        """How much of it lies in an interval, 0 to 1."""
        if self.end <= self.begin:
            return float(begin < self.end <= end)
        overlap_s = min(self.end, end) - max(self.begin, begin)
        return max(0.0, overlap_s) / (self.end - self.begin)


@dataclass(frozen=True)
class Rate:
    """Work in a second of wall time, all processes together."""

    bricks_per_s: float
    sources_per_s: float


def rate_within(spans: Iterable[WorkSpan], begin: float, end: float) -> Rate | None:
    """The mean rate in an interval; None if it is empty."""
    if end <= begin:
        return None
    num_bricks = num_sources = 0.0
    for span in spans:
        fraction = span.fraction_within(begin, end)
        num_bricks += fraction * span.num_bricks
        num_sources += fraction * span.num_sources
    return Rate(num_bricks / (end - begin), num_sources / (end - begin))


def overall_rate(spans: Iterable[WorkSpan]) -> Rate | None:
    """All work divided by the time in which there was any: a night between two attempts does not
    count. None without work."""
    spans = list(spans)
    seconds = busy_seconds(spans)
    if seconds <= 0:
        return None
    return Rate(
        sum(span.num_bricks for span in spans) / seconds,
        sum(span.num_sources for span in spans) / seconds,
    )


def busy_seconds(spans: Iterable[WorkSpan]) -> float:
    """Length of the union of the spans, s."""
    seconds, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.begin):
        begin = max(span.begin, reached)
        if span.end > begin:
            seconds += span.end - begin
            reached = span.end
    return seconds
