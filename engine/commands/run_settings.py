"""What `run` and `plan` are asked to do: options to a RunConfig."""

from __future__ import annotations

from pathlib import Path

import click

from engine.commands.mock import make_mock
from engine.commands.options import Command, say
from engine.config import RunConfig, UserError, check_folder, parse_region, read_brick_list
from engine.plan import RunPlan, make_plan
from engine.progress import Progress
from model.weights import default_weights_path, load_weights
from partitions.healpix import nside_to_order
from partitions.mock import MockConfig

_DEMO_SURVEY = Path("mock-survey")
_DEMO_SEED = 2026
_PATIENCE_S = 3.0
"""Planning that takes no longer shows no progress."""


def survey_options(command: Command) -> Command:
    """Options that say what to do, shared by `run` and `plan`."""
    options = (
        click.option(
            "--survey",
            type=click.Path(path_type=Path),
            help="Folder in the DR10 layout: a release root or a region folder. "
            "Without it the embedded mock survey is made and used.",
        ),
        click.option(
            "--healpix-nside",
            "nside",
            type=int,
            default=32,
            show_default=True,
            help="HEALPix nside (NESTED) of partitions and leaves; a power of two.",
        ),
        click.option(
            "--region",
            metavar="RA1,RA2,DEC1,DEC2",
            help="Only bricks that overlap this box, degrees; RA1 > RA2 crosses RA 0.",
        ),
        click.option(
            "--bricks",
            "bricks_file",
            type=click.Path(path_type=Path),
            help="Only the bricks named in this file, one a line.",
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="Folder of trained weights.  [default: the packaged `compact` network]",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            help="Sources in one batch of the network.  [default: what suits a CPU]",
        ),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            help="Run directory.  [default: photoz-run-<survey>-nside<N>]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_config(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    as_json: bool,
) -> RunConfig:
    """Settings from options; makes the mock survey if none was named."""
    # Everything that can be refused is looked at before minutes are spent on a mock survey.
    try:
        nside_to_order(nside)
    except ValueError as error:
        raise UserError(f"--healpix-nside: {error}") from None
    box = parse_region(region) if region is not None else None
    names = read_brick_list(bricks_file) if bricks_file is not None else None
    weights_path = weights if weights is not None else default_weights_path()
    load_weights(weights_path)
    if output is None:
        output = Path(f"photoz-run-{(survey or _DEMO_SURVEY).resolve().name}-nside{nside}")
    if survey is None:
        check_folder("--output", output.parent)
        survey = _DEMO_SURVEY
        say(as_json, f"No survey was named (--survey): using the embedded mock survey, {survey}/")
        make_mock(survey, MockConfig.demo(seed=_DEMO_SEED), as_json, None)
    return RunConfig(survey, output, nside, weights_path, box, names, batch_size)


def plan_visibly(config: RunConfig, quiet: bool) -> RunPlan:
    """`make_plan`, with progress where it takes long."""
    with Progress("planning", 0, "bricks", quiet=quiet, patience_s=_PATIENCE_S) as progress:
        return make_plan(config, progress.set_done)
