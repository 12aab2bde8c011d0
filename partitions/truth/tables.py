"""Columns of FITS, CSV and Parquet tables as numpy arrays; the format is read off the content.

Whatever is wrong with a file is a `SurveyError` that names it.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from astropy.io import fits

from partitions.bricks import SurveyError

Columns = dict[str, npt.NDArray[Any]]

_GZIP, _FITS, _PARQUET = b"\x1f\x8b", b"SIMPLE  =", b"PAR1"
_HEAD_BYTES = 65_536
_DELIMITERS = (",", "|", "\t", ";")  # LAMOST's CSV files have |
_NULL_WORDS = ["", "NULL", "null", "N/A", "--", "nan", "NaN", "NAN", "None"]

# Above this, float64 does not hold every integer: identifiers would change.
_MAX_EXACT_INTEGER = 1 << 53


@dataclass(frozen=True)
class TableFile:
    """A table on disk: its column names are known, its columns are read when asked for."""

    path: Path
    columns: tuple[str, ...]
    _read: Callable[[list[str]], Columns]

    def read(self, names: list[str]) -> Columns:
        """Columns by name, (N,) each: numbers, truth values or text, native byte order.

        Raises
        ------
        SurveyError
            If the file is damaged or a column holds more than one value a row.
        """
        try:
            columns = self._read(list(dict.fromkeys(names)))
        except Exception as error:  # Damaged files make the readers raise almost anything.
            raise _unreadable(self.path, error) from error
        for name, values in columns.items():
            if values.ndim != 1:
                raise SurveyError(
                    f"table {self.path}: column {name} has shape {values.shape[1:]} a row, "
                    "expected one value"
                )
        return columns


def open_table(path: Path) -> TableFile:
    """Recognise a table and read its column names.

    Raises
    ------
    SurveyError
        If there is no such file or it is no FITS, CSV or Parquet table.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_FITS))
        is_gzip = head.startswith(_GZIP)
        if is_gzip:
            with gzip.open(path) as file:
                head = file.read(len(_FITS))
        if head.startswith(_FITS):
            return _open_fits(path)
        if head.startswith(_PARQUET):
            return _open_parquet(path)
        return _open_csv(path, is_gzip)
    except SurveyError:
        raise
    except Exception as error:  # The same.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SurveyError:
    if isinstance(error, FileNotFoundError):
        return SurveyError(f"table {path}: no such file")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return SurveyError(
        f"table {path}: cannot be read as a FITS, CSV or Parquet table "
        f"({reason or type(error).__name__})"
    )


def _open_fits(path: Path) -> TableFile:
    with _fits_hdus(path) as hdus:
        number = next(
            (n for n, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)),
            None,
        )
        if number is None:
            raise SurveyError(f"table {path}: none of its {len(hdus)} HDUs holds a table")
        names = tuple(hdus[number].columns.names)

    def read(wanted: list[str]) -> Columns:
        with _fits_hdus(path) as hdus:
            rows = hdus[number].data
            # Copied: the file is mapped into memory, and is closed before the values are used.
            return {name: _native(np.array(rows[name])) for name in wanted}

    return TableFile(path, names, read)


@contextmanager
def _fits_hdus(path: Path) -> Iterator[Any]:
    with warnings.catch_warnings():
        # Public tables have odd headers and units; only a truncated file is a reason to stop.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="File may have been truncated")
        with fits.open(path, memmap=True, lazy_load_hdus=False) as hdus:
            yield hdus


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.dtype.kind == "S":
        return np.char.strip(np.char.decode(values, "utf-8", "replace"))
    return values.astype(values.dtype.newbyteorder("="))


def _open_parquet(path: Path) -> TableFile:
    names = tuple(pyarrow.parquet.read_schema(path).names)

    def read(wanted: list[str]) -> Columns:
        table = pyarrow.parquet.ParquetFile(path).read(columns=wanted)
        return {name: _arrow_to_numpy(table[name]) for name in wanted}

    return TableFile(path, names, read)


def _open_csv(path: Path, is_gzip: bool) -> TableFile:
    with gzip.open(path) if is_gzip else path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8-sig")
    num_skipped, header, delimiter = _csv_header(path, head)
    names = tuple(name.strip().strip('"').lstrip("#").strip() for name in header.split(delimiter))

    def read(wanted: list[str]) -> Columns:
        # As text: the types that pyarrow infers from a first block need not fit the rest.
        options = pyarrow.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            null_values=_NULL_WORDS,
            strings_can_be_null=True,
        )
        stream = pa.input_stream(str(path), compression="gzip" if is_gzip else None)
        table = pyarrow.csv.read_csv(
            stream,
            pyarrow.csv.ReadOptions(skip_rows=num_skipped + 1, column_names=list(names)),
            pyarrow.csv.ParseOptions(delimiter=delimiter),
            options,
        )
        return {name: _arrow_to_numpy(_typed(table[name])) for name in wanted}

    return TableFile(path, names, read)


def _csv_header(path: Path, head: str) -> tuple[int, str, str]:
    """Lines before the header, the header, the delimiter; leading # lines are comments.

    The last comment is the header if the line after it has as many fields and holds a number.
    """
    lines = head.splitlines()
    if "\0" in head or not lines:
        raise SurveyError(f"table {path}: is empty or no FITS, CSV or Parquet table")
    num_comments = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    first = lines[num_comments] if num_comments < len(lines) else ""
    delimiter = max(_DELIMITERS, key=first.count)
    if not first.count(delimiter):
        raise SurveyError(
            f"table {path}: its first line has one field; expected a header with names between "
            "commas (or |, tabs, semicolons)"
        )
    if not any(_is_number(word) for word in first.split(delimiter)):
        return num_comments, first, delimiter
    above = lines[num_comments - 1] if num_comments else ""
    if above.count(delimiter) == first.count(delimiter):
        return num_comments - 1, above, delimiter
    raise SurveyError(
        f"table {path}: its first line holds numbers ({first[:40]}...); "
        "expected a header with the names of the columns"
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A text column as integers or floats if all of it is."""
    column = pc.utf8_trim_whitespace(column)
    for kind in (pa.int64(), pa.float64()):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column


def _arrow_to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Nulls become NaN, an empty text or False; in long identifiers, -1."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return np.asarray(column.fill_null(False).to_numpy(), dtype=np.bool_)
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_integer(kind):
        if not column.null_count:
            return np.asarray(column.to_numpy())
        largest = pc.max(column).as_py() or 0
        if largest >= _MAX_EXACT_INTEGER:
            return np.asarray(column.fill_null(-1).to_numpy())
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    if pa.types.is_floating(kind):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return np.empty((len(column), 2))
    return np.array(column.cast(pa.string()).fill_null("").to_pylist(), dtype=str)
