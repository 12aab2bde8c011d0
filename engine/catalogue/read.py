"""Read a finished catalogue: its parts, its leaves and chosen columns.

A catalogue is named by the folder of the collection; the folder of its primary catalogue alone
does as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.layout import (
    COLLECTION_PROPERTIES,
    COMMON_METADATA,
    PARTITION_INFO,
    PROPERTIES_FILES,
    leaf_path,
)
from engine.catalogue.leaves import read_parquet, table_columns
from engine.config import UserError
from partitions.healpix import Pixel


def primary_folder(catalogue: Path) -> Path:
    """The folder of the primary catalogue: where `leaf_path` finds the leaves.

    Raises
    ------
    UserError
        If the folder is no finished catalogue.
    """
    if (catalogue / COLLECTION_PROPERTIES).exists():
        collection = read_properties_file(catalogue / COLLECTION_PROPERTIES)
        return catalogue / collection.get("hats_primary_table_url", "")
    if any((catalogue / name).exists() for name in PROPERTIES_FILES):
        return catalogue
    raise UserError(
        f"{catalogue}: no finished catalogue (no {COLLECTION_PROPERTIES}); "
        "name the catalogue/ folder of a run, or repeat `engine finish`"
    )


def read_properties(catalogue: Path) -> dict[str, str]:
    """The properties of the primary catalogue.

    Raises
    ------
    UserError
        If the folder is no finished catalogue.
    """
    return read_properties_file(primary_folder(catalogue) / PROPERTIES_FILES[1])


def read_properties_file(path: Path) -> dict[str, str]:
    """One properties file.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); repeat `engine finish`") from None
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def read_leaf_pixels(catalogue: Path) -> list[Pixel]:
    """The leaves that the catalogue says it has, in pixel order.

    Raises
    ------
    UserError
        If partition_info.csv is missing or damaged.
    """
    path = primary_folder(catalogue) / PARTITION_INFO
    try:
        lines = path.read_text().splitlines()[1:]
        return [Pixel(*(int(number) for number in line.split(","))) for line in lines if line]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); repeat `engine finish`") from None


def read_schema(catalogue: Path) -> pa.Schema:
    """The schema that all leaves share, with the meaning of its columns in its metadata.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    path = primary_folder(catalogue) / COMMON_METADATA
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read ({error}); repeat `engine finish`") from None


def iterate_tables(catalogue: Path, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns leaf by leaf, so that memory holds one leaf.

    Raises
    ------
    UserError
        If a leaf is missing or damaged.
    """
    folder = primary_folder(catalogue)
    for pixel in read_leaf_pixels(catalogue):
        path = leaf_path(folder, pixel)
        try:
            table = read_parquet(path, columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{path}: leaf cannot be read ({error}); repeat `engine finish`"
            ) from None
        yield table


def iterate_columns(catalogue: Path, columns: list[str]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Scalar columns leaf by leaf, (N,) each; as `iterate_tables`."""
    for table in iterate_tables(catalogue, columns):
        yield table_columns(table, columns)


def read_columns(catalogue: Path, columns: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Scalar columns of the whole catalogue, (N,) each: for small ones."""
    empty = table_columns(read_schema(catalogue).empty_table(), columns)
    parts = [empty, *iterate_columns(catalogue, columns)]
    return {name: np.concatenate([part[name] for part in parts]) for name in columns}
