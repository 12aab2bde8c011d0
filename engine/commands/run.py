"""`engine run`: the whole path."""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from engine.catalogue.finish import withdraw_catalogue
from engine.commands.catalogue import finish_run
from engine.commands.machine import THIS_PROCESS, choose_machine, drive
from engine.commands.options import (
    EXIT_QUARANTINED,
    json_option,
    profile_option,
    say,
    workers_option,
)
from engine.commands.run_settings import plan_visibly, run_config, survey_options
from engine.config import UserError
from engine.journal import Journal
from engine.plan import RunPlan
from engine.project import project
from engine.summary import RunStatus, accuracy, run_status
from engine.terminal import resume_line, show_run
from partitions.bricks import SurveyError

# Below this, workers take longer to start than they save.
_SMALL_RUN_ROWS = 20_000


@click.command()
@survey_options
@workers_option
@profile_option
@click.option(
    "--index",
    type=click.IntRange(min=0),
    help="Do only this share of the partitions: job number, from 0. With --of.",
)
@click.option("--of", "num_jobs", type=click.IntRange(min=1), help="Number of jobs that share.")
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
    profile_name: str | None,
    index: int | None,
    num_jobs: int | None,
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
      engine run --survey dr10 --output photoz --profile workstation-cuda
      engine run --survey dr10 --output photoz --index 3 --of 64
    """
    machine = choose_machine(profile_name, workers, index, num_jobs)
    machine.join()
    if machine.share is not None and retry_quarantined:
        raise UserError("--retry-quarantined with --index: others are at work; run it alone first")
    config = run_config(survey, nside, region, bricks_file, weights, batch_size, output, as_json)
    begin = time.monotonic()  # The mock survey's making is no part of the run.
    plan = plan_visibly(config, as_json)
    if machine.is_default and plan.num_rows < _SMALL_RUN_ROWS:
        machine = THIS_PROCESS
    journal = Journal(config.output)
    with ExitStack() as held:
        if machine.share is None:
            held.enter_context(journal.locked())
            plan = journal.begin(plan, retry_quarantined)
        else:
            plan = held.enter_context(journal.shared(plan, *machine.share))
        remaining = machine.part_of(plan.partitions, journal.remaining(plan))
        before = run_status(journal, plan)
        if remaining:
            _check_free_space(plan, journal, len(remaining) / len(plan.partitions), keep_arrays)
            withdraw_catalogue(journal.catalogue_folder)
        if keep_arrays and before.num_partitions_done:
            say(
                as_json,
                f"--keep-arrays: {before.num_partitions_done} partitions are done, "
                "theirs were not kept",
            )
        say(as_json, resume_line(plan, len(remaining), config.output, machine.words))
        report = held.enter_context(machine.report(journal.folder, len(remaining)).kept())
        given_up = drive(plan, remaining, journal, machine, report, keep_arrays, as_json)
        if machine.share is None:
            _end_run(journal, plan, given_up, bool(remaining) or not before.finished, as_json)
    if machine.share is not None and not journal.remaining(plan):
        # All are done: whoever comes first finishes, the others find it finished.
        with journal.locked_after_others():
            _end_run(journal, plan, given_up, not run_status(journal, plan).finished, as_json)
    status = run_status(journal, plan)
    elapsed_s = time.monotonic() - begin
    result = _run_result(plan, journal, status, elapsed_s, status.num_sources - before.num_sources)
    result["given_up"] = given_up
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_run(result, status, survey_named=survey is not None)
    if status.quarantined or given_up:
        sys.exit(EXIT_QUARANTINED)


def _end_run(
    journal: Journal, plan: RunPlan, given_up: dict[str, str], is_unfinished: bool, as_json: bool
) -> None:
    """Publish the catalogue if all partitions are done, and list what was left out."""
    if not given_up and is_unfinished:
        finish_run(journal, plan, as_json)
    journal.list_quarantined(plan)


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


def _run_result(
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
