"""`engine finish` and `verify`: the catalogue that a run left on disk."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from engine.catalogue.finish import finish_catalogue
from engine.catalogue.verify import verify_catalogue
from engine.commands.options import EXIT_CHECK_FAILED, json_option
from engine.journal import Journal
from engine.plan import RunPlan
from engine.progress import Progress
from engine.summary import run_status


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--partial", is_flag=True, help="Publish what is done, and say so in the catalogue.")
@json_option
def finish(run_folder: Path, partial: bool, as_json: bool) -> None:
    """Write the HATS collection (catalogue, margin, index) from the fragments on disk.

    It can be repeated.

    \b
    Example: engine finish photoz-run-mock-survey-nside32
    """
    journal = Journal(run_folder)
    made = journal.read_plan()
    with journal.locked():
        catalogue = finish_run(journal, made, as_json, partial)
    num_sources = run_status(journal, made).num_sources
    if as_json:
        click.echo(json.dumps({"catalogue": str(catalogue), "num_sources": num_sources}))
    else:
        click.echo(f"{catalogue}: {num_sources:,} sources")


@click.command()
@click.argument("catalogue", type=click.Path(path_type=Path))
@json_option
def verify(catalogue: Path, as_json: bool) -> None:
    """Check every row of a catalogue, its margin and its index, and their counts.

    Own pixel, order, uniqueness, posteriors, margins, index, sha256, and the run's receipts.

    \b
    Example: engine verify photoz-run-mock-survey-nside32/catalogue
    """
    result = verify_catalogue(catalogue)
    if as_json:
        report = {key: value for key, value in asdict(result).items() if key != "rows_of_brick"}
        click.echo(json.dumps({**report, "passed": result.passed}))
    else:
        for failure in result.failures:
            click.echo(f"FAILED {failure}")
        for note in result.notes:
            click.echo(f"note: {note}")
        verdict = "passed" if result.passed else f"{len(result.failures)} failures"
        click.echo(
            f"{catalogue}: {result.num_leaves} leaves, {result.num_rows:,} rows, "
            f"{result.num_margin_rows:,} in margins, "
            f"{', '.join(result.checks)}: {verdict}"
        )
    if not result.passed:
        sys.exit(EXIT_CHECK_FAILED)


def finish_run(journal: Journal, plan: RunPlan, quiet: bool, allow_partial: bool = False) -> Path:
    num_leaves = len({n for _, r in journal.each_receipt(plan) for n in r["leaves"]})
    with Progress("leaves", num_leaves, "leaves", quiet=quiet) as progress:
        return finish_catalogue(
            journal, plan, allow_partial, lambda _pixel, rows: progress.advance()
        )
