"""One partition: bricks -> arrays -> posteriors -> fragments -> receipt.

The same function runs in a loop and on a Dask worker; pixels never leave the machine. Bricks are
built in this process, or ahead of the network in decode processes of its own.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.catalogue.leaves import concatenate_rows, write_fragments
from engine.catalogue.schema import Rows, RowSchema, catalogue_schema, rows_to_table
from engine.config import UserError
from engine.file_states import describe_change, survey_file_states
from engine.journal import Journal, Receipt
from engine.plan import PlannedBrick, PlannedPartition, RunPlan
from engine.readers import BrickReaders, ReadingRules
from engine.worker_state import EXIT_DEVICE_LOST, WorkerMonitor
from model.device import is_device_lost
from model.predict import Predictor
from model.weights import load_weights
from partitions.bricks import BrickError, SurveyLayout
from partitions.build import BrickCounts, build_brick_arrays
from partitions.healpix import Pixel
from partitions.reader import BuildOrder
from partitions.schema import StampSize
from partitions.store import read_arrays


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker has, and how long it bears with a brick. No part of the plan."""

    device: str = "cpu"
    """Where the network computes: `cpu` or `cuda`."""
    decode_processes: int = 0
    """Processes that build bricks ahead of the network; 0 builds them in this one."""
    scratch_folder: Path | None = None
    """Where arrays wait that are not kept; None for the run directory's `wip/`."""
    brick_limit_s: float = math.inf
    """A brick that takes longer hangs."""
    max_deaths: int = 3
    """So many processes may die over a brick before it can be set aside."""


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
    settings: WorkerSettings = WorkerSettings()
    set_aside: dict[str, str] = field(default_factory=dict)
    """Bricks not to be touched -> why; they are quarantined."""


@dataclass(frozen=True)
class PartitionDone:
    """What the driver needs to know of a finished partition: about 1 kB on the wire."""

    partition: str
    num_bricks: int
    num_sources: int
    num_quarantined: int
    elapsed_s: float


def make_task(
    plan: RunPlan,
    partition: PlannedPartition,
    journal: Journal,
    keep_arrays: bool,
    settings: WorkerSettings = WorkerSettings(),
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
        settings=settings,
    )


def run_partition(task: PartitionTask) -> PartitionDone:
    """`infer_partition` for a driver that only counts."""
    receipt = infer_partition(task)
    return PartitionDone(
        partition=receipt["partition"],
        num_bricks=len(task.bricks),
        num_sources=receipt["num_sources"],
        num_quarantined=len(receipt["quarantined"]),
        elapsed_s=receipt["elapsed_s"],
    )


@lru_cache(maxsize=1)
def _cached_predictor(path: Path, digest: str, batch_size: int, device: str) -> Predictor:
    """The network of this process, loaded once."""
    weights = load_weights(path)
    if weights.digest != digest:
        raise UserError(
            f"{path}: weights digest is {weights.digest[:12]}, the plan says {digest[:12]}; "
            "they changed while the run was going"
        )
    return Predictor(weights, device=device, batch_size=batch_size)


@lru_cache(maxsize=1)
def _cached_readers(num_processes: int) -> BrickReaders:
    """The decode processes of this worker."""
    readers = BrickReaders(num_processes)
    atexit.register(readers.close)
    return readers


@lru_cache(maxsize=1)
def _cached_monitor(run_folder: Path, settings: WorkerSettings) -> WorkerMonitor:
    """What this process says of itself in the run directory."""
    monitor = WorkerMonitor(
        run_folder, settings.brick_limit_s, settings.device, settings.decode_processes
    )
    monitor.start()
    atexit.register(monitor.stop)
    return monitor


@contextmanager
def working_here(run_folder: Path, settings: WorkerSettings) -> Iterator[None]:
    """While this process itself works on partitions; afterwards it leaves no trace."""
    try:
        yield
    finally:
        _cached_monitor(run_folder, settings).stop()
        _cached_monitor.cache_clear()


def infer_partition(task: PartitionTask) -> Receipt:
    """Do one partition and record its receipt.

    A brick whose files cannot be used is quarantined: left out, counted and listed in the
    receipt with the reason. Anything else that goes wrong is raised, a survey that changes while
    it is read included.
    """
    monitor = _cached_monitor(task.run_folder, task.settings)
    with monitor.partition(str(task.pixel)):
        return _infer_partition(task, monitor)


def _infer_partition(task: PartitionTask, monitor: WorkerMonitor) -> Receipt:
    journal = Journal(task.run_folder)
    begin = time.perf_counter()
    predictor = _cached_predictor(
        task.weights_path, task.weights_digest, task.batch_size, task.settings.device
    )
    schema = catalogue_schema(task.quantile_levels)
    tables: list[Rows] = []
    bricks: dict[str, Any] = {}
    quarantined: dict[str, str] = dict(task.set_aside)
    with _arrays_folder(task, journal) as folder:
        for planned, built in _built_bricks(task, folder, monitor):
            name = planned.brick.name
            if isinstance(built, BrickError):
                quarantined[name] = str(built)
                continue
            if isinstance(built, Exception):
                raise built
            with monitor.brick(name), _ended_with_its_device():
                table, infer_s = _infer_brick(folder / f"{name}.zarr", predictor, schema)
            if not task.keep_arrays:
                shutil.rmtree(folder / f"{name}.zarr")
            tables.append(table)
            bricks[name] = {**asdict(built), "infer_s": infer_s}
            monitor.add(table.num_rows, _step_seconds(built, infer_s))
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
        "host": socket.gethostname(),
        "process": os.getpid(),
        "engine_version": version("photoz-engine"),
    }
    journal.record(task.pixel, receipt)
    return receipt


@contextmanager
def _ended_with_its_device() -> Iterator[None]:
    """End the process if its GPU can no longer be used: all that it tried afterwards would fail.

    It counts as a death over the brick in work; whoever watches the process starts another.
    """
    try:
        yield
    except RuntimeError as error:
        if is_device_lost(error):
            print(f"engine: the GPU is lost: {error}", file=sys.stderr, flush=True)
            os._exit(EXIT_DEVICE_LOST)
        raise


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


@contextmanager
def _arrays_folder(task: PartitionTask, journal: Journal) -> Iterator[Path]:
    """Where the Zarr groups of a partition are built; scratch goes away with the attempt."""
    if task.keep_arrays:
        yield journal.arrays_folder / str(task.pixel)
        return
    # The attempt's own: a worker that was cut off may still be at work.
    parent = task.settings.scratch_folder or journal.wip_folder
    scratch = parent / f"wip-{uuid.uuid4().hex[:8]}-arrays"
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _built_bricks(
    task: PartitionTask, folder: Path, monitor: WorkerMonitor
) -> Iterator[tuple[PlannedBrick, BrickCounts | Exception]]:
    """Bricks in their order, built as Zarr groups in `folder`: counts, or what went wrong."""
    planned_of = {
        planned.brick.name: planned
        for planned in task.bricks
        if planned.brick.name not in task.set_aside
    }

    def orders() -> Iterator[BuildOrder]:
        for name, planned in planned_of.items():
            _refuse_changed_files(task.survey, planned)
            yield BuildOrder(task.survey, planned.brick, task.stamp_size, folder / f"{name}.zarr")

    settings = task.settings
    if settings.decode_processes:
        results = _cached_readers(settings.decode_processes).build_ahead(
            orders(),
            monitor,
            task.run_folder,
            str(task.pixel),
            ReadingRules(settings.brick_limit_s, settings.max_deaths),
        )
    else:
        results = _build_here(orders(), monitor)
    for order, built in results:
        planned = planned_of[order.brick.name]
        _refuse_changed_files(task.survey, planned)
        yield planned, built


def _build_here(
    orders: Iterator[BuildOrder], monitor: WorkerMonitor
) -> Iterator[tuple[BuildOrder, BrickCounts | Exception]]:
    """Build bricks one after another in this process."""
    for order in orders:
        with monitor.brick(order.brick.name):
            try:
                built: BrickCounts | Exception = build_brick_arrays(*order)
            except BrickError as error:
                built = error
        yield order, built


def _infer_brick(path: Path, predictor: Predictor, schema: RowSchema) -> tuple[Rows, float]:
    """Catalogue rows of one brick from its Zarr arrays, and the seconds that it took."""
    begin = time.perf_counter()
    arrays = read_arrays(path)
    prediction = predictor.predict(arrays)
    quality = arrays["quality"] | prediction.quality
    table = rows_to_table(arrays, prediction.summary, quality, schema)
    return table, time.perf_counter() - begin


def _step_seconds(counts: BrickCounts, infer_s: float) -> dict[str, float]:
    return {
        "decode": counts.decode_s,
        "build": counts.build_s,
        "write": counts.write_s,
        "infer": infer_s,
    }
