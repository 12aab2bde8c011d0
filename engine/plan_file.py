"""`plan.json`: a plan as a file, one brick a line.

Valid JSON that a person can read and `grep`, and quick for 366,898 bricks: rows of values instead
of names repeated, written line by line, and turned into bricks while it is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from engine.atomic import produce_atomic
from engine.config import UserError
from engine.file_states import FILE_KINDS, file_states_from_list
from engine.plan import (
    PLAN_FORMAT_VERSION,
    PlannedBrick,
    PlannedPartition,
    RunPlan,
    brick_values,
)
from partitions.bricks import Brick, SurveyLayout
from partitions.healpix import Pixel, nside_to_order
from partitions.schema import StampSize

_BRICK_COLUMNS = tuple(field.name for field in fields(Brick))
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def write_plan(path: Path, plan: RunPlan, wip_folder: Path) -> None:
    """Write a plan; a reader sees the old file or the new one."""

    def write(wip: Path) -> None:
        with wip.open("w", encoding="ascii") as file:
            file.writelines(_plan_lines(plan))

    produce_atomic(path, write, wip_folder)


def _plan_lines(plan: RunPlan) -> Iterator[str]:
    """The plan as JSON, its digest near the top."""
    head = {
        "format_version": PLAN_FORMAT_VERSION,
        "digest": plan.digest,
        "engine_version": plan.engine_version,
        "survey": {"root": str(plan.survey.root), "folder": str(plan.survey.folder)},
        "nside": 1 << plan.order,
        "weights": {
            "path": str(plan.weights_path),
            "digest": plan.weights_digest,
            "network": plan.network,
        },
        "quantile_levels": plan.quantile_levels,
        "redshift_range": plan.redshift_range,
        "stamp_size": asdict(plan.stamp_size),
        "batch_size": plan.batch_size,
        # What the values of a brick are; the last is [bytes, time in ns] or null for each file.
        "brick_columns": [*_BRICK_COLUMNS, "num_rows", "files"],
        "files": FILE_KINDS,
    }
    yield "{\n"
    for key, value in head.items():
        yield f'"{key}": {json.dumps(value, allow_nan=False)},\n'
    yield '"partitions": [\n'
    for index, partition in enumerate(plan.partitions):
        yield ",\n" if index else ""
        yield f'{{"pixel": {partition.pixel.number}, "bricks": [\n'
        yield ",\n".join(_brick_line(planned) for planned in partition.bricks)
        yield "\n]}"
    yield "\n]\n}\n"


def _brick_line(planned: PlannedBrick) -> str:
    values = (*brick_values(planned.brick), planned.num_rows, planned.files.as_list())
    return _encode(values)


def read_plan(path: Path) -> RunPlan:
    """The inverse of `write_plan`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UserError
        If it cannot be read, is of another format version or was changed by hand.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, object_hook=_bricks_of_partition)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); choose another --output") from None
    del text
    if not isinstance(data, dict) or data.get("format_version") != PLAN_FORMAT_VERSION:
        other = data.get("format_version") if isinstance(data, dict) else None
        raise UserError(
            f"{path}: plan format {other}, this engine writes "
            f"{PLAN_FORMAT_VERSION}; choose another --output"
        )
    try:
        plan = _plan_of(data)
        digest, found = str(data["digest"]), plan.digest
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); choose another --output") from None
    if found != digest:
        raise UserError(
            f"{path}: digest {digest[:12]} does not fit its content "
            f"({found[:12]}); it was edited, choose another --output"
        )
    return plan


def _bricks_of_partition(data: dict[str, Any]) -> Any:
    """Turn a partition into its pixel number and bricks as soon as it is parsed.

    The lists of all partitions together would take three times the memory of the plan.
    """
    rows = data.get("bricks")
    # Plans of earlier formats have bricks as dicts; they are refused by their version.
    if "pixel" not in data or not isinstance(rows, list) or not all(map(_is_row, rows)):
        return data
    return data["pixel"], tuple(_brick_of_row(row) for row in rows)


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == len(_BRICK_COLUMNS) + 2


def _brick_of_row(row: list[Any]) -> PlannedBrick:
    *geometry, num_rows, files = row
    return PlannedBrick(Brick(*geometry), num_rows, file_states_from_list(files))


def _plan_of(data: dict[str, Any]) -> RunPlan:
    order = nside_to_order(data["nside"])
    return RunPlan(
        survey=SurveyLayout(Path(data["survey"]["root"]), Path(data["survey"]["folder"])),
        order=order,
        weights_path=Path(data["weights"]["path"]),
        weights_digest=data["weights"]["digest"],
        network=data["weights"]["network"],
        quantile_levels=tuple(data["quantile_levels"]),
        redshift_range=(float(data["redshift_range"][0]), float(data["redshift_range"][1])),
        stamp_size=StampSize(**data["stamp_size"]),
        batch_size=data["batch_size"],
        engine_version=data["engine_version"],
        partitions=tuple(
            PlannedPartition(Pixel(order, number), bricks) for number, bricks in data["partitions"]
        ),
    )
