"""One partition: bricks -> arrays -> posteriors -> fragments -> receipt.

The same function runs in a loop and on a Dask worker. It returns a receipt of a few kilobytes;
pixels never leave the process.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.catalogue.leaves import concatenate_rows, write_fragments
from engine.catalogue.schema import Rows, RowSchema, catalogue_schema, rows_to_table
from engine.config import UserError
from engine.journal import Journal, Receipt
from engine.plan import PlannedPartition, RunPlan
from model.predict import Predictor
from model.weights import load_weights
from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.build import BrickCounts, build_brick_arrays
from partitions.healpix import Pixel
from partitions.schema import StampSize
from partitions.store import read_arrays


@dataclass(frozen=True)
class PartitionTask:
    """All that a worker needs to know for one partition."""

    pixel: Pixel
    bricks: tuple[Brick, ...]
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
        bricks=tuple(planned.brick for planned in partition.bricks),
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
    receipt with the reason. Anything else that goes wrong is raised.
    """
    journal = Journal(task.run_folder)
    begin = time.perf_counter()
    predictor = _cached_predictor(task.weights_path, task.weights_digest, task.batch_size)
    schema = catalogue_schema(task.quantile_levels)
    tables: list[Rows] = []
    bricks: dict[str, Any] = {}
    quarantined: dict[str, str] = {}
    for brick in task.bricks:
        try:
            table, counts, infer_s = _infer_brick(task, journal, brick, predictor, schema)
        except BrickError as error:
            quarantined[brick.name] = str(error)
            continue
        tables.append(table)
        bricks[brick.name] = {**asdict(counts), "infer_s": infer_s}
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


def _infer_brick(
    task: PartitionTask, journal: Journal, brick: Brick, predictor: Predictor, schema: RowSchema
) -> tuple[Rows, BrickCounts, float]:
    """Catalogue rows of one brick, by way of its Zarr arrays."""
    parent = task.run_folder / "arrays" if task.keep_arrays else journal.wip_folder / "arrays"
    path = parent / str(task.pixel) / f"{brick.name}.zarr"
    counts = build_brick_arrays(task.survey, brick, task.stamp_size, path)
    begin = time.perf_counter()
    arrays = read_arrays(path)
    prediction = predictor.predict(arrays)
    quality = arrays["quality"] | prediction.quality
    table = rows_to_table(arrays, prediction.summary, quality, schema)
    if not task.keep_arrays:
        shutil.rmtree(path, ignore_errors=True)
    return table, counts, time.perf_counter() - begin
