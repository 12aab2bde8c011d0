"""`engine build`: the Zarr arrays of a brick."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from engine.commands.options import json_option
from engine.config import UserError, check_folder
from engine.picture import draw_stamps
from partitions.build import build_brick_arrays
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import StampSize
from partitions.store import read_arrays
from partitions.tiling import select_bricks


@click.command()
@click.option(
    "--survey", type=click.Path(path_type=Path), required=True, help="DR10-layout folder."
)
@click.option("--brick", "brick_name", required=True, help="Name of the brick, e.g. 0091p035.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("photoz-arrays"),
    show_default=True,
    help="Folder for the Zarr group <brick>.zarr.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Also draw the stamps of the brightest galaxies, as PNG.",
)
@json_option
def build(survey: Path, brick_name: str, output: Path, picture: Path | None, as_json: bool) -> None:
    """Build the Zarr arrays of one brick: stamps, features, photometry.

    This is also how to see again why a brick was quarantined.

    \b
    Example: engine build --survey dr10 --brick 1501p022
    """
    check_folder("--output", output)
    if picture is not None:
        check_folder("--picture", picture.parent)
        if picture.suffix.lower() != ".png" or picture.is_dir():
            raise UserError(f"--picture {picture}: name a file that ends in .png")
    layout = open_survey(survey)
    (brick,) = select_bricks(read_bricks(layout), names=[brick_name])
    path = output / f"{brick.name}.zarr"
    counts = build_brick_arrays(layout, brick, StampSize(), path)
    if picture is not None:
        draw_stamps(read_arrays(path), f"brick {brick.name}", picture)
    if as_json:
        click.echo(json.dumps({"arrays": str(path), **asdict(counts)}))
        return
    bands = ", ".join(counts.decoded) or "none"
    click.echo(f"{path}: {counts.num_sources:,} sources of {counts.num_rows:,} rows; bands {bands}")
