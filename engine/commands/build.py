"""`engine build`: the Zarr arrays of a brick, or of all sources with a known redshift."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from engine.arrays.build import training_arrays_build
from engine.arrays.manifest import MANIFEST_FILE, UNMATCHED_WORDS, Manifest, stamp_text
from engine.commands.options import EXIT_QUARANTINED, json_option, say
from engine.config import UserError, check_folder
from engine.known import DROP_WORDS, read_known
from engine.picture import draw_stamps
from engine.progress import Progress
from partitions.build import build_brick_arrays
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import StampSize
from partitions.store import read_arrays
from partitions.tiling import select_bricks


@click.command()
@click.option(
    "--survey", type=click.Path(path_type=Path), required=True, help="DR10-layout folder."
)
@click.option("--brick", "brick_name", help="Name of one brick, e.g. 0091p035: all its sources.")
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="FITS table with RELEASE, BRICKID, OBJID, Z, SPECTYPE: only its sources, in every brick.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("photoz-arrays"),
    show_default=True,
    help="Folder for the Zarr groups.",
)
@click.option(
    "--stamp-px",
    type=int,
    default=StampSize().optical_px,
    show_default=True,
    help="Side of the optical stamps; a network reads the middle of them.",
)
@click.option(
    "--wise-stamp-px",
    type=int,
    default=StampSize().wise_px,
    show_default=True,
    help="Side of the WISE stamps.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="With --brick: draw the stamps of the brightest galaxies, as PNG.",
)
@json_option
def build(
    survey: Path,
    brick_name: str | None,
    truth: Path | None,
    output: Path,
    stamp_px: int,
    wise_stamp_px: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Build Zarr arrays: stamps, features, photometry.

    With --brick of one brick; this is also how to see again why it was quarantined. With --truth
    training arrays: the sources with a known redshift of every brick, and the redshifts, for
    `engine train --arrays` and `engine evaluate --arrays`. Repeat the command to go on after a
    stop.

    \b
    Examples:
      engine build --survey dr10 --brick 1501p022
      engine build --survey dr10 --truth truth.fits --output arrays
    """
    if (brick_name is None) == (truth is None):
        raise UserError(
            "build: give either --brick NAME, for one brick, or --truth FILE, for training arrays"
        )
    try:
        stamp_size = StampSize(stamp_px, wise_stamp_px)
    except ValueError as error:
        raise UserError(
            f"--stamp-px {stamp_px}, --wise-stamp-px {wise_stamp_px}: {error}"
        ) from None
    if brick_name is not None:
        _build_brick(survey, brick_name, output, stamp_size, picture, as_json)
        return
    assert truth is not None
    if picture is not None:
        raise UserError(f"--picture {picture}: give --brick NAME, the brick to draw")
    _build_training_arrays(survey, truth, output, stamp_size, as_json)


def _build_brick(
    survey: Path,
    brick_name: str,
    output: Path,
    stamp_size: StampSize,
    picture: Path | None,
    as_json: bool,
) -> None:
    check_folder("--output", output)
    if (output / MANIFEST_FILE).exists():
        raise UserError(f"--output {output}: holds training arrays; choose another for one brick")
    if picture is not None:
        check_folder("--picture", picture.parent)
        if picture.suffix.lower() != ".png" or picture.is_dir():
            raise UserError(f"--picture {picture}: name a file that ends in .png")
    layout = open_survey(survey)
    (brick,) = select_bricks(read_bricks(layout), names=[brick_name])
    path = output / f"{brick.name}.zarr"
    counts = build_brick_arrays(layout, brick, stamp_size, path)
    if picture is not None:
        draw_stamps(read_arrays(path), f"brick {brick.name}", picture)
    if as_json:
        click.echo(json.dumps({"arrays": str(path), **asdict(counts)}))
        return
    bands = ", ".join(counts.decoded) or "none"
    click.echo(f"{path}: {counts.num_sources:,} sources of {counts.num_rows:,} rows; bands {bands}")


def _build_training_arrays(
    survey: Path, truth: Path, output: Path, stamp_size: StampSize, as_json: bool
) -> None:
    layout = open_survey(survey)
    known = read_known(truth)
    bricks = select_bricks(read_bricks(layout))
    check_folder("--output", output)
    with training_arrays_build(layout, bricks, known, truth, stamp_size, output) as work:
        num_done, num_bricks = len(work.done), len(work.planned)
        if num_done:
            say(as_json, f"Resuming {output}/: {num_done} of {num_bricks} bricks are done")
        remaining = num_bricks - num_done
        quiet = as_json or not remaining
        with Progress("bricks", remaining, "bricks", quiet=quiet) as progress:
            manifest = work.run(progress.advance)
    if as_json:
        click.echo(json.dumps({"arrays": str(output), **asdict(manifest)}))
    else:
        _show(output, manifest)
    for reason in manifest.quarantined.values():
        click.echo(f"engine: quarantined: {reason}", err=True)
    if manifest.quarantined:
        sys.exit(EXIT_QUARANTINED)


def _show(output: Path, manifest: Manifest) -> None:
    words = DROP_WORDS | UNMATCHED_WORDS
    click.echo(f"\nArrays   {output}")
    click.echo(
        f"sources  {manifest.num_rows:,} in {len(manifest.bricks):,} bricks "
        f"({len(manifest.quarantined)} quarantined), of {manifest.num_truth_rows:,} rows of the "
        "truth table"
    )
    for reason, count in manifest.dropped.items():
        if count:
            click.echo(f"       - {count:,} {words[reason]}")
    click.echo(f"stamps   {stamp_text(manifest.stamp_size)}")
    if manifest.num_tiles:
        share = 100 * manifest.num_tiles_decoded / manifest.num_tiles
        click.echo(f"decoded  {share:.1f} % of the image tiles")
    click.echo(f"\nNext\n  engine train --arrays {output} --output my-weights")
