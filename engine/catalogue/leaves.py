"""Parquet on disk: fragments of a partition, leaves of the catalogue."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.atomic import flush_to_disk
from engine.catalogue.schema import SORT_COLUMNS, SPATIAL_INDEX_COLUMN
from partitions.healpix import Pixel, spatial_index_to_pixel

_ROW_GROUP_ROWS = 100_000
_COMPRESSION_LEVEL = 3


def write_parquet(table: pa.Table, path: Path) -> None:
    """One Parquet file: zstd, statistics, byte-stream-split floats, no time stamp.

    Its first column is an ascending integer.
    """
    first = table.schema.names[0]
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [
        field.name
        for field in table.schema
        if field.name not in floats and not pa.types.is_nested(field.type)
    ]
    pq.write_table(
        table,
        path,
        row_group_size=_ROW_GROUP_ROWS,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=[name for name in others if name != first],
        column_encoding={
            **dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            first: "DELTA_BINARY_PACKED",
        },
        write_statistics=True,
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(0)],
    )


def sort_rows(table: pa.Table) -> pa.Table:
    """Rows in the order of a leaf."""
    return table.sort_by([(name, "ascending") for name in SORT_COLUMNS])


def concatenate_rows(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """Rows of several bricks as one table; an empty one if there are none."""
    return pa.concat_tables(tables) if tables else schema.empty_table()


def write_fragments(
    table: pa.Table, order: int, folder: Path, wip_folder: Path
) -> dict[str, dict[str, int]]:
    """Split a partition's rows by the pixel of their own position and write one file a leaf.

    The folder appears whole, by rename, and replaces an earlier attempt's.

    Returns
    -------
    Leaf pixel number (as text) -> rows and bytes of its fragment.
    """
    wip = wip_folder / f"wip-{uuid.uuid4().hex[:8]}-{folder.name}"
    wip.mkdir(parents=True)
    written: dict[str, dict[str, int]] = {}
    try:
        pixels = _pixels_of(table, order)
        for number in np.unique(pixels).tolist():
            rows = sort_rows(table.filter(pa.array(pixels == number)))
            path = wip / fragment_name(Pixel(order, number))
            write_parquet(rows, path)
            flush_to_disk(path)
            written[str(number)] = {"rows": rows.num_rows, "bytes": path.stat().st_size}
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            stale = wip_folder / f"wip-{uuid.uuid4().hex[:8]}-stale"
            os.replace(folder, stale)
            shutil.rmtree(stale)
        os.replace(wip, folder)
        flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(wip, ignore_errors=True)
    return written


def fragment_name(leaf: Pixel) -> str:
    """File name of a leaf's fragment in a partition's folder."""
    return f"leaf-{leaf.number}.parquet"


def _pixels_of(table: pa.Table, order: int) -> npt.NDArray[np.int64]:
    index = table.column(SPATIAL_INDEX_COLUMN).to_numpy()
    return spatial_index_to_pixel(index, order)


def read_parquet(
    path: Path, columns: list[str] | None = None, row_group: int | None = None
) -> pa.Table:
    """One Parquet file, or one row group of it, in memory.

    Raises OSError or pyarrow.ArrowInvalid if it is damaged.
    """
    with pq.ParquetFile(path, memory_map=False) as file:
        if row_group is not None:
            return file.read_row_group(row_group, columns=columns)
        return file.read(columns=columns)


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def table_columns(table: pa.Table, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Scalar columns as numpy arrays, (N,) each."""
    return {name: table.column(name).to_numpy() for name in names}
