"""Which leaves and row groups can hold rows that are asked for: by pixel, statistics or index.

Leaves of one order in pixel order, each sorted by `_healpix_29`, are one sorted sequence of row
groups. What is kept of it is a few runs; DuckDB reads a run when it is told the leaves and the
run's first and last `_healpix_29`, because with one range it skips row groups by itself (with
several, joined by OR, it does not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.query.coverage import IntArray, overlaps
from engine.query.id_lookup import IdLookup, groups_with_ids
from engine.query.leaf_files import LeafFile, read_footer
from engine.query.selection import Selection
from partitions.healpix import pixels_to_spatial_ranges

# DuckDB takes milliseconds to prepare one, and reads a row group in as much.
_MAX_RUNS = 8


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
    kept: dict[Path, list[int]] = field(default_factory=dict)
    """Leaf -> numbers of the row groups to read."""
    totals: dict[Path, int] = field(default_factory=dict)
    """The same leaves -> row groups that they have."""
    num_rows: int = 0
    """Rows in the row groups to read."""
    footer_bytes: int = 0
    """Footers that were read to find out."""
    num_index_groups: int | None = None
    """Row groups of the TARGETID index that were read to find out; None if it was not used."""

    @property
    def num_row_groups(self) -> int:
        """Row groups to read."""
        return sum(len(numbers) for numbers in self.kept.values())

    def bytes_of(self, columns: set[str]) -> int:
        """Bytes on disk of columns in the row groups to read; reads their footers once more."""
        total = 0
        for path, numbers in self.kept.items():
            footer = pq.read_metadata(path)
            chunks = [n for n in range(footer.num_columns)
                      if footer.schema.column(n).path.split(".")[0] in columns]  # fmt: skip
            for number in numbers:
                group = footer.row_group(number)
                total += sum(group.column(chunk).total_compressed_size for chunk in chunks)
        return total


@dataclass
class _Group:
    """One row group of a leaf that DuckDB will be told of."""

    path: Path
    number: int
    first: int
    last: int
    num_rows: int
    is_kept: bool


def plan_reading(
    catalogue: Path,
    leaves: list[LeafFile],
    schema: pa.Schema,
    selections: Sequence[Selection],
    lookup: IdLookup | None = None,
) -> ReadPlan:
    """Choose leaves by their pixels, then row groups by the statistics in their footers.

    With a `lookup` of the TARGETIDs that are asked for, the leaves are those that it names, and
    the row groups those that hold the ids, unless it names most of the leaves.

    Raises
    ------
    UserError
        If the footer of a leaf to be read is damaged, or a leaf has not what the lookup says.
    """
    wanted = [(selection.column, selection.ranges()) for selection in selections]
    plan = ReadPlan(len(leaves))
    if lookup is not None:
        plan.footer_bytes, plan.num_index_groups = lookup.footer_bytes, lookup.num_row_groups
        if 2 * len(lookup.ids_of_leaf) > len(leaves):
            # To prove it would read every TARGETID once more than the answer does.
            lookup = None
    groups: list[_Group] = []
    for leaf in leaves:
        if lookup is not None and leaf.pixel not in lookup.ids_of_leaf:
            continue
        first, last = pixels_to_spatial_ranges(np.array(leaf.pixel.number), leaf.pixel.order)
        if not all(
            overlaps(ranges, int(first), int(last))
            for column, ranges in wanted
            if column == SPATIAL_INDEX_COLUMN
        ):
            continue
        footer = read_footer(catalogue, leaf, schema)
        plan.footer_bytes += footer.serialized_size
        found = _read_groups(leaf.path, footer, wanted, (int(first), int(last)))
        if lookup is not None:
            kept = [group.number for group in found if group.is_kept]
            chosen = groups_with_ids(catalogue, leaf, kept, lookup.ids_of_leaf[leaf.pixel])
            for group in found:
                group.is_kept = group.number in chosen
        if any(group.is_kept for group in found):
            groups += found
    _fill_gaps(groups)
    _add_groups(plan, groups)
    return plan


def _read_groups(
    path: Path,
    footer: pq.FileMetaData,
    wanted: list[tuple[str, IntArray]],
    leaf_range: tuple[int, int],
) -> list[_Group]:
    """The row groups of a leaf, and which of them may hold rows asked for."""
    chunk_of = {footer.schema.column(n).path: n for n in range(footer.num_columns)}
    groups = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        is_kept = all(
            (limits := _limits(group.column(chunk_of[column]))) is None or overlaps(ranges, *limits)
            for column, ranges in wanted
        )
        index_limits = _limits(group.column(chunk_of[SPATIAL_INDEX_COLUMN]))
        groups.append(_Group(path, number, *(index_limits or leaf_range), group.num_rows, is_kept))
    return groups


def _limits(chunk: pq.ColumnChunkMetaData) -> tuple[int, int] | None:
    """Smallest and largest value of an integer column, None where the file does not say."""
    statistics = chunk.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return int(statistics.min), int(statistics.max)


def _fill_gaps(groups: list[_Group]) -> None:
    """Keep the smallest gaps too until the runs are few, and those that hold no value of their own.

    Two runs that share a `_healpix_29` (sources closer than 0.4 mas) would give a row twice.
    """
    gaps: list[tuple[int, int]] = []
    start = None
    for number, group in enumerate(groups):
        if not group.is_kept:
            continue
        if start is not None and number > start + 1:
            gaps.append((start + 1, number))
        start = number
    gaps.sort(key=lambda gap: sum(group.num_rows for group in groups[gap[0] : gap[1]]))
    num_filled = max(0, len(gaps) + 1 - _MAX_RUNS)
    for number, (begin, end) in enumerate(gaps):
        if number < num_filled or groups[begin - 1].last >= groups[end].first:
            for group in groups[begin:end]:
                group.is_kept = True


def _add_groups(plan: ReadPlan, groups: list[_Group]) -> None:
    """Counts and runs of the groups that are kept."""
    is_adjacent = False
    for group in groups:
        plan.totals[group.path] = plan.totals.get(group.path, 0) + 1
        if group.is_kept:
            plan.kept.setdefault(group.path, []).append(group.number)
            plan.num_rows += group.num_rows
            if not is_adjacent:
                plan.runs.append(Run([], group.first, group.last))
            run = plan.runs[-1]
            run.last = max(run.last, group.last)
            if group.path not in run.paths[-1:]:
                run.paths.append(group.path)
        is_adjacent = group.is_kept
    for run in plan.runs:
        run.is_cut = any(len(plan.kept[path]) < plan.totals[path] for path in run.paths)
