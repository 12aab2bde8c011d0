"""Columns of chosen leaves, the quantiles included, one leaf at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.catalogue.layout import leaf_path
from engine.catalogue.leaves import read_parquet
from engine.catalogue.read import primary_folder, read_leaf_pixels, read_schema
from engine.catalogue.schema import QUANTILE_COLUMN, schema_quantile_levels
from engine.config import UserError
from partitions.healpix import Pixel

Columns = dict[str, npt.NDArray[Any]]


def iterate_leaves(
    catalogue: Path, columns: Sequence[str], pixels: Iterable[Pixel] | None = None
) -> Iterator[tuple[Pixel, Columns]]:
    """Leaf by leaf: its pixel and its columns, (N,) each, the quantiles (N, Q).

    Memory holds one leaf. Without `pixels`, all leaves of the catalogue.

    Raises
    ------
    UserError
        If a leaf is missing or damaged, or has no such column.
    """
    primary = primary_folder(catalogue)
    for pixel in read_leaf_pixels(catalogue) if pixels is None else pixels:
        path = leaf_path(primary, pixel)
        try:
            table = read_parquet(path, list(columns))
            found = {name: _to_numpy(table.column(name)) for name in columns}
        except (OSError, ValueError, KeyError) as error:  # pyarrow.ArrowInvalid is a ValueError.
            raise UserError(
                f"{path}: leaf cannot be read ({error}); repeat `engine finish`"
            ) from None
        yield pixel, found


def _to_numpy(column: Any) -> npt.NDArray[Any]:
    """(N,) values of a scalar column, (N, Q) of a list column."""
    width = getattr(column.type, "list_size", None)
    if width is None:
        return np.asarray(column.to_numpy())
    return np.asarray(column.combine_chunks().flatten().to_numpy()).reshape(-1, width)


def catalogue_columns(catalogue: Path) -> tuple[str, ...]:
    """Names of all columns, in order.

    Raises
    ------
    UserError
        If the catalogue has no schema that can be read.
    """
    return tuple(read_schema(catalogue).names)


def quantile_levels(catalogue: Path) -> npt.NDArray[np.float64]:
    """(Q,) cumulative probabilities of the column of quantiles, increasing.

    Raises
    ------
    UserError
        If the schema carries none.
    """
    try:
        return np.array(schema_quantile_levels(read_schema(catalogue)))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{catalogue}: its schema has no photoz_quantile_levels, so {QUANTILE_COLUMN} cannot "
            "be read; name the catalogue/ folder of a run"
        ) from None
