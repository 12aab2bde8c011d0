"""What the commands show a person: plain aligned lines, the same on a terminal and in a log."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from engine.config import RunConfig
from engine.journal import QUARANTINE_LIST
from engine.plan import RunPlan
from engine.project import Projection
from engine.summary import RunStatus, repeat_command

# Quarantined bricks named on the terminal; the file in the run directory has all.
_MAX_LISTED = 10


def resume_line(plan: RunPlan, num_remaining: int, output: Path, machine: str) -> str:
    """How much of a run is to be done, and where."""
    total = len(plan.partitions)
    if num_remaining == total:
        return f"Running {total} partitions ({plan.num_bricks} bricks) into {output}/ ({machine})"
    if num_remaining:
        done = f"{total - num_remaining} of {total} partitions are done"
        return f"Resuming {output}/ ({machine}): {done}"
    return f"{output}/: all {total} partitions are done already"


def show_run(report: dict[str, Any], status: RunStatus, survey_named: bool) -> None:
    """What came of a run, and what to type next."""
    rate = f"  {report['num_new_sources'] / report['elapsed_s']:,.0f} sources/s"
    click.echo(f"\nCatalogue  {report['catalogue'] or 'not finished'}")
    click.echo(f"partitions {status.num_partitions_done} of {status.num_partitions}")
    click.echo(
        f"bricks     {status.num_bricks_done} of {status.num_bricks}"
        f"  ({len(status.quarantined)} quarantined)"
    )
    click.echo(f"sources    {status.num_sources:,}")
    click.echo(f"seconds    {report['elapsed_s']:.1f}{rate if report['num_new_sources'] else ''}")
    known = report["accuracy"]
    if known is not None:
        click.echo(
            f"accuracy   sigma_NMAD {known['sigma_nmad']:.4f}  eta {100 * known['eta']:.1f} %"
            f"  bias {known['bias']:+.4f}"
            f"\n           ({known['num_sources']:,} galaxies and quasars with known redshifts)"
        )
    if report["accuracy_problem"]:
        click.echo(f"accuracy   unknown: {report['accuracy_problem']}")
    show_left_out(status.targets_left_out)
    show_quarantine(status)
    for pixel, reason in report["given_up"].items():
        click.echo(f"given up   partition {pixel}: {reason}; repeat the command to try again")
    click.echo("\nNext")
    click.echo(f"  engine verify {shlex.quote(str(Path(status.run) / 'catalogue'))}")
    click.echo(f"  engine status {shlex.quote(status.run)}")
    if survey_named:
        click.echo("  engine plan --help")
    else:
        click.echo("  engine run --survey PATH/TO/dr10 --region 149.5,150.7,1.6,2.8")


def show_left_out(targets_left_out: dict[str, dict[str, int]]) -> None:
    """Target cuts that were not made everywhere: there the bits are 0."""
    for cuts, reasons in targets_left_out.items():
        for reason, num_bricks in reasons.items():
            where = "1 brick" if num_bricks == 1 else f"{num_bricks:,} bricks"
            click.echo(f"targets    no {cuts} bits in {where}: {reason}")


def show_quarantine(status: RunStatus) -> None:
    """Bricks left out, why, and how to see it again."""
    if not status.quarantined:
        return
    click.echo("\nQuarantined bricks, and the command that repeats each:")
    for name, reason in list(status.quarantined.items())[:_MAX_LISTED]:
        click.echo(f"  {name}  {reason}\n    {repeat_command(status.survey, name)}")
    if len(status.quarantined) > _MAX_LISTED:
        click.echo(f"  ... and {len(status.quarantined) - _MAX_LISTED} more")
    click.echo(f"All of them: {Path(status.run) / QUARANTINE_LIST} (a list for --bricks).")
    click.echo("When they are mended, repeat the run with --retry-quarantined.")


def show_status(state: RunStatus) -> None:
    """How far a run is."""
    click.echo(f"run        {state.run}")
    click.echo(f"survey     {state.survey}")
    click.echo(f"partitions {state.num_partitions_done} of {state.num_partitions}")
    click.echo(
        f"bricks     {state.num_bricks_done} of {state.num_bricks}"
        f"  ({len(state.quarantined)} quarantined)"
    )
    click.echo(
        f"rows       {state.num_rows_read:,} read = {state.num_sources:,} sources"
        f" + {state.num_not_primary:,} not primary + {state.num_dup:,} DUP"
    )
    decoded = ", ".join(f"{band} {count}" for band, count in state.decoded.items())
    click.echo(f"decoded    {decoded or 'nothing'} image files")
    areas = ", ".join(f"{band} {value:.4f}" for band, value in state.covered_deg2.items())
    click.echo(f"covered    {areas or 'nothing'} deg^2")
    show_left_out(state.targets_left_out)
    steps = ", ".join(f"{step} {value:.1f}" for step, value in state.seconds.items())
    click.echo(f"seconds    {steps} (summed over workers)")
    click.echo(f"catalogue  {'finished' if state.finished else 'not finished'}")
    show_quarantine(state)


def show_plan(made: RunPlan, projection: Projection, config: RunConfig) -> None:
    """What a run would do."""
    per_partition = [len(partition.bricks) for partition in made.partitions]
    click.echo(f"survey     {made.survey.folder}")
    click.echo(f"weights    {made.network}, digest {made.weights_digest[:12]}")
    click.echo(
        f"partitions {len(made.partitions)} at nside {1 << made.order} "
        f"({min(per_partition)} to {max(per_partition)} bricks each)"
    )
    click.echo(f"bricks     {made.num_bricks:,}")
    click.echo(f"rows       {made.num_rows:,} sources of the brick table, or rows of Tractor files")
    click.echo(f"read       {projection.input_bytes / 1e9:.3f} GB")
    click.echo(f"write      {projection.output_bytes / 1e9:.3f} GB into {config.output}/")
    click.echo(f"memory     {projection.worker_memory_bytes / 1e9:.2f} GB a worker")
    click.echo(
        f"time       {projection.worker_seconds:,.0f} s of one worker "
        f"({projection.network_sources_per_s:,.0f} sources/s in the network alone, measured now)"
    )
