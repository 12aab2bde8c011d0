"""Rows to network inputs: magnitudes, colours, errors, extra columns, and what is there.

Magnitudes are asinh magnitudes, softened at the median error of the training rows: every flux has
one, and noise is never blown up. What is missing is 0 after standardisation, and the last columns
say so.

Shapes: N rows, B bands, E extra columns, C values of a row (before presence), F = C + B + E.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from model.table.rows import FloatArray, TableLayout, TableRows
from partitions.photometry import flux_to_asinh_magnitude

# Values further out than this many standard deviations say no more than that they are far out.
_CLIP = 8.0

# The training range is widened by this share of its width at each end.
_RANGE_PERCENTILES = (0.1, 99.9)
_RANGE_MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class TableStandardisation:
    """Statistics of the training rows; part of the weights."""

    softening: FloatArray
    """(B,) nanomaggy, the asinh softening: the median error of the band."""
    centre: FloatArray
    """(C,) median of each value."""
    scale: FloatArray
    """(C,) robust standard deviation of each value."""
    low: FloatArray
    """(C,) lower end of the training range."""
    high: FloatArray
    """(C,) its upper end."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(field.name for field in fields(cls))


def value_names(layout: TableLayout) -> tuple[str, ...]:
    """(C,) names of the values of a row."""
    bands = layout.bands
    colours = [f"{bands[a]}-{bands[b]}" for a, b in _colour_pairs(layout)]
    parts = [[f"{kind} {band}" for band in bands] for kind in ("magnitude", "depth", "s/n")]
    return (*parts[0], *colours, *parts[1], *parts[2], *layout.extra)


def num_features(layout: TableLayout) -> int:
    """F."""
    return len(value_names(layout)) + len(layout.bands) + len(layout.extra)


def band_usage(layout: TableLayout) -> npt.NDArray[np.bool_]:
    """(B, F) whether a feature needs a band."""
    num_bands, num_extra = len(layout.bands), len(layout.extra)
    own = np.eye(num_bands, dtype=bool)
    pairs = _colour_pairs(layout)
    colours = np.array([[b in pair for pair in pairs] for b in range(num_bands)], bool)
    colours = colours.reshape(num_bands, len(pairs))
    none = np.zeros((num_bands, num_extra), bool)
    return np.concatenate([own, colours, own, own, none, own, none], axis=1)


def fit_standardisation(rows: TableRows, layout: TableLayout) -> TableStandardisation:
    """Statistics of training rows; those of a band that none has change nothing."""
    softening = _column_medians(rows.flux_error, 1.0)
    values = _values(rows, layout, softening)
    centre = _column_medians(values, 0.0)
    scale = 1.4826 * _column_medians(np.abs(values - centre), 1.0)
    # More than half the rows alike: the plain deviation; all alike: leave the unit.
    spread = np.nan_to_num([_finite(column).std() for column in values.T], nan=1.0)
    scale = np.where(scale > 1e-6, scale, np.where(spread > 1e-6, spread, 1.0))
    low, high = np.transpose([_training_range(column) for column in values.T])
    return TableStandardisation(softening, centre, scale, low, high)


def features(
    rows: TableRows, layout: TableLayout, statistics: TableStandardisation
) -> npt.NDArray[np.float32]:
    """(N, F) finite network inputs."""
    values = _values(rows, layout, statistics.softening)
    scaled = np.clip((values - statistics.centre) / statistics.scale, -_CLIP, _CLIP)
    there = np.concatenate([rows.present, np.isfinite(rows.extra)], axis=1)
    return np.concatenate([np.nan_to_num(scaled, nan=0.0), there], axis=1).astype(np.float32)


def outside_range(
    rows: TableRows, layout: TableLayout, statistics: TableStandardisation
) -> npt.NDArray[np.bool_]:
    """(N,) whether a value of the row lies beyond the training range; missing values do not."""
    values = _values(rows, layout, statistics.softening)
    return np.asarray(((values < statistics.low) | (values > statistics.high)).any(axis=1))


def _colour_pairs(layout: TableLayout) -> list[tuple[int, int]]:
    """Neighbouring bands, and those two apart: the wider baseline is less noisy."""
    count = len(layout.bands)
    return [(b, b + step) for step in (1, 2) for b in range(count - step)]


def _values(rows: TableRows, layout: TableLayout, softening: FloatArray) -> FloatArray:
    """(N, C) values in the order of `value_names`; NaN where missing."""
    bands = range(len(layout.bands))
    magnitude = np.column_stack(
        [flux_to_asinh_magnitude(rows.flux[:, b], float(softening[b])) for b in bands]
    )
    colours = [magnitude[:, a] - magnitude[:, b] for a, b in _colour_pairs(layout)]
    depth = -2.5 * np.log10(rows.flux_error)
    signal_to_noise = np.arcsinh(rows.flux / rows.flux_error)
    return np.column_stack([magnitude, *colours, depth, signal_to_noise, rows.extra])


def _finite(column: FloatArray) -> FloatArray:
    return column[np.isfinite(column)] if np.isfinite(column).any() else np.full(1, np.nan)


def _column_medians(values: FloatArray, otherwise: float) -> FloatArray:
    """Median of each column, NaN left out; `otherwise` where nothing is left."""
    medians = np.array([np.median(_finite(column)) for column in values.T], np.float64)
    return np.nan_to_num(medians, nan=otherwise)


def _training_range(column: FloatArray) -> tuple[float, float]:
    if not np.isfinite(column).any():
        return -np.inf, np.inf
    low, high = np.percentile(_finite(column), _RANGE_PERCENTILES)
    margin = _RANGE_MARGIN * (high - low)
    return float(low - margin), float(high + margin)
