"""Metrics with bootstrap errors in any slices, and of one method against another.

Rows are resampled with replacement. The draws of a slice follow from the seed and the number of
its rows alone, so that two methods on the same rows are resampled alike: a comparison is the
bootstrap of the difference, in which what is hard for both cancels.

References
----------
* Efron 1979, Ann. Stat. 7, 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.evaluation.scores import Scores
from model.evaluation.slices import Slices, rows_of, whole

FloatArray = npt.NDArray[np.float64]

NUM_BOOTSTRAP = 200
"""Resamples: they give an error to 5 %."""

MIN_ROWS = 10
"""Slices of fewer rows have a count, and NaN instead of metrics: two rows have no sigma_NMAD."""

# Values gathered at once of each column: 8 MB in float64.
_BLOCK_VALUES = 1 << 20


@dataclass(frozen=True)
class Record:
    """One metric of one method in one slice."""

    method: str
    """Name of the method, or `a - b` for a difference."""
    slice: str
    """Name of the slice."""
    metric: str
    """Name in `STATISTICS`."""
    value: float
    """The metric on the rows themselves; NaN where there are too few."""
    error: float
    """Standard deviation over the resamples."""
    num_rows: int
    """Rows of the slice."""


def bootstrap(
    scores: Scores, num_resamples: int = NUM_BOOTSTRAP, seed: int = 0
) -> dict[str, FloatArray]:
    """(num_resamples,) values of every metric; the draws depend on `seed` and len(scores) only.

    Raises
    ------
    ValueError
        If there are no rows to draw from.
    """
    count = len(scores)
    if not count:
        raise ValueError("no rows to resample")
    rng = np.random.default_rng(seed)
    statistics = scores.statistics
    samples = {name: np.empty(num_resamples) for name in statistics}
    step = max(1, _BLOCK_VALUES // count)
    for start in range(0, num_resamples, step):
        stop = min(start + step, num_resamples)
        draws = rng.integers(0, count, (stop - start, count))
        drawn = {name: values[draws] for name, values in scores.columns.items()}
        for name, statistic in statistics.items():
            samples[name][start:stop] = statistic.of(drawn[statistic.column])
    return samples


def evaluate(
    scores: Scores,
    slices: Slices | None = None,
    method: str = "",
    num_resamples: int = NUM_BOOTSTRAP,
    seed: int = 0,
) -> list[Record]:
    """Every metric in every slice.

    Parameters
    ----------
    scores
        The method on N rows.
    slices
        Masks (N,) by name, from the functions of model.evaluation.slices; the whole if not given.
    method
        Name to record.

    Raises
    ------
    ValueError
        If a mask has another length.
    """

    def judge(rows: npt.NDArray[np.int64]) -> dict[str, tuple[float, float]]:
        part = scores.take(rows)
        samples = bootstrap(part, num_resamples, seed)
        return {
            name: (float(s.of(part.columns[s.column])), float(samples[name].std()))
            for name, s in part.statistics.items()
        }

    return _records(method, list(scores.statistics), len(scores), slices, judge)


def compare(
    scores: Scores,
    other: Scores,
    slices: Slices | None = None,
    method: str = "",
    num_resamples: int = NUM_BOOTSTRAP,
    seed: int = 0,
) -> list[Record]:
    """Every metric of `scores` minus that of `other`, on the same rows resampled alike.

    Negative values of sigma_nmad, eta, crps, cde_loss, nll and pit_ks: `scores` is the better.
    Metrics that only one of them has are left out.

    Raises
    ------
    ValueError
        If the two do not have the same number of rows, or a mask has another length.
    """
    if len(scores) != len(other):
        raise ValueError(f"{len(scores)} and {len(other)} rows: a comparison needs the same rows")

    def judge(rows: npt.NDArray[np.int64]) -> dict[str, tuple[float, float]]:
        a, b = scores.take(rows), other.take(rows)
        samples_a, samples_b = (bootstrap(part, num_resamples, seed) for part in (a, b))
        return {
            name: (
                float(s.of(a.columns[s.column]) - s.of(b.columns[s.column])),
                float((samples_a[name] - samples_b[name]).std()),
            )
            for name, s in a.statistics.items()
            if name in samples_b
        }

    names = [name for name in scores.statistics if name in other.statistics]
    return _records(method, names, len(scores), slices, judge)


def _records(
    method: str,
    names: list[str],
    num_rows: int,
    slices: Slices | None,
    judge: Callable[[npt.NDArray[np.int64]], dict[str, tuple[float, float]]],
) -> list[Record]:
    records = []
    for slice_name, mask in (whole(num_rows) if slices is None else slices).items():
        rows = rows_of(slice_name, mask, num_rows)
        nothing = dict.fromkeys(names, (math.nan, math.nan))
        found = judge(rows) if len(rows) >= MIN_ROWS else nothing
        for name in names:
            records.append(Record(method, slice_name, name, *found[name], len(rows)))
    return records
