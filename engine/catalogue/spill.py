"""Rows on their way from the leaves to the margin and the index, in files of the wip folder.

Leaves come one by one and every margin and every part of the index takes rows of several, so the
rows wait on disk: memory holds one leaf, or one margin or part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.catalogue.index import index_part, index_table
from engine.catalogue.layout import MARGIN_RADIUS_ARCSEC
from engine.catalogue.leaves import read_parquet, sort_rows, table_columns, write_parquet
from engine.catalogue.margin import rows_in_margins
from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from partitions.healpix import Pixel

_PAIR = np.dtype([("targetid", "<i8"), ("npix", "<i8")])


def margins_of_leaf(table: pa.Table, leaf: Pixel) -> dict[Pixel, npt.NDArray[np.int64]]:
    """Neighbour -> rows of the leaf that belong to its margin."""
    columns = table_columns(table, ["RA", "DEC", SPATIAL_INDEX_COLUMN])
    return rows_in_margins(
        columns["RA"], columns["DEC"], columns[SPATIAL_INDEX_COLUMN], leaf, MARGIN_RADIUS_ARCSEC
    )


class MarginSpill:
    """Margin rows of the leaves seen so far: one Parquet file a pixel and leaf."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: dict[Pixel, list[Pixel]] = {}

    def add(self, table: pa.Table, leaf: Pixel) -> None:
        """Keep the rows of one leaf that lie in the margins of its neighbours.

        Neighbours without a leaf of their own are no exception: a source of another catalogue
        may lie there and match a row of this one.
        """
        for pixel, rows in margins_of_leaf(table, leaf).items():
            path = self._path(pixel, leaf)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(table.take(pa.array(rows)), path)
            self._sources.setdefault(pixel, []).append(leaf)

    def pixels(self) -> list[Pixel]:
        """The pixels that have a margin, in order."""
        return sorted(self._sources)

    def read(self, pixel: Pixel) -> pa.Table:
        """The margin of one pixel, in the order of a leaf."""
        tables = [read_parquet(self._path(pixel, leaf)) for leaf in self._sources[pixel]]
        return sort_rows(pa.concat_tables(tables))

    def _path(self, pixel: Pixel, leaf: Pixel) -> Path:
        return self._folder / str(pixel) / f"{leaf}.parquet"


class IndexSpill:
    """TARGETIDs of the leaves seen so far: one file for each part of the index."""

    def __init__(self, folder: Path, order: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._order = order
        self._num_rows: dict[int, int] = {}

    def add(self, targetid: npt.NDArray[np.int64], leaf: Pixel) -> None:
        """Append the rows of one leaf, (N,)."""
        pairs = np.empty(len(targetid), dtype=_PAIR)
        pairs["targetid"], pairs["npix"] = np.sort(targetid), leaf.number
        parts, begins = np.unique(index_part(pairs["targetid"]), return_index=True)
        for part, rows in zip(parts.tolist(), np.split(pairs, begins[1:]), strict=True):
            with self._path(part).open("ab") as file:
                rows.tofile(file)
            self._num_rows[part] = self._num_rows.get(part, 0) + len(rows)

    def parts(self) -> list[int]:
        """The parts that have rows, in order of TARGETID."""
        return sorted(self._num_rows)

    def read(self, part: int) -> pa.Table:
        """The rows of one part, by TARGETID."""
        pairs = np.fromfile(self._path(part), dtype=_PAIR)
        if len(pairs) != self._num_rows[part]:
            raise OSError(f"{self._path(part)}: {len(pairs)} of {self._num_rows[part]} rows")
        pairs.sort(order=["targetid", "npix"])
        return index_table(pairs["targetid"], pairs["npix"], self._order)

    def _path(self, part: int) -> Path:
        return self._folder / f"{part}.bin"
