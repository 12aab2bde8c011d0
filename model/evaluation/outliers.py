"""What the outliers share: how often each part of a sample fails, against the whole.

References
----------
* Interval of a fraction: Wilson 1927, JASA 22, 209; it holds for few rows and for none failing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.evaluation.slices import Slices, rows_of
from model.metrics import OUTLIER_THRESHOLDS

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OutlierRecord:
    """The outliers of one slice."""

    slice: str
    """Name of the slice."""
    num_rows: int
    """Rows of the slice."""
    num_outliers: int
    """Of these, rows with |dz| beyond the threshold."""
    fraction: float
    """num_outliers / num_rows; NaN for no rows."""
    lower: float
    """Lower end of the 68 % interval of the fraction."""
    upper: float
    """Its upper end."""
    lift: float
    """Fraction over that of the whole sample: above 1 where outliers gather; NaN without any."""
    share: float
    """Part of all outliers that lie in the slice; NaN without any."""


def outlier_rows(dz: FloatArray, threshold: float = OUTLIER_THRESHOLDS[0]) -> npt.NDArray[np.int64]:
    """Numbers of the rows with |dz| > threshold, the worst first."""
    size = np.abs(dz)
    rows = np.flatnonzero(size > threshold)
    return rows[np.argsort(-size[rows], kind="stable")]


def outlier_records(
    dz: FloatArray, slices: Slices, threshold: float = OUTLIER_THRESHOLDS[0]
) -> list[OutlierRecord]:
    """How often each slice fails, in the order of the slices.

    Parameters
    ----------
    dz
        (N,) normalised errors.
    slices
        Masks (N,) by name: classes, bins of magnitude and redshift, missing bands.

    Raises
    ------
    ValueError
        If a mask has another length.
    """
    is_outlier = np.zeros(len(dz), bool)
    is_outlier[outlier_rows(dz, threshold)] = True
    total = int(is_outlier.sum())
    records = []
    for name, mask in slices.items():
        rows = rows_of(name, mask, len(dz))
        count = int(is_outlier[rows].sum())
        fraction = count / len(rows) if len(rows) else math.nan
        lift = fraction / (total / len(dz)) if total else math.nan
        share = count / total if total else math.nan
        interval = _wilson_interval(count, len(rows))
        records.append(OutlierRecord(name, len(rows), count, fraction, *interval, lift, share))
    return records


def _wilson_interval(count: int, total: int) -> tuple[float, float]:
    """68 % (1 sigma) interval of a binomial fraction."""
    if not total:
        return math.nan, math.nan
    p = count / total
    centre = (p + 0.5 / total) / (1 + 1 / total)
    half = math.sqrt(p * (1 - p) / total + 0.25 / total**2) / (1 + 1 / total)
    # Exactly 0 and 1 where none or all fail, whatever the rounding.
    return (centre - half if count else 0.0), (centre + half if count < total else 1.0)
