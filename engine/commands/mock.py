"""`engine mock`: a mock survey with known redshifts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from engine.commands.options import json_option, workers_option
from engine.config import UserError, check_folder
from engine.progress import Progress
from partitions.dr10 import open_survey, read_bricks
from partitions.mock import MockConfig, write_mock_survey


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--fields",
    "num_fields",
    type=int,
    default=3,
    show_default=True,
    help="Patches of sky; each is seen by the four bricks around one brick corner.",
)
@click.option(
    "--image-size",
    "image_size_px",
    type=int,
    default=1400,
    show_default=True,
    help="Side of the optical images, pixels; 3600 is a whole brick.",
)
@click.option(
    "--density",
    "density_per_deg2",
    type=float,
    default=60_000.0,
    show_default=True,
    help="Sources per square degree; DR10 has 124,000.",
)
@workers_option
@json_option
def mock(
    folder: Path,
    seed: int,
    num_fields: int,
    image_size_px: int,
    density_per_deg2: float,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write a mock survey with known redshifts in the release's own file layout.

    \b
    Example: engine mock my-survey --seed 7 --fields 2
    """
    try:
        config = MockConfig(
            seed=seed,
            num_fields=num_fields,
            image_size_px=image_size_px,
            density_per_deg2=density_per_deg2,
        )
    except ValueError as error:
        raise UserError(f"mock: {error}") from None
    make_mock(folder, config, as_json, workers)
    num_bricks = len(read_bricks(open_survey(folder)))
    if as_json:
        click.echo(json.dumps({"survey": str(folder), "num_bricks": num_bricks}))
    else:
        click.echo(f"{folder}: {num_bricks} bricks; try: engine run --survey {folder}")


def make_mock(folder: Path, config: MockConfig, quiet: bool, workers: int | None) -> None:
    """Write the mock survey, with progress; one that is there already is kept as it is."""
    check_folder("mock survey", folder)
    num_workers = len(os.sched_getaffinity(0)) if workers is None else max(workers, 1)
    is_there = (folder / "mock.json").exists()
    with Progress("mock survey", config.num_bricks, "bricks", quiet=quiet or is_there) as progress:
        try:
            write_mock_survey(
                folder,
                config,
                num_workers=num_workers,
                progress=lambda done, _total: progress.set_done(done),
            )
        except FileExistsError as error:
            raise UserError(f"{error}") from None
