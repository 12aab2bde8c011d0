"""Whether the index holds every source once, with its leaf: then no two leaves share a source.

An index in which every TARGETID stands once, with as many rows as the leaves have together, and
in which every row of every leaf is found with that leaf, leaves no room for a source in two
leaves. So uniqueness over the whole catalogue needs no more memory than a leaf and a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.catalogue.check_rows import first_row
from engine.catalogue.index import INDEX_SCHEMA, IndexReader
from engine.catalogue.layout import INDEX, INDEX_COLUMN, index_path
from engine.catalogue.leaves import read_parquet, table_columns
from partitions.healpix import Pixel


class IndexCheck:
    """Compares the index catalogue with the leaves, one leaf or one part at a time."""

    def __init__(self, catalogue: Path, order: int) -> None:
        self._folder = catalogue / INDEX
        self._order = order
        self.problem: str | None = None
        """Why the index cannot be used; None if it can."""
        self._reader: IndexReader | None = None
        self.num_rows = 0
        """Rows of the parts checked so far."""
        try:
            self._reader = IndexReader.open(self._folder)
        except (OSError, pa.ArrowInvalid, AttributeError) as error:
            self.problem = (
                f"{INDEX}/dataset/_metadata: cannot be read ({error}), "
                "so that no source is in two leaves cannot be shown"
            )

    def leaf(self, targetid: npt.NDArray[np.int64], leaf: Pixel) -> Iterator[tuple[int, str]]:
        """The first row of a leaf that the index does not have, or has elsewhere."""
        if self._reader is None:
            return
        try:
            pixels = self._reader.pixels_of(targetid)
        except (OSError, pa.ArrowException, KeyError):
            return  # `parts` says which part it is.
        row = first_row(pixels == -1)
        if row is not None:
            yield row, f"TARGETID {targetid[row]} is not in {INDEX}"
        row = first_row((pixels != -1) & (pixels != leaf.number))
        if row is not None:
            yield row, f"TARGETID {targetid[row]} is in Npix={pixels[row]} by {INDEX}"

    def parts(self, num_parts: int) -> Iterator[str]:
        """What is wrong in the parts themselves: one line each, with part and row."""
        last: int | None = None
        for number in range(num_parts):
            path = index_path(self._folder, number)
            name = f"{INDEX}/{path.relative_to(self._folder)}"
            try:
                table = read_parquet(path)
            except (OSError, pa.ArrowInvalid) as error:
                yield f"{name}: cannot be read ({error})"
                continue
            self.num_rows += table.num_rows
            if not table.schema.equals(INDEX_SCHEMA):
                yield f"{name}: schema is not that of an index"
                continue
            columns = table_columns(table, INDEX_SCHEMA.names)
            yield from (f"{name}: {line}" for line in self._bad_part(columns, last))
            if table.num_rows:
                last = int(columns[INDEX_COLUMN][-1])

    def _bad_part(
        self, columns: dict[str, npt.NDArray[np.int64]], last: int | None
    ) -> Iterator[str]:
        """Rows must ascend strictly, on from the last TARGETID of the part before."""
        targetid, npix = columns[INDEX_COLUMN], columns["Npix"]
        row = first_row(columns["Norder"] != self._order)
        if row is not None:
            yield f"row {row}: Norder={columns['Norder'][row]}, the leaves have {self._order}"
        if not len(targetid):
            return
        if last is not None and targetid[0] <= last:
            yield f"row 0: TARGETID {targetid[0]} is not after {last} of the part before"
        row = first_row(np.diff(targetid) == 0)
        if row is not None:
            both = f"Npix={npix[row]} and Npix={npix[row + 1]}"
            yield f"row {row + 1}: not unique: TARGETID {targetid[row]} in {both}"
        row = first_row(np.diff(targetid) < 0)
        if row is not None:
            yield f"row {row + 1}: order: TARGETID {targetid[row + 1]} after {targetid[row]}"
