"""A plan is data: what a run will do, frozen and written before any work.

The machine is no part of it, so the same plan gives the same catalogue on a laptop and on a
cluster. Its digest covers what decides the output's bytes (order, weights, stamp and batch size,
bricks); the state of the survey's files is recorded beside it and compared brick by brick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from engine.config import RunConfig, UserError
from engine.file_states import FileStates, describe_change, iterate_file_states
from model.weights import load_weights
from partitions.bricks import Brick, SurveyLayout
from partitions.dr10 import count_tractor_rows, open_survey, read_survey_bricks
from partitions.healpix import Pixel, nside_to_order
from partitions.schema import ARRAY_FORMAT_VERSION, StampSize
from partitions.tiling import assign_partitions, select_bricks

PLAN_FORMAT_VERSION = 3

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

OnBricks = Callable[[int, int], None]
"""Told how many bricks are through, of how many."""


@dataclass(frozen=True, slots=True)
class PlannedBrick:
    """One brick and the files that the run will read of it."""

    brick: Brick
    num_rows: int | None
    """Primary sources (`nobjs`) where the release's brick table counts them; else all rows of its
    Tractor table, or None where that cannot be read. A measure of the cost, not a promise."""
    files: FileStates

    @property
    def num_bytes(self) -> int:
        """Bytes to read."""
        return self.files.num_bytes


@dataclass(frozen=True, slots=True)
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
        }
        digest = hashlib.sha256(_encode(identity).encode())
        for partition in self.partitions:
            digest.update(str(partition.pixel).encode())
            for planned in partition.bricks:
                digest.update(_encode(brick_values(planned.brick)).encode())
        return digest.hexdigest()

    def bricks(self) -> Iterator[PlannedBrick]:
        """All bricks, partition by partition."""
        for partition in self.partitions:
            yield from partition.bricks

    @property
    def num_bricks(self) -> int:
        return sum(len(partition.bricks) for partition in self.partitions)

    @property
    def num_rows(self) -> int:
        """Of all bricks whose number is known."""
        return sum(planned.num_rows or 0 for planned in self.bricks())

    @property
    def num_bytes(self) -> int:
        return sum(planned.num_bytes for planned in self.bricks())


def brick_values(brick: Brick) -> tuple[str, int, float, float, float, float, float, float]:
    """The fields of a brick in their order; ten times as fast as `dataclasses.astuple`."""
    return (
        *(brick.name, brick.brickid, brick.ra_deg, brick.dec_deg),
        *(brick.ra1_deg, brick.ra2_deg, brick.dec1_deg, brick.dec2_deg),
    )


def make_plan(config: RunConfig, on_bricks: OnBricks | None = None) -> RunPlan:
    """Look at the survey and the weights; decide what to do. Reads no pixels.

    Sources are counted by the release's brick table; without one, by the header of every Tractor
    table. All files that the run will read are looked at, so that a survey that changes afterwards
    is noticed.

    Parameters
    ----------
    on_bricks
        Told after every brick how many were looked at, of how many.

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
    listed = read_survey_bricks(layout)
    chosen = select_bricks(listed.bricks, config.region, config.brick_names)
    planned = _plan_bricks(layout, chosen, listed.num_sources, on_bricks)
    partitions = tuple(
        PlannedPartition(pixel, tuple(planned[brick.name] for brick in bricks))
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


def _plan_bricks(
    layout: SurveyLayout,
    bricks: list[Brick],
    num_sources: dict[str, int],
    on_bricks: OnBricks | None,
) -> dict[str, PlannedBrick]:
    """Bricks with their files and counts, by name."""
    planned: dict[str, PlannedBrick] = {}
    states = iterate_file_states(layout, [brick.name for brick in bricks])
    for brick, files in zip(bricks, states, strict=True):
        num_rows = num_sources.get(brick.name)
        if num_rows is None and files.has("tractor"):
            num_rows = count_tractor_rows(layout.brick_file("tractor", brick.name))
        planned[brick.name] = PlannedBrick(brick, num_rows, files)
        if on_bricks is not None:
            on_bricks(len(planned), len(bricks))
    return planned


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
