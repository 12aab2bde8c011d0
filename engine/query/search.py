"""A question to a catalogue, and its answer as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from engine.catalogue.read import read_properties, read_schema
from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.config import UserError
from engine.query.id_lookup import find_leaves
from engine.query.leaf_files import check_leaf_files
from engine.query.pruning import ReadPlan, plan_reading
from engine.query.sandbox import VIEW, Sandbox, unknown_column
from engine.query.selection import Selection, TargetIds

# 1 to 30 MB, by the columns.
_BATCH_ROWS = 50_000


class Answer:
    """Rows of a catalogue that are asked for; nothing is read before they are.

    Use it as a context, or call `close`.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        statement: str,
        schema: pa.Schema,
        limit: int | None,
        plan: ReadPlan,
        read_columns: set[str],
    ) -> None:
        self._sandbox = sandbox
        self._statement = statement
        self._limit = limit
        self.plan = plan
        """Leaves and row groups that it reads."""
        self.read_columns = read_columns
        """Columns that it reads, those of conditions included."""
        self.schema = schema
        """Columns of the answer; those of the catalogue keep its types."""

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and memory."""
        self._sandbox.close()

    @property
    def planned_bytes(self) -> int:
        """Bytes on disk of the columns and row groups that it reads."""
        return self.plan.bytes_of(self.read_columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the order of the catalogue (or of the statement), so that memory stays flat.

        Raises
        ------
        UserError
            If a leaf cannot be read, or the statement cannot be computed.
        """
        yield from self._batches(self._limit)

    def head(self, num_rows: int) -> pa.Table:
        """The first rows in memory."""
        limit = num_rows if self._limit is None else min(num_rows, self._limit)
        return pa.Table.from_batches(self._batches(limit), schema=self.schema)

    def _batches(self, limit: int | None) -> Iterator[pa.RecordBatch]:
        limited = "" if limit is None else f" LIMIT {limit}"
        statement = f"FROM ({self._statement}\n){limited}"
        for batch in self._sandbox.batches(statement, _BATCH_ROWS):
            if batch.num_rows:
                yield pa.record_batch(
                    [
                        column.cast(field.type)
                        for column, field in zip(batch.columns, self.schema, strict=True)
                    ],
                    schema=self.schema,
                )

    def read(self) -> pa.Table:
        """All rows in memory."""
        return pa.Table.from_batches(self.batches(), schema=self.schema)

    def count(self) -> int:
        """Rows that match, those beyond the limit included; reads only what decides."""
        return self._sandbox.count(self._statement)

    def count_missing_ids(self) -> int:
        """TARGETIDs asked for that the selected part of the catalogue does not have."""
        return self._sandbox.count_missing_ids()


def query(
    catalogue: Path | str,
    *selections: Selection,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    sql: str | None = None,
    limit: int | None = None,
) -> Answer:
    """Rows of a catalogue.

    Parameters
    ----------
    catalogue
        The catalogue/ folder of a run.
    selections
        Cone, Box, Polygon, Pixels, TargetIds; a row must be in all of them.
    columns
        All of them if None.
    where
        A condition in SQL (DuckDB).
    sql
        One SELECT statement instead of `columns` and `where`, FROM catalogue: the rows of the
        selections.
    limit
        Rows at most.

    Raises
    ------
    UserError
        If this is no whole catalogue, its index is damaged and needed, or the question cannot be
        asked.
    """
    folder = Path(catalogue)
    leaves = check_leaf_files(folder)
    schema = read_schema(folder)
    if sql is not None and (columns is not None or where is not None):
        raise UserError("--sql: says itself what to read; leave out --columns and --where")
    if limit is not None and limit < 0:
        raise UserError(f"--limit {limit}: give a number of rows")
    chosen = None if columns is None else resolve_columns(columns, schema.names)
    ids = [one for one in selections if isinstance(one, TargetIds)]
    if len(ids) > 1:
        raise UserError("ids: two lists; give one")
    # A region leaves fewer leaves than the ids would, and is tested by the leaves alone.
    lookup = None
    if ids and ids[0].use_index and len(selections) == 1:
        lookup = find_leaves(folder, leaves, ids[0].unique())
    plan = plan_reading(folder, leaves, schema, selections, lookup)
    conditions = [one.condition() for one in selections]
    targetid = ids[0].unique().tolist() if ids else []
    sandbox = Sandbox(folder, schema, plan.runs, conditions, targetid)
    try:
        if where is not None:
            sandbox.check_condition(where)
        statement = sql if sql is not None else _statement(chosen or schema.names, where)
        statement, read_columns = sandbox.check_select(statement)
        for condition in conditions:
            _, columns_too = sandbox.check_select(f"SELECT 1 FROM {VIEW} WHERE {condition}")
            read_columns |= columns_too
        if any(run.is_cut for run in plan.runs):
            read_columns.add(SPATIAL_INDEX_COLUMN)
        own = _own_types(sandbox.columns(statement), schema, may_be_null=sql is not None)
        return Answer(sandbox, statement, own, limit, plan, read_columns)
    except BaseException:
        sandbox.close()
        raise


def default_columns(catalogue: Path) -> list[str]:
    """The columns that the catalogue itself proposes to show."""
    return read_properties(catalogue)["hats_cols_default"].split()


def resolve_columns(wanted: Sequence[str], names: list[str]) -> list[str]:
    """Columns by name, upper or lower case.

    Raises
    ------
    UserError
        If one is not there, is named twice, or none is named.
    """
    by_lower = {name.lower(): name for name in names}
    found = []
    for name in wanted:
        column = by_lower.get(name.strip().lower())
        if column is None:
            raise unknown_column(name.strip(), names)
        if column in found:
            raise UserError(f"--columns: {column} is named twice")
        found.append(column)
    if not found:
        raise UserError("--columns: names no column")
    return found


def _statement(columns: list[str], where: str | None) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    condition = "" if where is None else f" WHERE (\n{where}\n)"
    return f"SELECT {names} FROM {VIEW}{condition}"


def _own_types(found: pa.Schema, catalogue: pa.Schema, may_be_null: bool) -> pa.Schema:
    """DuckDB's types, but the catalogue's for its own columns, and its metadata."""
    fields = []
    for column in found:
        index = catalogue.get_field_index(column.name)
        own = catalogue.field(index) if index >= 0 else None
        if own is not None and _same_kind(column.type, own.type):
            fields.append(own.with_nullable(may_be_null))
        else:
            fields.append(column)
    return pa.schema(fields, catalogue.metadata)


def _same_kind(found: pa.DataType, own: pa.DataType) -> bool:
    """Whether DuckDB reads the one as the other; it knows no lists of fixed size in Parquet."""
    if pa.types.is_fixed_size_list(own):
        return bool(pa.types.is_list(found) and found.value_type == own.value_type)
    return bool(found == own)
