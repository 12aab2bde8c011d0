"""An answer as a FITS or VOTable file, with units; all rows are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits, votable
from astropy.table import Column, MaskedColumn, Table

from engine.query.plain import Kind, column_unit, plain_kinds

_FITS_CODES = {"b": "L", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
# Units that the VOUnit standard has; others are told in the description.
_VOTABLE_UNITS = ("deg", "mag")


def write_fits(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """A binary table; missing numbers are NaN or TNULL, the least integer; missing text is ""."""
    kinds = plain_kinds(schema, ".fits")
    table = pa.Table.from_batches(batches, schema=schema)
    columns = []
    for kind, values in zip(kinds, table.columns, strict=True):
        array, mask = _numpy(kind, values)
        null = None
        if array.dtype.kind == "U":
            array = np.char.encode(array, "ascii", "backslashreplace")
            code = f"{max(array.dtype.itemsize, 1)}A"
        else:
            code = _FITS_CODES[array.dtype.str[1:].replace("b1", "b")]
            if mask.any() and array.dtype.kind == "i":
                null = int(np.iinfo(array.dtype).min)
                array = np.where(mask, null, array)
            if kind.width > 1:
                code = f"{kind.width}{code}"
        unit = column_unit(kind.field.name) or None
        columns.append(fits.Column(kind.field.name, code, array=array, null=null, unit=unit))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=table.num_rows, name="PHOTOZ")
    with path.open("wb") as file:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)


def write_votable(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """A VOTable of one table, with binary rows."""
    kinds = plain_kinds(schema, ".vot")
    table = pa.Table.from_batches(batches, schema=schema)
    columns = []
    for kind, values in zip(kinds, table.columns, strict=True):
        array, mask = _numpy(kind, values)
        unit = column_unit(kind.field.name)
        text = {"unit": unit} if unit in _VOTABLE_UNITS else {"description": unit}
        name = kind.field.name
        if mask.any():
            columns.append(MaskedColumn(array, name=name, mask=mask, **text))
        else:
            columns.append(Column(array, name=name, **text))
    tree = votable.from_table(Table(columns))
    with path.open("wb") as file:
        votable.writeto(tree, file, tabledata_format="binary2")


def _numpy(kind: Kind, values: pa.ChunkedArray) -> tuple[Any, Any]:
    """Values (N,) or (N, width) and what of the (N,) is missing."""
    plain = values.cast(kind.type).combine_chunks()
    mask = plain.is_null().to_numpy(zero_copy_only=False)
    if kind.width > 1:
        filled = np.full((len(plain), kind.width), np.nan, kind.type.value_type.to_pandas_dtype())
        filled[~mask] = plain.flatten().to_numpy().reshape(-1, kind.width)
        return filled, mask
    if pa.types.is_string(kind.type):
        return np.array(plain.fill_null("").to_pylist(), dtype=np.str_), mask
    if pa.types.is_floating(kind.type):
        return plain.to_numpy(zero_copy_only=False), np.zeros(len(plain), dtype=bool)
    if pa.types.is_boolean(kind.type) and mask.any():
        plain = plain.cast(pa.int16())  # No format has a truth value that is missing.
    zero = pa.scalar(0).cast(plain.type)
    return plain.fill_null(zero).to_numpy(zero_copy_only=False), mask
