"""`engine run`: the whole path."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from deploy.cluster import open_cluster
from deploy.profiles import MachineProfile, read_profile
from engine.catalogue.finish import withdraw_catalogue
from engine.commands.catalogue import finish_run
from engine.commands.options import EXIT_QUARANTINED, json_option, say, workers_option
from engine.commands.run_settings import run_config, survey_options
from engine.config import UserError
from engine.infer import PartitionTask, make_task
from engine.journal import Journal, Receipt
from engine.plan import RunPlan, make_plan
from engine.progress import Progress
from engine.project import project
from engine.schedule import run_dask, run_serial
from engine.summary import RunStatus, accuracy, run_status
from engine.terminal import resume_line, show_run
from partitions.bricks import SurveyError

# Below this, workers take longer to start than they save.
_SMALL_RUN_ROWS = 20_000


@click.command()
@survey_options
@workers_option
@click.option("--machine", type=click.Path(path_type=Path), help="Machine profile (TOML).")
@click.option("--keep-arrays", is_flag=True, help="Keep the Zarr arrays of every brick.")
@click.option(
    "--retry-quarantined",
    is_flag=True,
    help="Do partitions with quarantined bricks again; their files may have changed.",
)
@json_option
def run(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    workers: int | None,
    machine: Path | None,
    keep_arrays: bool,
    retry_quarantined: bool,
    as_json: bool,
) -> None:
    """Run the whole path: plan, build arrays, infer, finish.

    Repeat the same command to resume after any interruption.

    \b
    Examples:
      engine run --healpix-nside 32
      engine run --survey dr10 --region 149.5,150.7,1.6,2.8 --output cosmos
    """
    profile = _machine_profile(machine, workers)
    config = run_config(survey, nside, region, bricks_file, weights, batch_size, output, as_json)
    begin = time.monotonic()  # The mock survey's making is no part of the run.
    plan = make_plan(config)
    if machine is None and workers is None and plan.num_rows < _SMALL_RUN_ROWS:
        profile = None
    journal = Journal(config.output)
    with journal.locked():
        plan = journal.begin(plan, retry_quarantined)
        remaining = journal.remaining(plan)
        finished = run_status(journal, plan).finished
        if remaining:
            _check_free_space(plan, journal, len(remaining) / len(plan.partitions), keep_arrays)
            withdraw_catalogue(journal.catalogue_folder)
        if keep_arrays and len(remaining) < len(plan.partitions):
            num_done = len(plan.partitions) - len(remaining)
            say(as_json, f"--keep-arrays: {num_done} partitions are done, theirs were not kept")
        tasks = [make_task(plan, partition, journal, keep_arrays) for partition in remaining]
        num_before = run_status(journal, plan).num_sources
        say(as_json, resume_line(plan, len(remaining), config.output))
        given_up = _run_partitions(tasks, profile, as_json)
        if not given_up and (remaining or not finished):
            finish_run(journal, plan, as_json)
        journal.list_quarantined(plan)
        status = run_status(journal, plan)
    elapsed_s = time.monotonic() - begin
    report = _run_report(plan, journal, status, elapsed_s, status.num_sources - num_before)
    report["given_up"] = given_up
    if as_json:
        click.echo(json.dumps(report))
    else:
        show_run(report, status, survey_named=survey is not None)
    if status.quarantined or given_up:
        sys.exit(EXIT_QUARANTINED)


def _machine_profile(machine: Path | None, workers: int | None) -> MachineProfile | None:
    """Where to run; None for this process."""
    if machine is not None:
        if workers is not None:
            raise UserError(f"--machine {machine} and --workers {workers}: give one of them")
        return read_profile(machine)
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    return MachineProfile(workers=workers) if workers else None


def _check_free_space(
    plan: RunPlan, journal: Journal, remaining_fraction: float, keep_arrays: bool
) -> None:
    """Refuse early if the output cannot fit."""
    projection = project(plan)
    total = projection.output_bytes + (projection.arrays_bytes if keep_arrays else 0)
    needed = int(total * remaining_fraction)
    free = shutil.disk_usage(journal.folder).free
    if free < needed:
        raise UserError(
            f"--output {journal.folder}: {free / 1e9:.2f} GB free, about {needed / 1e9:.2f} GB "
            "needed; free some space or choose another"
        )


def _run_partitions(
    tasks: list[PartitionTask], profile: MachineProfile | None, as_json: bool
) -> dict[str, str]:
    """Run what remains, with progress in bricks; returns the partitions given up."""
    if not tasks:
        return {}
    num_sources = 0
    with Progress("bricks", sum(len(t.bricks) for t in tasks), "bricks", quiet=as_json) as progress:

        def on_receipt(task: PartitionTask, receipt: Receipt) -> None:
            nonlocal num_sources
            num_sources += receipt["num_sources"]
            progress.advance(len(task.bricks), f"{num_sources:,} sources")

        if profile is None:
            return run_serial(tasks, on_receipt)
        num_workers = min(profile.workers, len(tasks))
        profile = MachineProfile(**{**asdict(profile), "workers": num_workers})
        with open_cluster(profile) as client:
            return run_dask(tasks, client, num_workers, on_receipt)


def _run_report(
    plan: RunPlan, journal: Journal, status: RunStatus, elapsed_s: float, num_new: int
) -> dict[str, Any]:
    """What a run came to, as JSON-ready data."""
    known, problem = None, None
    if status.finished and plan.survey.truth_table.exists():
        try:
            known = accuracy(journal.catalogue_folder, plan.survey.truth_table)
        except (SurveyError, ValueError) as error:  # It is the user's file, not the run's.
            problem = str(error)
    return {
        **asdict(status),
        "elapsed_s": elapsed_s,
        "num_new_sources": num_new,
        "catalogue": str(journal.catalogue_folder) if status.finished else None,
        "accuracy": asdict(known) if known is not None else None,
        "accuracy_problem": problem,
    }
