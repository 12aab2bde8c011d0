"""An answer for the terminal: an aligned table, and how much of it is not shown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.query.search import Answer

_MAX_LEAVES = 10
_POSITIONS = ("RA", "DEC")


def table_lines(table: pa.Table) -> list[str]:
    """A line of names and a line a row; numbers to the right, text to the left."""
    columns = []
    for name, values in zip(table.column_names, table.columns, strict=True):
        cells = [_cell(name, value) for value in values.to_pylist()]
        width = max(len(cell) for cell in (name, *cells))
        is_text = pa.types.is_string(values.type)
        columns.append([cell.ljust(width) if is_text else cell.rjust(width)
                        for cell in (name, *cells)])  # fmt: skip
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def plan_lines(catalogue: Path, answer: Answer) -> list[str]:
    """What will be read: leaves, row groups, bytes."""
    plan = answer.plan
    lines = [
        f"leaves      {len(plan.kept):,} of {plan.num_leaves:,}",
        f"row groups  {plan.num_row_groups:,} of {sum(plan.totals.values()):,} in these leaves, "
        f"{plan.num_rows:,} rows",
        f"columns     {', '.join(sorted(answer.read_columns)) or 'none'}",
        f"bytes       {answer.planned_bytes:,} of these columns at most, "
        f"after {plan.footer_bytes:,} of footers",
    ]
    if plan.num_index_groups is not None:
        lines.append(f"index       {plan.num_index_groups:,} row groups of the TARGETID index")
    shown = list(plan.kept.items())[:_MAX_LEAVES]
    for path, numbers in shown:
        name = path.relative_to(catalogue)
        lines.append(f"  {name}  row groups {len(numbers)} of {plan.totals[path]}")
    if len(plan.kept) > len(shown):
        lines.append(f"  ... and {len(plan.kept) - len(shown):,} more")
    return lines


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """A record a row; what JSON has no word for (NaN, dates) is null or text."""
    return [{name: _json(value) for name, value in row.items()} for row in table.to_pylist()]


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_json(item) for item in value]
    return value if isinstance(value, int | str | None) else str(value)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        if name in _POSITIONS:
            return f"{value:.6f}"
        return f"{value:.5g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return f"[{len(value)} values]"
    return str(value)
