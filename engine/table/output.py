"""Predicted tables on disk: Parquet, FITS or CSV, by the name's ending; bytes from the content."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy.io import fits

from engine.atomic import write_atomic
from engine.catalogue.schema import POINT_COLUMNS
from engine.config import UserError, check_folder
from model.table import TablePrediction

Columns = Mapping[str, npt.NDArray[Any]]

SUFFIXES = (".parquet", ".fits", ".csv")

TABLE_POINT_COLUMNS = {"Z_PHOT_SAFE": "safe", **POINT_COLUMNS}
"""Column -> name in the summary."""


def check_output(path: Path) -> None:
    """Refuse, before work is spent, what cannot be written.

    Raises
    ------
    UserError
        If the ending is unknown, it is a folder, or its folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise UserError(f"--output {path}: name a file that ends in {', '.join(SUFFIXES)}")
    check_folder("--output", path.parent)


def prediction_columns(prediction: TablePrediction, kept: Columns) -> dict[str, Any]:
    """Columns of the table to write: those kept from the input, then the posterior's.

    Raises
    ------
    UserError
        If a kept column has the name of a new one.
    """
    new: dict[str, Any] = {
        column: prediction.summary[name] for column, name in TABLE_POINT_COLUMNS.items()
    }
    new |= {"Z_PHOT_BANDS": prediction.num_bands, "Z_PHOT_OUTSIDE": prediction.outside_range}
    for name in kept:
        if name in new:
            raise UserError(f"--keep {name}: the table written has a column of that name")
    return {**kept, **new}


def write_table(path: Path, columns: Columns, digest: str) -> None:
    """Write a table; Parquet and FITS carry the digest of the weights."""
    suffix = path.suffix.lower()
    if suffix == ".fits":
        write_atomic(path, _fits_bytes(columns, digest))
        return
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    buffer = io.BytesIO()
    if suffix == ".csv":
        pyarrow.csv.write_csv(table, buffer)
    else:
        table = table.replace_schema_metadata({"photoz_weights_digest": digest})
        pyarrow.parquet.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())


def _fits_bytes(columns: Columns, digest: str) -> bytes:
    # Text becomes ASCII bytes, of which FITS tables are made.
    values = {
        name: np.char.encode(column, "ascii", "backslashreplace")
        if column.dtype.kind == "U"
        else column
        for name, column in columns.items()
    }
    kinds = [(name, column.dtype) for name, column in values.items()]
    rows = np.empty(len(next(iter(values.values()))), kinds)
    for name, column in values.items():
        rows[name] = column
    hdu = fits.BinTableHDU(rows, name="PHOTOZ")
    # A card has no room for a comment beside 64 digits.
    hdu.header["WEIGHTS"] = digest
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()
