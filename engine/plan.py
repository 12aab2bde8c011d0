"""A plan is data: what a run will do, frozen and written before any work.

The machine is no part of it, so the same plan gives the same catalogue on a laptop and on a
cluster. Its digest covers what decides the output's bytes (order, weights, stamp and batch size,
bricks); the state of the survey's files is recorded beside it and compared brick by brick.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.config import RunConfig, UserError
from model.weights import load_weights
from partitions.bricks import Brick, SurveyLayout
from partitions.dr10 import count_tractor_rows, open_survey, read_bricks
from partitions.healpix import Pixel, nside_to_order
from partitions.schema import ARRAY_FORMAT_VERSION, BANDS, StampSize
from partitions.tiling import assign_partitions, select_bricks

PLAN_FORMAT_VERSION = 2

FileState = tuple[int, int]
"""Size in bytes and modification time in ns of one survey file."""


@dataclass(frozen=True)
class PlannedBrick:
    """One brick and the files that the run will read of it."""

    brick: Brick
    num_rows: int | None
    """Rows of its Tractor table, non-primary ones included; None where the header is unreadable."""
    files: dict[str, FileState]
    """`tractor` and `image-<band>` -> state; a file that is not there is left out."""

    @property
    def num_bytes(self) -> int:
        """Bytes to read."""
        return sum(size for size, _ in self.files.values())


@dataclass(frozen=True)
class PlannedPartition:
    """The unit of scheduling, failure and retry: the bricks whose centre lies in one pixel."""

    pixel: Pixel
    bricks: tuple[PlannedBrick, ...]


@dataclass(frozen=True)
class RunPlan:
    """Everything that decides the bytes of a catalogue, and the files it is made from."""

    survey: SurveyLayout
    order: int
    """HEALPix order of partitions and leaves, log2(nside)."""
    weights_path: Path
    weights_digest: str
    network: str
    quantile_levels: tuple[float, ...]
    redshift_range: tuple[float, float]
    """First and last edge of the weights' redshift grid: no estimate can lie outside."""
    stamp_size: StampSize
    batch_size: int
    engine_version: str
    """Version of this package: another one may compute other numbers."""
    partitions: tuple[PlannedPartition, ...]

    @cached_property
    def digest(self) -> str:
        """sha256 of what decides the output's bytes."""
        identity = {
            "format_version": PLAN_FORMAT_VERSION,
            "order": self.order,
            "weights": self.weights_digest,
            "stamp_size": asdict(self.stamp_size),
            "batch_size": self.batch_size,
            "engine_version": self.engine_version,
            "array_format_version": ARRAY_FORMAT_VERSION,
            # vars: asdict copies deeply, 3 of the 15 s that a plan of 338,000 bricks takes to read.
            "bricks": [vars(planned.brick) for planned in self.bricks()],
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def bricks(self) -> Iterator[PlannedBrick]:
        """All bricks, partition by partition."""
        for partition in self.partitions:
            yield from partition.bricks

    @property
    def num_bricks(self) -> int:
        return sum(len(partition.bricks) for partition in self.partitions)

    @property
    def num_rows(self) -> int:
        """Rows of all Tractor tables whose header is readable."""
        return sum(planned.num_rows or 0 for planned in self.bricks())

    @property
    def num_bytes(self) -> int:
        return sum(planned.num_bytes for planned in self.bricks())


def make_plan(config: RunConfig) -> RunPlan:
    """Look at the survey and the weights; decide what to do. Reads headers, never pixels.

    Raises
    ------
    UserError, SurveyError, WeightsError
        If the survey, the selection, nside or the weights cannot be used.
    """
    try:
        order = nside_to_order(config.nside)
    except ValueError as error:
        raise UserError(f"--healpix-nside: {error}") from None
    layout = open_survey(config.survey)
    weights = load_weights(config.weights)
    chosen = select_bricks(read_bricks(layout), config.region, config.brick_names)
    partitions = tuple(
        PlannedPartition(pixel, tuple(_plan_brick(layout, brick) for brick in bricks))
        for pixel, bricks in assign_partitions(chosen, order).items()
    )
    return RunPlan(
        survey=SurveyLayout(layout.root.resolve(), layout.folder.resolve()),
        order=order,
        weights_path=config.weights.resolve(),
        weights_digest=weights.digest,
        network=weights.network_config.name,
        quantile_levels=weights.quantile_levels,
        redshift_range=(float(weights.grid.edges[0]), float(weights.grid.edges[-1])),
        stamp_size=weights.stamp_size,
        batch_size=config.batch_size or weights.network_config.cpu_batch_size,
        engine_version=version("photoz-engine"),
        partitions=partitions,
    )


def _plan_brick(layout: SurveyLayout, brick: Brick) -> PlannedBrick:
    files = survey_file_states(layout, brick.name)
    path = layout.brick_file("tractor", brick.name)
    num_rows = count_tractor_rows(path) if "tractor" in files else None
    return PlannedBrick(brick, num_rows, files)


def survey_file_states(layout: SurveyLayout, brick_name: str) -> dict[str, FileState]:
    """Size and modification time of the files that a run reads of one brick.

    A missing band is normal; a missing Tractor table is met when it is read.
    """
    paths = {"tractor": layout.brick_file("tractor", brick_name)}
    paths |= {f"image-{band}": layout.brick_file("image", brick_name, band) for band in BANDS}
    files: dict[str, FileState] = {}
    for kind, path in paths.items():
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        files[kind] = (status.st_size, status.st_mtime_ns)
    return files


def plan_to_json(plan: RunPlan) -> dict[str, Any]:
    """The plan as JSON-ready data, its digest first."""
    return {
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
        "quantile_levels": list(plan.quantile_levels),
        "redshift_range": list(plan.redshift_range),
        "stamp_size": asdict(plan.stamp_size),
        "batch_size": plan.batch_size,
        "partitions": [
            {
                "pixel": partition.pixel.number,
                "bricks": [
                    {**asdict(planned.brick), "num_rows": planned.num_rows, "files": planned.files}
                    for planned in partition.bricks
                ],
            }
            for partition in plan.partitions
        ],
    }


def plan_from_json(data: dict[str, Any], where: Path) -> RunPlan:
    """The inverse of `plan_to_json`.

    Raises
    ------
    UserError
        If the plan is of another format version or was changed by hand.
    """
    if data.get("format_version") != PLAN_FORMAT_VERSION:
        raise UserError(
            f"{where}: plan format {data.get('format_version')}, this engine writes "
            f"{PLAN_FORMAT_VERSION}; choose another --output"
        )
    try:
        plan = _plan_from_json(data)
        digest = str(data["digest"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: damaged ({error!r}); choose another --output") from None
    if plan.digest != digest:
        raise UserError(
            f"{where}: digest {digest[:12]} does not fit its content "
            f"({plan.digest[:12]}); it was edited, choose another --output"
        )
    return plan


def _plan_from_json(data: dict[str, Any]) -> RunPlan:
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
            PlannedPartition(
                Pixel(order, partition["pixel"]),
                tuple(_brick_from_json(brick) for brick in partition["bricks"]),
            )
            for partition in data["partitions"]
        ),
    )


def _brick_from_json(data: dict[str, Any]) -> PlannedBrick:
    geometry = {key: value for key, value in data.items() if key not in ("num_rows", "files")}
    files = {kind: (int(size), int(mtime_ns)) for kind, (size, mtime_ns) in data["files"].items()}
    return PlannedBrick(Brick(**geometry), data["num_rows"], files)


def changed_bricks(old: RunPlan, new: RunPlan) -> dict[str, str]:
    """Bricks of both plans whose survey files changed: name -> what changed, both values."""
    before = {planned.brick.name: planned.files for planned in old.bricks()}
    changes = {}
    for planned in new.bricks():
        files = before.get(planned.brick.name)
        if files is None or files == planned.files:
            continue
        changes[planned.brick.name] = describe_change(files, planned.files)
    return changes


def describe_change(before: dict[str, FileState], now: dict[str, FileState]) -> str:
    """The first file of a brick whose state differs, with both states."""
    kinds = before.keys() | now.keys()
    kind = min(kind for kind in kinds if before.get(kind) != now.get(kind))
    return f"{kind}: {_describe(before.get(kind))} when planned, {_describe(now.get(kind))} now"


def _describe(state: FileState | None) -> str:
    if state is None:
        return "absent"
    return f"{state[0]:,} bytes modified at {state[1] / 1e9:.3f}"


def refuse_other_plan(old: RunPlan, new: RunPlan, where: Path) -> None:
    """Raise, with both values, if a run directory belongs to another plan.

    Raises
    ------
    UserError
        Naming the first difference among nside, weights, stamp size, batch size and bricks.
    """
    advice = "use the same settings, or choose another --output"
    pairs = (
        ("healpix nside", 1 << old.order, 1 << new.order),
        ("weights", old.weights_digest[:12], new.weights_digest[:12]),
        ("engine version", old.engine_version, new.engine_version),
        ("stamp size", old.stamp_size, new.stamp_size),
        ("batch size", old.batch_size, new.batch_size),
        ("number of bricks", old.num_bricks, new.num_bricks),
    )
    for what, before, now in pairs:
        if before != now:
            raise UserError(f"{where}: {what} is {before} in its plan, {now} now; {advice}")
    for planned_before, planned_now in zip(old.bricks(), new.bricks(), strict=True):
        if planned_before.brick != planned_now.brick:
            raise UserError(
                f"{where}: its plan has {planned_before.brick} where the survey now has "
                f"{planned_now.brick}; {advice}"
            )
