"""Which leaves and row groups can hold rows that are asked for, by pixel and by statistics.

Leaves of one order in pixel order, each sorted by `_healpix_29`, are one sorted sequence of row
groups. What is kept of it is a few runs; DuckDB reads a run when it is told the leaves and the
run's first and last `_healpix_29`, because with one range it skips row groups by itself (with
several, joined by OR, it does not).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.query.coverage import IntArray, overlaps
from engine.query.leaf_files import LeafFile, read_footer
from engine.query.selection import Selection
from partitions.healpix import SPATIAL_INDEX_ORDER


@dataclass
class Run:
    """Row groups in a row: leaves, and the first and last `_healpix_29` in them."""

    paths: list[Path]
    first: int
    last: int
    is_cut: bool = False
    """Whether a leaf in it also has row groups that are not read."""


@dataclass
class ReadPlan:
    """What a query reads."""

    num_leaves: int
    """Leaves of the catalogue."""
    runs: list[Run] = field(default_factory=list)
    leaves: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Leaf -> its row groups to read, and all it has."""
    num_row_groups: int = 0
    """Row groups to read."""
    num_rows: int = 0
    """Rows in them."""
    footer_bytes: int = 0
    """Footers that were read to find out."""
    column_bytes: Counter[str] = field(default_factory=Counter)
    """Column -> its bytes on disk in the row groups to read."""

    def bytes_of(self, columns: set[str]) -> int:
        """Bytes on disk of columns in the row groups to read."""
        return sum(self.column_bytes[name] for name in columns)


def plan_reading(
    catalogue: Path, leaves: list[LeafFile], schema: pa.Schema, selections: Sequence[Selection]
) -> ReadPlan:
    """Choose leaves by their pixels, then row groups by the statistics in their footers.

    Raises
    ------
    UserError
        If the footer of a leaf to be read is damaged.
    """
    wanted = [(selection.column, selection.ranges()) for selection in selections]
    plan = ReadPlan(len(leaves))
    is_adjacent = False
    for leaf in leaves:
        shift = 2 * (SPATIAL_INDEX_ORDER - leaf.pixel.order)
        first, last = leaf.pixel.number << shift, ((leaf.pixel.number + 1) << shift) - 1
        if not all(
            overlaps(ranges, first, last)
            for column, ranges in wanted
            if column == SPATIAL_INDEX_COLUMN
        ):
            continue  # DuckDB is not told of this leaf, so it does not end a run.
        footer = read_footer(catalogue, leaf, schema)
        plan.footer_bytes += footer.serialized_size
        kept = [_may_match(footer.row_group(n), wanted) for n in range(footer.num_row_groups)]
        if not any(kept):
            continue
        plan.leaves[leaf.path] = (sum(kept), len(kept))
        for number, is_kept in enumerate(kept):
            if is_kept:
                _take(plan, leaf, footer.row_group(number), (first, last), is_adjacent)
            is_adjacent = is_kept
    for run in plan.runs:
        run.is_cut = any(kept < total for kept, total in (plan.leaves[p] for p in run.paths))
    return plan


def _may_match(group: pq.RowGroupMetaData, wanted: list[tuple[str, IntArray]]) -> bool:
    for column, ranges in wanted:
        limits = _limits(group, column)
        if limits is not None and not overlaps(ranges, *limits):
            return False
    return True


def _limits(group: pq.RowGroupMetaData, column: str) -> tuple[int, int] | None:
    """Smallest and largest value of an integer column, None where the file does not say."""
    index = next(n for n in range(group.num_columns) if group.column(n).path_in_schema == column)
    statistics = group.column(index).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return int(statistics.min), int(statistics.max)


def _take(
    plan: ReadPlan,
    leaf: LeafFile,
    group: pq.RowGroupMetaData,
    leaf_range: tuple[int, int],
    is_adjacent: bool,
) -> None:
    plan.num_row_groups += 1
    plan.num_rows += group.num_rows
    for number in range(group.num_columns):
        chunk = group.column(number)
        name = chunk.path_in_schema.split(".")[0]
        plan.column_bytes[name] += chunk.total_compressed_size
    first, last = _limits(group, SPATIAL_INDEX_COLUMN) or leaf_range
    # Sources closer than 0.4 mas may share a value across the edge of a run: one run, no row twice.
    if plan.runs and (is_adjacent or first <= plan.runs[-1].last):
        run = plan.runs[-1]
        run.last = max(run.last, last)
        if run.paths[-1] != leaf.path:
            run.paths.append(leaf.path)
    else:
        plan.runs.append(Run([leaf.path], first, last))
