"""Tables on disk -> rows with known redshifts; every row left out is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.config import UserError
from engine.table.config import Reading, TableConfig, nearest
from model.table import TableRows
from partitions.truth.positions import is_on_sky
from partitions.truth.tables import TableFile, open_table

FloatArray = npt.NDArray[np.float64]

MIN_ROWS = 200
"""Rows that a fit needs: below, neither a network nor 100 neighbours mean anything."""


@dataclass(frozen=True, eq=False)
class KnownRows:
    """Rows with known redshifts: num_read = len(z_true) + all drops."""

    rows: TableRows
    z_true: FloatArray
    """(N,) finite and not negative."""
    ra_deg: FloatArray | None
    """(N,) where the table has positions."""
    dec_deg: FloatArray | None
    num_read: int
    """Rows of the files."""
    drops: dict[str, int]
    """Reason -> rows left out, in the order of the checks."""
    missing: dict[str, int]
    """Band -> kept rows without it."""


def read_rows(
    paths: Sequence[Path], reading: Reading, keep: Sequence[str] = ()
) -> tuple[TableRows, dict[str, npt.NDArray[Any]]]:
    """All rows of some tables, and further columns as they are.

    Raises
    ------
    UserError, SurveyError
        If a column is missing or holds text, or a file is no table.
    """
    opened = [open_table(path) for path in paths]
    for table in opened:
        _check_columns(table, (*reading.columns, *keep))
    parts = [table.read([*reading.columns, *keep]) for table in opened]
    columns = {
        name: np.concatenate([part[name] for part in parts]) for name in (*reading.columns, *keep)
    }
    return _to_rows(columns, reading, paths), {name: columns[name] for name in keep}


def read_known_rows(config: TableConfig) -> KnownRows:
    """Rows to train on and to judge with.

    Raises
    ------
    UserError, SurveyError
        The same; and if too few rows are left, or all have one redshift.
    """
    position = (config.ra, config.dec) if config.ra else ()
    rows, others = read_rows(config.files, config.reading, (config.redshift, *position))
    z = _numbers(config.redshift, others[config.redshift], config.reading.missing, config.files)
    place = [_numbers(name, others[name], (), config.files) for name in position]
    bad: dict[str, npt.NDArray[Any]] = {
        "no redshift": ~np.isfinite(z),
        "negative redshift": z < 0,
        "no band measured": np.asarray(~rows.present.any(axis=1)),
    }
    if place:
        bad["no position"] = ~is_on_sky(*place)
    kept = np.ones(len(rows), bool)
    drops = {}
    for reason, mask in bad.items():
        drops[reason] = int(np.count_nonzero(kept & mask))
        kept &= ~mask
    number = np.flatnonzero(kept)
    # The same row in training and held-out part would be judged by itself.
    first = _first_of_equals([rows.flux, rows.flux_error, rows.extra, z[:, None]], number)
    drops["repeats another row"] = len(number) - len(first)
    rows, z = rows.take(first), z[first]
    _check_enough(config, z, drops)
    counts = (~rows.present).sum(axis=0)
    missing = {band.name: int(n) for band, n in zip(config.reading.bands, counts, strict=True)}
    ra_deg, dec_deg = (values[first] for values in place) if place else (None, None)
    return KnownRows(rows, z, ra_deg, dec_deg, len(kept), drops, missing)


def _check_columns(table: TableFile, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in table.columns:
            near = nearest(name, list(table.columns))
            raise UserError(f"table {table.path}: no column {name!r}{near}")


def _to_rows(
    columns: dict[str, npt.NDArray[Any]], reading: Reading, paths: Sequence[Path]
) -> TableRows:
    def numbers(name: str) -> FloatArray:
        return _numbers(name, columns[name], reading.missing, paths)

    value = np.column_stack([numbers(band.value) for band in reading.bands])
    extra = [numbers(name) for name in reading.extra]
    extra_NE = np.column_stack(extra) if extra else np.empty((len(value), 0))
    errors = []
    for band in reading.bands:
        given = numbers(band.error or band.ivar)
        good = given > 0
        ivar_error = 1 / np.sqrt(np.where(good, given, np.nan))
        errors.append(ivar_error if band.ivar else np.where(good, given, np.nan))
    error = np.column_stack(errors)
    if reading.units == "mag":
        return TableRows.from_magnitudes(value, error, extra_NE)
    return TableRows.from_fluxes(value, error, extra_NE)


def _numbers(
    name: str, values: npt.NDArray[Any], missing: Sequence[float], paths: Sequence[Path]
) -> FloatArray:
    """(N,) float64; fill values become NaN."""
    if values.dtype.kind not in "biuf":
        example = next((str(v) for v in values[:1000] if not _is_number(v)), "")
        raise UserError(f"table {paths[0]}: column {name!r} holds text such as {example!r}")
    number = values.astype(np.float64)
    # A fill value such as -99.9 was rounded when it was written into a column of float32.
    kind = values.dtype if values.dtype.kind == "f" else np.float64
    fill = np.isin(number, np.asarray(missing, np.float64).astype(kind))
    return np.where(np.isfinite(number) & ~fill, number, np.nan)


def _is_number(word: Any) -> bool:
    try:
        float(word)
    except ValueError:
        return not str(word).strip()
    return True


def _first_of_equals(
    parts: Sequence[FloatArray], number: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Row numbers without those whose values all repeat an earlier one; NaN equals NaN."""
    values = np.concatenate([part[number] for part in parts], axis=1)
    _, first = np.unique(np.nan_to_num(values, nan=-np.pi * 1e300), axis=0, return_index=True)
    return number[np.sort(first)]


def _check_enough(config: TableConfig, z_true: FloatArray, drops: dict[str, int]) -> None:
    names = ", ".join(str(path) for path in config.files)
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in drops.items() if count)
    if len(z_true) < MIN_ROWS:
        raise UserError(
            f"{names}: {len(z_true)} usable rows, at least {MIN_ROWS} are needed "
            f"(left out: {left_out or 'none'})"
        )
    if np.ptp(z_true) == 0:
        raise UserError(
            f"{names}: column {config.redshift!r} has one value only ({z_true[0]:g}): "
            "there is nothing to learn"
        )
