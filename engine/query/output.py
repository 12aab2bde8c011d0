"""An answer as a file, by the name's ending; it appears whole, by rename.

CSV and Parquet are written a batch at a time, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from engine.atomic import produce_atomic
from engine.config import UserError, check_folder
from engine.query.astropy_tables import write_fits, write_votable
from engine.query.plain import Kind, plain_kinds
from engine.query.search import Answer

_COMPRESSION_LEVEL = 3


def check_output(path: Path) -> None:
    """Refuse, before work is spent, what cannot be written.

    Raises
    ------
    UserError
        If the ending is unknown, it is a folder, or its folder cannot be written.
    """
    if path.suffix.lower() not in _WRITERS or path.is_dir():
        raise UserError(f"--output {path}: name a file that ends in {', '.join(_WRITERS)}")
    check_folder("--output", path.parent)


def write_answer(answer: Answer, path: Path) -> int:
    """Write all rows; returns how many. An earlier file is replaced when all of it is there.

    Raises
    ------
    UserError
        If the rows cannot be read, or the format cannot hold a column.
    """
    num_rows = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal num_rows
        for batch in answer.batches():
            num_rows += batch.num_rows
            yield batch

    write = _WRITERS[path.suffix.lower()]
    produce_atomic(path, lambda wip: write(wip, answer.schema, counted()))
    return num_rows


def _write_parquet(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=_COMPRESSION_LEVEL
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Lists of a fixed size become one column a value, numbered from 0."""
    kinds = plain_kinds(schema, ".csv")
    fields = [field for kind in kinds for field in _csv_fields(kind)]
    flat = pa.schema(fields)
    with pyarrow.csv.CSVWriter(path, flat) as writer:
        for batch in batches:
            columns = [
                column
                for kind, values in zip(kinds, batch.columns, strict=True)
                for column in _csv_columns(kind, values)
            ]
            writer.write_batch(pa.record_batch(columns, schema=flat))


def _csv_fields(kind: Kind) -> list[pa.Field]:
    name = kind.field.name
    if kind.width == 1:
        return [pa.field(name, kind.type)]
    digits = len(str(kind.width - 1))
    return [
        pa.field(f"{name}_{number:0{digits}}", kind.type.value_type) for number in range(kind.width)
    ]


def _csv_columns(kind: Kind, values: pa.Array) -> list[pa.Array]:
    if kind.width == 1:
        return [values.cast(kind.type)]
    return [pc.list_element(values, number) for number in range(kind.width)]


_Writer = Callable[[Path, pa.Schema, Iterator[pa.RecordBatch]], None]
_WRITERS: dict[str, _Writer] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".fits": write_fits,
    ".vot": write_votable,
}
