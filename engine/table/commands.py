"""`engine table train` and `engine table predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from engine.atomic import to_json, write_atomic
from engine.config import UserError, check_folder
from engine.table.config import Reading, read_table_config
from engine.table.output import check_output, prediction_columns, write_table
from engine.table.reading import read_known_rows, read_rows
from engine.table.report import fit_lines
from engine.table.training import train_table
from model.table import MemberEpoch, TablePredictor, load_table_weights
from model.weights import WeightsError

METRICS_FILE = "metrics.json"

_path = click.Path(path_type=Path)
_json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group()
def table() -> None:
    """Redshifts from the photometry of any table: FITS, CSV, Parquet.

    Both commands take --json.

    \b
    Examples:
      engine table train galaxies.toml --output my-weights --baselines
      engine table predict my-weights all.fits --output photoz.parquet
    """


@table.command()
@click.argument("config_file", metavar="CONFIG.toml", type=_path)
@click.option("--output", type=_path, required=True, help="Folder for weights and metrics.")
@click.option("--baselines", is_flag=True, help="Also fit the three baselines on the same rows.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the file's.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the file's.")
@_json_option
def train(
    config_file: Path,
    output: Path,
    baselines: bool,
    seed: int | None,
    epochs: int | None,
    as_json: bool,
) -> None:
    """Fit an ensemble of small networks on a table with known redshifts, and judge it.

    CONFIG.toml says which columns the bands have:

    \b
      [table]
      files = ["galaxies.csv"]      # FITS, CSV or Parquet; relative to this file
      redshift = "Z"
      units = "mag"                 # or "nanomaggy"
      missing = [-99, 99]           # NaN always is
      reference = "r"
      ra = "RA"                     # with both: split by sky, else by row
      dec = "DEC"
      extra = ["EBV"]               # further columns to learn from
      [[band]]                      # in order of wavelength
      name = "g"
      value = "MAG_G"
      error = "MAGERR_G"            # or, of a flux, ivar = "FLUX_IVAR_G"
      [fit]
      seed = 0
      epochs = 40
      held_out = 0.2

    \b
    Example: engine table train galaxies.toml --output my-weights --baselines
    """
    given = {"seed": seed, "epochs": epochs}
    config = read_table_config(
        config_file, **{key: value for key, value in given.items() if value is not None}
    )
    check_folder("--output", output)
    known = read_known_rows(config)

    def on_epoch(epoch: MemberEpoch) -> None:
        if not as_json and (epoch.epoch % 10 == 0 or epoch.epoch == config.fit.epochs):
            click.echo(
                f"member {epoch.member}  epoch {epoch.epoch:3d}  loss {epoch.train_loss:.4f}  "
                f"validation nll {epoch.validation_nll:.4f}",
                err=True,
            )

    def on_baseline(name: str) -> None:
        if not as_json:
            click.echo(f"fitting {name}", err=True)

    fit = train_table(known, config, baselines, on_epoch, on_baseline)
    fit.weights.save(output)
    write_atomic(output / METRICS_FILE, to_json(fit.report()))
    if as_json:
        click.echo(json.dumps({"weights": str(output), **fit.report()}))
        return
    click.echo("\n".join(fit_lines(fit)))
    click.echo(f"\n{output}: digest {fit.weights.digest[:12]}; figures in {METRICS_FILE}")


@table.command()
@click.argument("weights_folder", metavar="WEIGHTS", type=_path)
@click.argument("tables", metavar="TABLE...", type=_path, nargs=-1, required=True)
@click.option("--output", type=_path, required=True, help="Table to write: .parquet, .fits, .csv.")
@click.option("--keep", metavar="COLUMN", multiple=True, help="Copy this column; can be repeated.")
@_json_option
def predict(
    weights_folder: Path,
    tables: tuple[Path, ...],
    output: Path,
    keep: tuple[str, ...],
    as_json: bool,
) -> None:
    """Redshifts of every row of tables with the columns that the weights were trained on.

    Rows keep their order. Z_PHOT_SAFE is the estimate that is least often an outlier, the others
    are those of the catalogue; Z_PHOT_BANDS counts the bands that a row has, Z_PHOT_OUTSIDE says
    that a value lies beyond those of the training rows.

    \b
    Example: engine table predict my-weights all.fits --output photoz.parquet --keep ID
    """
    check_output(output)
    if any(path.resolve() == output.resolve() for path in tables):
        raise UserError(f"--output {output}: is one of the tables to read; choose another")
    weights = load_table_weights(weights_folder)
    try:
        reading = Reading.from_dict(weights.reading)
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"{weights_folder}: does not say how to read a table ({error})"
        ) from None
    rows, kept = read_rows(tables, reading, tuple(dict.fromkeys(keep)))
    prediction = TablePredictor(weights).predict(rows)
    write_table(output, prediction_columns(prediction, kept), weights.digest)
    counts: dict[str, Any] = {
        "num_rows": len(rows),
        "num_without_band": int((prediction.num_bands == 0).sum()),
        "num_outside_range": int(prediction.outside_range.sum()),
    }
    if as_json:
        click.echo(json.dumps({"table": str(output), "digest": weights.digest, **counts}))
        return
    click.echo(
        f"{output}: {counts['num_rows']:,} rows; {counts['num_without_band']:,} without any band, "
        f"{counts['num_outside_range']:,} beyond the range of the training rows"
    )
