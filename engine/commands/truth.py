"""`engine truth`: spectroscopic tables -> known redshifts of the survey's sources."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from engine.commands.options import EXIT_QUARANTINED, json_option
from engine.config import UserError, check_folder
from engine.progress import Progress
from engine.truth import (
    TruthConfig,
    make_truth_table,
    parse_survey_table,
    report_lines,
    survey_lines,
    write_truth_table,
)
from partitions.dr10 import open_survey, read_bricks
from partitions.tiling import select_bricks
from partitions.truth.match import METHODS
from partitions.truth.spectra import ELG_CLASSES


def _list_surveys(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo("\n".join(survey_lines()))
        ctx.exit()


@click.command()
@click.option(
    "--survey", type=click.Path(path_type=Path), required=True, help="DR10-layout folder."
)
@click.option(
    "--survey-table",
    "tables",
    metavar="NAME=FILE",
    multiple=True,
    required=True,
    help="A spectroscopic survey and its table (FITS, CSV, Parquet); can be repeated.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Truth table to write (FITS)."
)
@click.option(
    "--radius",
    "radius_arcsec",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=1.0,
    show_default=True,
    help="A source is at most this far from its spectrum, arcsec.",
)
@click.option(
    "--match",
    "method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="By RELEASE, BRICKID, OBJID (or TARGETID), by position, or auto: by identifiers where "
    "they name a source of this survey, else by position.",
)
@click.option(
    "--class",
    "classes",
    type=click.Choice(ELG_CLASSES, case_sensitive=False),
    multiple=True,
    help="Keep only this class of emission-line galaxies; can be repeated.  [default: all]",
)
@click.option(
    "--list-surveys",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_surveys,
    help="Show the names, cuts and columns of the known surveys, and exit.",
)
@json_option
def truth(
    survey: Path,
    tables: tuple[str, ...],
    output: Path,
    radius_arcsec: float,
    method: str,
    classes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a truth table: spectroscopic redshifts of the survey's sources.

    Applies each survey's quality cuts, matches spectra with sources and says what was removed.
    Of several spectra of one source stays that of the survey listed first (--list-surveys), then
    the one with the smallest redshift error, then the nearest.

    \b
    Example: engine truth --survey dr10 --survey-table sdss=specObj-dr17.fits --output truth.fits
    """
    config = TruthConfig(
        tuple(parse_survey_table(text) for text in tables), radius_arcsec, method, classes
    )
    if any(table.path.resolve() == output.resolve() for table in config.tables):
        raise UserError(f"--output {output}: is one of the tables to read; choose another")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; name a file, for example truth.fits")
    check_folder("--output", output.parent)
    layout = open_survey(survey)
    bricks = select_bricks(read_bricks(layout))
    with Progress("bricks", len(bricks), "bricks", quiet=as_json) as progress:
        table = make_truth_table(layout, bricks, config, progress.advance)
    write_truth_table(output, table, config)
    report = table.report
    if as_json:
        content = {"truth": str(output), "num_kept": report.num_kept, **asdict(report)}
        click.echo(json.dumps({**content, "radius_arcsec": radius_arcsec, "match": method}))
    else:
        for line in report_lines(report):
            click.echo(line)
        click.echo(f"{output}: {report.num_kept:,} sources with known redshift")
    if report.quarantined:
        for reason in report.quarantined.values():
            click.echo(f"engine: quarantined: {reason}", err=True)
        sys.exit(EXIT_QUARANTINED)
