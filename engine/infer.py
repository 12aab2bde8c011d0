"""One partition: bricks -> arrays -> posteriors -> fragments -> receipt.

The same function runs in a loop and on a Dask worker. It returns a receipt of a few kilobytes;
pixels never leave the process.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.catalogue.leaves import concatenate_rows, write_fragments
from engine.catalogue.schema import Rows, RowSchema, catalogue_schema, rows_to_table
from engine.config import UserError
from engine.journal import Journal, Receipt
from engine.plan import (
    PlannedBrick,
    PlannedPartition,
    RunPlan,
    describe_change,
    survey_file_states,
)
from model.predict import Predictor
from model.weights import load_weights
from partitions.bricks import BrickError, SurveyLayout
from partitions.build import BrickCounts, build_brick_arrays
from partitions.healpix import Pixel
from partitions.schema import StampSize
from partitions.store import read_arrays


@dataclass(frozen=True)
class PartitionTask:
    """All that a worker needs to know for one partition."""

    pixel: Pixel
    bricks: tuple[PlannedBrick, ...]
    survey: SurveyLayout
    run_folder: Path
    plan_digest: str
    weights_path: Path
    weights_digest: str
    quantile_levels: tuple[float, ...]
    stamp_size: StampSize
    batch_size: int
    keep_arrays: bool


def make_task(
    plan: RunPlan, partition: PlannedPartition, journal: Journal, keep_arrays: bool
) -> PartitionTask:
    """The task of one planned partition."""
    return PartitionTask(
        pixel=partition.pixel,
        bricks=partition.bricks,
        survey=plan.survey,
        run_folder=journal.folder.resolve(),
        plan_digest=plan.digest,
        weights_path=plan.weights_path,
        weights_digest=plan.weights_digest,
        quantile_levels=plan.quantile_levels,
        stamp_size=plan.stamp_size,
        batch_size=plan.batch_size,
        keep_arrays=keep_arrays,
    )


@lru_cache(maxsize=1)
def _cached_predictor(path: Path, digest: str, batch_size: int) -> Predictor:
    """The network of this process, loaded once."""
    weights = load_weights(path)
    if weights.digest != digest:
        raise UserError(
            f"{path}: weights digest is {weights.digest[:12]}, the plan says {digest[:12]}; "
            "they changed while the run was going"
        )
    return Predictor(weights, batch_size=batch_size)


def infer_partition(task: PartitionTask) -> Receipt:
    """Do one partition and record its receipt.

    A brick whose files cannot be used is quarantined: left out, counted and listed in the
    receipt with the reason. Anything else that goes wrong is raised, a survey that changes while
    it is read included.
    """
    journal = Journal(task.run_folder)
    begin = time.perf_counter()
    predictor = _cached_predictor(task.weights_path, task.weights_digest, task.batch_size)
    schema = catalogue_schema(task.quantile_levels)
    tables: list[Rows] = []
    bricks: dict[str, Any] = {}
    quarantined: dict[str, str] = {}
    for planned in task.bricks:
        name = planned.brick.name
        _refuse_changed_files(task.survey, planned)
        try:
            table, counts, infer_s = _infer_brick(task, journal, planned, predictor, schema)
        except BrickError as error:
            _refuse_changed_files(task.survey, planned)
            quarantined[name] = str(error)
            continue
        _refuse_changed_files(task.survey, planned)
        tables.append(table)
        bricks[name] = {**asdict(counts), "infer_s": infer_s}
    table = concatenate_rows(tables, schema)
    write_begin = time.perf_counter()
    leaves = write_fragments(
        table,
        task.pixel.order,
        journal.fragments_folder / str(task.pixel),
        journal.wip_folder,
    )
    end = time.perf_counter()
    receipt: Receipt = {
        "plan_digest": task.plan_digest,
        "partition": str(task.pixel),
        "num_sources": table.num_rows,
        "leaves": leaves,
        "bricks": bricks,
        "quarantined": quarantined,
        "write_s": end - write_begin,
        "elapsed_s": end - begin,
        "finished_at": time.time(),
        "process": os.getpid(),
        "engine_version": version("photoz-engine"),
    }
    journal.record(task.pixel, receipt)
    return receipt


def _refuse_changed_files(survey: SurveyLayout, planned: PlannedBrick) -> None:
    """Raise if a brick's files are not those of the plan: a mount was lost, a sync goes on.

    A vanished image would otherwise pass for a band that the survey never had.
    """
    now = survey_file_states(survey, planned.brick.name)
    if now != planned.files:
        raise UserError(
            f"{survey.folder}: the survey changed while the run was going: brick "
            f"{planned.brick.name} {describe_change(planned.files, now)}"
        )


def _infer_brick(
    task: PartitionTask,
    journal: Journal,
    planned: PlannedBrick,
    predictor: Predictor,
    schema: RowSchema,
) -> tuple[Rows, BrickCounts, float]:
    """Catalogue rows of one brick, by way of its Zarr arrays."""
    brick = planned.brick
    scratch = journal.wip_folder / f"wip-{uuid.uuid4().hex[:8]}-arrays"
    # Scratch arrays are the attempt's own: a worker that was cut off may still be at work.
    parent = journal.arrays_folder / str(task.pixel) if task.keep_arrays else scratch
    path = parent / f"{brick.name}.zarr"
    try:
        counts = build_brick_arrays(task.survey, brick, task.stamp_size, path)
        begin = time.perf_counter()
        arrays = read_arrays(path)
        prediction = predictor.predict(arrays)
        quality = arrays["quality"] | prediction.quality
        table = rows_to_table(arrays, prediction.summary, quality, schema)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return table, counts, time.perf_counter() - begin
