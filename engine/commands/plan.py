"""`engine plan`: what a run would do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from engine.commands.options import json_option
from engine.commands.run_settings import plan_visibly, run_config, survey_options
from engine.project import project
from engine.terminal import show_plan
from model.predict import Predictor
from model.weights import load_weights


@click.command()
@survey_options
@json_option
def plan(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say what a run would do: partitions, bricks, rows, bytes, memory and time.

    Reads brick tables, looks at the files of every brick, measures the network on this machine,
    writes nothing (but the mock survey, if no survey is named).

    \b
    Example: engine plan --survey dr10 --region 149.5,150.7,1.6,2.8
    """
    config = run_config(survey, nside, region, bricks_file, weights, batch_size, output, as_json)
    made = plan_visibly(config, as_json)
    predictor = Predictor(load_weights(config.weights), batch_size=made.batch_size)
    projection = project(made, predictor)
    if as_json:
        click.echo(json.dumps({"digest": made.digest, **asdict(projection)}))
        return
    show_plan(made, projection, config)
