"""Whether each margin holds exactly the rows it should: those of the leaves around it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.catalogue.check_rows import bad_order, first_row
from engine.catalogue.layout import MARGIN, MARGIN_RADIUS_ARCSEC, PRIMARY, leaf_path
from engine.catalogue.leaves import read_parquet, table_columns
from engine.catalogue.schema import SORT_COLUMNS, SPATIAL_INDEX_COLUMN, schema_difference
from engine.catalogue.spill import margins_of_leaf
from partitions.healpix import Pixel, neighbours, spatial_index_to_pixel

# A leaf touches 8 margins, and the next one in NESTED order mostly the same.
_MARGINS_IN_MEMORY = 32


class MarginCheck:
    """Compares the margin catalogue with the primary one, leaf by leaf."""

    def __init__(
        self, catalogue: Path, leaves: list[Pixel], margins: list[Pixel], schema: pa.Schema
    ) -> None:
        self._catalogue = catalogue
        self._leaves = set(leaves)
        self._margins = set(margins)
        self._schema = schema
        self._read = lru_cache(maxsize=_MARGINS_IN_MEMORY)(self._read_margin)

    def name(self, pixel: Pixel) -> str:
        """Path of a margin in the collection."""
        return leaf_path(Path(MARGIN), pixel).as_posix()

    def leaf(self, table: pa.Table, leaf: Pixel) -> Iterator[str]:
        """Margin rows of one leaf: none missing, none too many, all equal to the leaf's."""
        expected = margins_of_leaf(table, leaf)
        around = set(neighbours(leaf)) & self._margins
        none = np.zeros(0, dtype=np.int64)
        for pixel in sorted(around | expected.keys()):
            rows = expected.get(pixel, none)
            if pixel not in self._margins:
                yield (
                    f"{self.name(pixel)}: missing, though row {rows[0]} of "
                    f"{leaf_path(Path(PRIMARY), leaf)} is within {MARGIN_RADIUS_ARCSEC:g} arcsec"
                )
                continue
            margin, own = self._read(pixel)
            if margin is not None:
                found = np.flatnonzero(own == leaf.number)
                yield from self._compare(table, leaf, rows, margin, pixel, found)

    def files(self) -> Iterator[str]:
        """What is wrong in a margin by itself: one line each, with file and row."""
        for pixel in sorted(self._margins):
            path = leaf_path(self._catalogue / MARGIN, pixel)
            try:
                table = read_parquet(path)
            except (OSError, pa.ArrowInvalid) as error:
                yield f"{self.name(pixel)}: cannot be read ({error})"
                continue
            if not table.schema.equals(self._schema, check_metadata=True):
                yield f"{self.name(pixel)}: {schema_difference(table.schema, self._schema)}"
                continue
            columns = table_columns(table, list(SORT_COLUMNS))
            for what, number, detail in bad_order(columns):
                yield f"{self.name(pixel)}: row {number}: {what}: {detail}"
            own = spatial_index_to_pixel(columns[SPATIAL_INDEX_COLUMN], pixel.order)
            row = first_row(own == pixel.number)
            if row is not None:
                yield f"{self.name(pixel)}: row {row}: inside: it lies in Npix={own[row]} itself"
            around = [near.number for near in neighbours(pixel) if near in self._leaves]
            row = first_row(~np.isin(own, [*around, pixel.number]))
            if row is not None:
                yield (
                    f"{self.name(pixel)}: row {row}: of no leaf beside it: it lies in "
                    f"Npix={own[row]}"
                )

    def _read_margin(self, pixel: Pixel) -> tuple[pa.Table | None, npt.NDArray[np.int64]]:
        """A margin and the own pixel of each of its rows; None if `files` will complain of it."""
        try:
            table = read_parquet(leaf_path(self._catalogue / MARGIN, pixel))
        except (OSError, pa.ArrowInvalid):
            return None, np.zeros(0, dtype=np.int64)
        if not table.schema.equals(self._schema, check_metadata=True):
            return None, np.zeros(0, dtype=np.int64)
        index = table.column(SPATIAL_INDEX_COLUMN).to_numpy()
        return table, spatial_index_to_pixel(index, pixel.order)

    def _compare(
        self,
        table: pa.Table,
        leaf: Pixel,
        rows: npt.NDArray[np.int64],
        margin: pa.Table,
        pixel: Pixel,
        found: npt.NDArray[np.int64],
    ) -> Iterator[str]:
        name, of_leaf = self.name(pixel), leaf_path(Path(PRIMARY), leaf).as_posix()
        all_ids = table.column("TARGETID").to_numpy()
        there = margin.column("TARGETID").to_numpy()[found]
        row = first_row(~np.isin(all_ids[rows], there))
        if row is not None:
            yield (
                f"{name}: TARGETID {all_ids[rows[row]]} is missing: row {rows[row]} of {of_leaf} "
                f"is within {MARGIN_RADIUS_ARCSEC:g} arcsec"
            )
        row = first_row(~np.isin(there, all_ids[rows]))
        if row is not None:
            why = f"is not within {MARGIN_RADIUS_ARCSEC:g} arcsec"
            if not np.isin(there[row], all_ids):
                why = f"is no row of {of_leaf}"
            yield f"{name}: row {found[row]}: TARGETID {there[row]} {why}"
        _, here, place = np.intersect1d(all_ids[rows], there, return_indices=True)
        left, right = table.take(pa.array(rows[here])), margin.take(pa.array(found[place]))
        for column in self._schema.names:
            row = first_row(_differ(left.column(column), right.column(column)))
            if row is not None:
                yield (
                    f"{name}: row {found[place[row]]}: {column} differs from row "
                    f"{rows[here[row]]} of {of_leaf}"
                )


def _differ(left: pa.ChunkedArray, right: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """(N,) whether two columns differ, bit by bit: NaN equals itself."""
    return np.asarray(np.any(_comparable(left) != _comparable(right), axis=1))


def _comparable(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """(N, values of a row)."""
    array = column.combine_chunks()
    num_rows = len(array)
    if pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = values.view(f"i{values.dtype.itemsize}")
    return np.asarray(values.reshape(num_rows, -1)) if num_rows else np.zeros((0, 1))
