"""`engine targets`: rows of a catalogue by target class and probability of a redshift range."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.catalogue.read import read_leaf_pixels, read_properties
from engine.commands.options import json_option
from engine.progress import Progress
from engine.selection.output import check_output
from engine.selection.report import selection_lines, selection_to_json
from engine.selection.select import make_config, select_targets


@click.command()
@click.argument("catalogue", type=click.Path(path_type=Path))
@click.option(
    "--class",
    "name",
    metavar="CLASS",
    required=True,
    help="ELG, ELG_LOP, ELG_VLO, LRG, LGE, QSO, BGS, BGS_BRIGHT, BGS_FAINT or BGS_WISE.",
)
@click.option(
    "--z",
    "z_range",
    type=float,
    nargs=2,
    required=True,
    metavar="Z1 Z2",
    help="Range of redshift.",
)
@click.option(
    "--prob",
    "min_probability",
    type=float,
    default=0.8,
    show_default=True,
    help="Least probability that the redshift lies in the range.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Table to write: .parquet or .fits."
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="FITS table with RELEASE, BRICKID, OBJID, Z, SPECTYPE to compare with.",
)
@json_option
def targets(
    catalogue: Path,
    name: str,
    z_range: tuple[float, float],
    min_probability: float,
    output: Path | None,
    truth: Path | None,
    as_json: bool,
) -> None:
    """Select DESI targets whose redshift probably lies in a range.

    Tells how many, how many a square degree of the sky that was covered, and the completeness and
    contamination to expect: sum of P over the selected rows / sum over the class, and 1 - mean P.
    QSO is desitarget's colour box, not DESI's random forest.

    \b
    Example: engine targets cosmos/catalogue --class ELG --z 0.6 1.6 --prob 0.8 --output elg.fits
    """
    make_config(name, *z_range, min_probability)  # Before any leaf is looked for.
    if output is not None:
        check_output(output)
    read_properties(catalogue)  # Refuses what is no finished catalogue.
    num_leaves = len(read_leaf_pixels(catalogue))
    with Progress("leaves", num_leaves, "leaves", quiet=as_json) as progress:
        found = select_targets(
            catalogue,
            name,
            *z_range,
            min_probability,
            output,
            truth,
            lambda _rows: progress.advance(),
        )
    if as_json:
        click.echo(json.dumps(selection_to_json(found, output)))
    else:
        for line in selection_lines(found, output):
            click.echo(line)
