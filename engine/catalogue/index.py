"""The index catalogue: TARGETID -> the leaf that holds it, so that one source is found at once.

Rows are in order of TARGETID over all parts. A part holds 512 consecutive bricks of one RELEASE,
a few million rows of DR10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.layout import INDEX_COLUMN, METADATA
from engine.catalogue.leaves import read_parquet

INDEX_SCHEMA = pa.schema(
    [
        pa.field(INDEX_COLUMN, pa.int64(), nullable=False),
        # Types as hats-import writes them.
        pa.field("Norder", pa.uint8(), nullable=False),
        pa.field("Npix", pa.uint64(), nullable=False),
    ]
)

# OBJID has 22 bits and BRICKID the next 20: 9 of those are 512 bricks.
_PART_BITS = 22 + 9


def index_part(targetid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The part of the index that a source belongs to, (N,); parts ascend with TARGETID."""
    return targetid >> _PART_BITS


def index_table(
    targetid: npt.NDArray[np.int64], npix: npt.NDArray[np.int64], order: int
) -> pa.Table:
    """Rows of the index in the order given: (N,) identifiers and the pixels of their leaves."""
    columns = {
        INDEX_COLUMN: targetid,
        "Norder": np.full(len(targetid), order, dtype=np.uint8),
        "Npix": npix.astype(np.uint64),
    }
    return pa.table(columns, schema=INDEX_SCHEMA)


@dataclass(frozen=True)
class IndexReader:
    """Looks sources up, reading only the row groups that can hold them."""

    folder: Path
    """The index catalogue."""
    row_groups: tuple[tuple[str, int], ...]
    """File in dataset/ and number in that file of every row group, in order of TARGETID."""
    least: npt.NDArray[np.int64]
    """(G,) smallest TARGETID of each row group."""
    largest: npt.NDArray[np.int64]
    """(G,) largest."""

    @classmethod
    def open(cls, folder: Path) -> IndexReader:
        """Read the index's `_metadata`.

        Raises
        ------
        OSError, pyarrow.ArrowInvalid
            If it is missing or damaged.
        """
        footer = pq.read_metadata(folder / METADATA)
        groups = []
        place: dict[str, int] = {}
        for number in range(footer.num_row_groups):
            column = footer.row_group(number).column(0)
            in_file = place.get(column.file_path, 0)
            place[column.file_path] = in_file + 1
            limits = column.statistics
            groups.append((limits.min, limits.max, column.file_path, in_file))
        groups.sort()
        return cls(
            folder,
            tuple((file, in_file) for _, _, file, in_file in groups),
            np.array([group[0] for group in groups], dtype=np.int64),
            np.array([group[1] for group in groups], dtype=np.int64),
        )

    def groups_of(self, targetid: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Row groups that can hold some of sorted TARGETIDs, (N,): number, and first and end."""
        begins = np.searchsorted(targetid, self.least, side="left")
        ends = np.searchsorted(targetid, self.largest, side="right")
        for group in np.flatnonzero(ends > begins).tolist():
            yield group, int(begins[group]), int(ends[group])

    def pixels_of(self, targetid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(N,) Npix of each source, -1 for one that the index does not have.

        Raises
        ------
        OSError, pyarrow.ArrowInvalid
            If a part is missing or damaged.
        """
        order = np.argsort(targetid, kind="stable")
        wanted = targetid[order]
        found = np.full(len(targetid), -1, dtype=np.int64)
        for group, begin, end in self.groups_of(wanted):
            file, number = self.row_groups[group]
            path = self.folder / "dataset" / file
            rows = read_parquet(path, [INDEX_COLUMN, "Npix"], row_group=number)
            known = rows.column(INDEX_COLUMN).to_numpy()
            asked = wanted[begin:end]
            place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
            hit = known[place] == asked
            pixels = rows.column("Npix").to_numpy()[place].astype(np.int64)
            found[order[begin:end][hit]] = pixels[hit]
        return found
