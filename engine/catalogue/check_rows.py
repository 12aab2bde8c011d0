"""What must hold for every row of a leaf: the first bad row of each kind, with both values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.catalogue.leaves import table_columns
from engine.catalogue.schema import (
    FLAG_COLUMN,
    POINT_COLUMNS,
    QUANTILE_COLUMN,
    SORT_COLUMNS,
    SPATIAL_INDEX_COLUMN,
    quantile_array,
)
from engine.targets import encode_targetid
from model.posterior import INTERVAL_LEVELS
from partitions.healpix import Pixel, radec_to_spatial_index, spatial_index_to_pixel
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS, release_to_photsys

BadRow: TypeAlias = tuple[str, int, str]
"""What is wrong, the row, both values."""
Columns = dict[str, npt.NDArray[Any]]

_IDENTITY = ("RELEASE", "BRICKID", "OBJID")
_LIMITS = ("Z_PHOT_L95", "Z_PHOT_L68", "Z_PHOT_MEDIAN", "Z_PHOT_U68", "Z_PHOT_U95")


@dataclass(frozen=True)
class PosteriorRules:
    """What the weights promise of every posterior."""

    quantile_levels: tuple[float, ...]
    redshift_range: tuple[float, float]
    """First and last edge of the redshift grid."""


def first_row(bad: npt.NDArray[np.bool_]) -> int | None:
    """Number of the first bad row of (N,), None if there is none."""
    rows = np.flatnonzero(bad)
    return int(rows[0]) if len(rows) else None


def bad_rows(table: pa.Table, pixel: Pixel, rules: PosteriorRules) -> Iterator[BadRow]:
    """The first bad row of each kind in the leaf of `pixel`."""
    scalar = ["RA", "DEC", "TARGETID", *SORT_COLUMNS, *POINT_COLUMNS, FLAG_COLUMN]
    scalar += ["PHOTSYS", "DESI_TARGET", "BGS_TARGET"]
    columns = table_columns(table, scalar)
    on_sky = is_on_sky(columns["RA"], columns["DEC"])
    row = first_row(~on_sky)
    if row is not None:
        yield "position", row, f"RA={columns['RA'][row]}, DEC={columns['DEC'][row]}"
    else:  # Nothing that is computed from positions would mean anything.
        yield from _misplaced(columns, pixel)
    yield from bad_order(columns)
    yield from _bad_identity(columns)
    yield from _bad_targets(columns)
    yield from _bad_posteriors(columns, quantile_array(table), rules)


def is_on_sky(
    ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """(N,) whether a position is one; NaN is none."""
    return np.asarray((np.abs(dec_deg) <= 90) & (ra_deg >= 0) & (ra_deg <= 360))


def _misplaced(columns: Columns, pixel: Pixel) -> Iterator[BadRow]:
    index = columns[SPATIAL_INDEX_COLUMN]
    recomputed = radec_to_spatial_index(columns["RA"], columns["DEC"])
    row = first_row(recomputed != index)
    if row is not None:
        yield SPATIAL_INDEX_COLUMN, row, f"{index[row]}, but RA, DEC give {recomputed[row]}"
    own = spatial_index_to_pixel(recomputed, pixel.order)
    row = first_row(own != pixel.number)
    if row is not None:
        yield "not in its own pixel", row, f"it lies in Npix={own[row]}"


def bad_order(columns: Columns) -> Iterator[BadRow]:
    """The first row that does not come strictly after the one before it by SORT_COLUMNS."""
    keys = [columns[name] for name in SORT_COLUMNS]
    bad = np.zeros(len(keys[0]), dtype=bool)
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in keys:
        bad[1:] |= tied & (key[1:] < key[:-1])
        tied &= key[1:] == key[:-1]
    bad[1:] |= tied
    row = first_row(bad)
    if row is not None:
        yield "order", row, f"not after the row before it by {', '.join(SORT_COLUMNS)}"


def _bad_identity(columns: Columns) -> Iterator[BadRow]:
    targetid = columns["TARGETID"]
    try:
        expected = encode_targetid(*(columns[name] for name in _IDENTITY))
    except ValueError as error:
        yield "identity", 0, str(error)
    else:
        row = first_row(targetid != expected)
        if row is not None:
            yield "TARGETID", row, f"{targetid[row]}, its parts give {expected[row]}"
    order = np.argsort(targetid, kind="stable")
    again = np.sort(order[1:][np.diff(targetid[order]) == 0])
    if len(again):
        yield "not unique", int(again[0]), f"TARGETID {targetid[again[0]]} again"


def _bad_targets(columns: Columns) -> Iterator[BadRow]:
    """PHOTSYS of another release; bits that no cut sets, or those of the other system."""
    photsys = release_to_photsys(columns["RELEASE"])
    row = first_row(columns["PHOTSYS"] != photsys)
    if row is not None:
        yield "PHOTSYS", row, f"{columns['PHOTSYS'][row]!r}, RELEASE gives {str(photsys[row])!r}"
    for name, bits in (("DESI_TARGET", DESI_TARGET_BITS), ("BGS_TARGET", BGS_TARGET_BITS)):
        allowed = np.zeros(len(photsys), np.int64)
        for system, other in (("N", "_SOUTH"), ("S", "_NORTH")):
            own = sum(1 << bit for bit_name, bit in bits.items() if not bit_name.endswith(other))
            allowed[photsys == system] = own
        row = first_row((columns[name] & ~allowed) != 0)
        if row is not None:
            lacks = f"has bits that PHOTSYS {str(photsys[row])!r} lacks"
            yield name, row, f"{columns[name][row]} {lacks}"
    is_bgs = (columns["DESI_TARGET"] >> DESI_TARGET_BITS["BGS_ANY"] & 1).astype(bool)
    row = first_row(is_bgs != (columns["BGS_TARGET"] != 0))
    if row is not None:
        says = f"DESI_TARGET says BGS_ANY {is_bgs[row]}"
        yield "BGS_TARGET", row, f"{columns['BGS_TARGET'][row]}, {says}"


def _bad_posteriors(
    columns: Columns, quantiles: npt.NDArray[np.float32], rules: PosteriorRules
) -> Iterator[BadRow]:
    for name in POINT_COLUMNS:
        row = first_row(~np.isfinite(columns[name]))
        if row is not None:
            yield name, row, f"{columns[name][row]} is not finite"
    for lower, upper in pairwise(_LIMITS):
        row = first_row(columns[lower] > columns[upper])
        if row is not None:
            values = f"{lower}={columns[lower][row]:g} > {upper}={columns[upper][row]:g}"
            yield "limits", row, values
    odds, std = columns["Z_PHOT_ODDS"], columns["Z_PHOT_STD"]
    row = first_row((odds < 0) | (odds > 1))
    if row is not None:
        yield "Z_PHOT_ODDS", row, f"{odds[row]:g} is no probability"
    row = first_row(std < 0)
    if row is not None:
        yield "Z_PHOT_STD", row, f"{std[row]:g} is negative"
    row = first_row(
        ~np.all(np.isfinite(quantiles), axis=1) | np.any(np.diff(quantiles) < 0, axis=1)
    )
    if row is not None:
        yield QUANTILE_COLUMN, row, "not finite or not increasing"
    yield from _beyond_grid(columns, quantiles, rules)
    yield from _limits_off_quantiles(columns, quantiles, rules)


def _beyond_grid(
    columns: Columns, quantiles: npt.NDArray[np.float32], rules: PosteriorRules
) -> Iterator[BadRow]:
    """Estimates outside the redshifts that the weights know."""
    # As the columns are rounded: float32 keeps the order of values.
    z_min, z_max = (np.float32(edge) for edge in rules.redshift_range)
    estimates = [(name, columns[name]) for name in ("Z_PHOT_MEAN", "Z_PHOT_MEDIAN", "Z_PHOT_MODE")]
    if quantiles.shape[1]:
        estimates += [(QUANTILE_COLUMN, quantiles[:, end]) for end in (0, -1)]
    for name, values in estimates:
        row = first_row((values < z_min) | (values > z_max))
        if row is not None:
            grid = f"the weights' redshifts {z_min:g} to {z_max:g}"
            yield name, row, f"{values[row]:g} is outside {grid}"


def _limits_off_quantiles(
    columns: Columns, quantiles: npt.NDArray[np.float32], rules: PosteriorRules
) -> Iterator[BadRow]:
    """Limits and median are quantiles themselves: equal to one listed, or between two."""
    levels = np.asarray(rules.quantile_levels)
    for short, level in INTERVAL_LEVELS.items():
        name = f"Z_PHOT_{short.upper()}"
        below = np.flatnonzero(levels <= level)
        above = np.flatnonzero(levels >= level)
        bad = np.zeros(len(quantiles), dtype=bool)
        if len(below):
            bad |= columns[name] < quantiles[:, below[-1]]
        if len(above):
            bad |= columns[name] > quantiles[:, above[0]]
        row = first_row(bad)
        if row is not None:
            detail = f"{columns[name][row]:g} does not fit {QUANTILE_COLUMN} around level {level:g}"
            yield name, row, detail
