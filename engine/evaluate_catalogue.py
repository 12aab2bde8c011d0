"""Metrics of a finished catalogue against known redshifts, leaf by leaf with mergeable sums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.catalogue.read import iterate_columns, read_properties, read_schema
from engine.config import UserError
from engine.evaluate import all_slices, make_sections
from engine.known import Known, SourceIndex
from model.evaluation import Record
from model.metrics import PointMetrics
from partitions.photometry import SOFTENING_NANOMAGGY, flux_to_asinh_magnitude
from partitions.schema import BANDS

_NEEDED = ("TARGETID", "Z_PHOT_MEDIAN")
_INTERVALS = {f"Z_PHOT_{name.upper()}": name for name in ("l68", "u68", "l95", "u95")}
_R_COLUMNS = ("FLUX_R", "FLUX_IVAR_R", "MW_TRANSMISSION_R")
_IVAR_COLUMNS = tuple(f"FLUX_IVAR_{band.upper()}" for band in BANDS)

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class CatalogueMetrics:
    """Sums over the catalogue rows with known redshifts."""

    num_rows: int
    """Rows of the catalogue."""
    slices: dict[str, PointMetrics]
    """Slice -> sums; `all` is one of them."""

    def records(self, method: str = "catalogue") -> list[Record]:
        """One record a slice and metric; without errors, which need the rows themselves."""
        return [
            Record(method, name, metric, value, float("nan"), sums.num_objects)
            for name, sums in self.slices.items()
            for metric, value in sums.report().items()
            if metric != "num_objects"
        ]


def evaluate_catalogue(catalogue: Path, known: Known) -> CatalogueMetrics:
    """Judge Z_PHOT_MEDIAN of the rows with known redshifts; memory holds one leaf.

    Raises
    ------
    UserError
        If this is no finished catalogue, a column is missing, or no row has a known redshift.
    """
    read_properties(catalogue)  # Refuses what is no finished catalogue.
    names = set(read_schema(catalogue).names)
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UserError(f"{catalogue}: has no column {missing[0]}, nothing to compare")
    wanted = [*_NEEDED, *_INTERVALS, *_R_COLUMNS, *_IVAR_COLUMNS, "TYPE"]
    columns = [name for name in dict.fromkeys(wanted) if name in names]
    index = SourceIndex.of(known.truth)
    num_rows = 0
    sums: dict[str, PointMetrics] = {}
    for leaf in iterate_columns(catalogue, columns):
        num_rows += len(leaf["TARGETID"])
        number = index.rows_of(leaf["TARGETID"])
        found = np.flatnonzero(number >= 0)
        if not len(found):
            continue
        rows = {name: values[found] for name, values in leaf.items()}
        for name, part in _judge(rows, known, number[found]).items():
            sums[name] = sums.get(name, PointMetrics.zero()) + part
    if not sums:
        raise UserError(
            f"{catalogue}: none of its {num_rows:,} rows is among the {len(known.truth):,} "
            "galaxies and quasars of the truth table; they must share RELEASE, BRICKID and OBJID"
        )
    return CatalogueMetrics(num_rows, sums)


def _judge(rows: Columns, known: Known, number: npt.NDArray[np.int64]) -> dict[str, PointMetrics]:
    """Sums of every slice of one leaf's matched rows; `number` are the rows of the truth table."""
    z_spec = known.truth.z[number]
    intervals = {name: rows[column] for column, name in _INTERVALS.items() if column in rows}
    present = None
    if all(name in rows for name in _IVAR_COLUMNS):
        present = np.stack([rows[name] > 0 for name in _IVAR_COLUMNS], axis=1)
    sections = make_sections(_r_mag(rows), z_spec, known.labels[number], present, rows.get("TYPE"))
    return {
        name: PointMetrics.of(
            rows["Z_PHOT_MEDIAN"][mask],
            z_spec[mask],
            {key: values[mask] for key, values in intervals.items()} or None,
        )
        for name, mask in all_slices(sections).items()
    }


def _r_mag(rows: Columns) -> npt.NDArray[np.float64]:
    """(N,) the feature MAG_R: dereddened asinh magnitude, NaN where r is missing."""
    if not all(name in rows for name in _R_COLUMNS):
        return np.full(len(rows["TARGETID"]), np.nan)
    flux, ivar, transmission = (rows[name] for name in _R_COLUMNS)
    dereddened = flux / np.where(ivar > 0, transmission, 1.0)
    mag = flux_to_asinh_magnitude(dereddened, SOFTENING_NANOMAGGY["r"])
    # Rounded as the arrays store it, so that a row falls into the same bin.
    return np.where(ivar > 0, mag.astype(np.float32), np.nan).astype(np.float64)
