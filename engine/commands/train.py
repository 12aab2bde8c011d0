"""`engine train`: fit a network on sources with known redshifts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from engine.arrays.read import open_training_arrays, read_training_rows
from engine.commands.options import (
    EXIT_QUARANTINED,
    arrays_option,
    json_option,
    refuse_two_sources,
    say,
)
from engine.config import UserError, check_folder
from engine.fit import TrainingRows, collect_training_rows
from engine.known import dropped_text, read_known
from engine.progress import Progress
from engine.training_log import scalars, write_epoch
from model.device import check_devices, default_device
from model.event_log import EventLog
from model.network import CompactConfig, NetworkConfig, Wei2025Config
from model.train import EpochLog, TrainConfig
from model.train import train as fit_network
from model.weights import load_weights
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import StampSize
from partitions.tiling import select_bricks


@click.command()
@click.option(
    "--survey",
    type=click.Path(path_type=Path),
    help="DR10-layout folder whose sources have known redshifts.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="FITS table with RELEASE, BRICKID, OBJID, Z, SPECTYPE.  [default: <survey>/truth.fits]",
)
@arrays_option
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder for the weights."
)
@click.option(
    "--network", type=click.Choice(["compact", "wei2025"]), default="compact", show_default=True
)
@click.option(
    "--modality",
    type=click.Choice(["both", "photometry", "images"]),
    default="both",
    show_default=True,
    help="What the network sees.",
)
@click.option(
    "--parts",
    type=click.Choice(["two", "one"]),
    help="wei2025: optical and infrared networks, or one for all channels.  [default: two]",
)
@click.option(
    "--head",
    type=click.Choice(["classification", "regression"]),
    help="wei2025: bins of redshift, or one number.  [default: classification]",
)
@click.option(
    "--pretrained",
    type=click.Path(path_type=Path),
    multiple=True,
    help="wei2025: weights of an image-only or photometry-only network to start from.",
)
@click.option(
    "--balance",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="0: every source counts alike; 1: every redshift does.",
)
@click.option(
    "--balance-classes",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="0: every source counts alike; 1: every class (ELG_CLASS, CLASS or SPECTYPE of the truth "
    "table) does.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to train.  [default: cuda where torch sees a CUDA device, else cpu]",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share every batch: one a GPU, or on CPU as many as named.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    help="Of the forward and backward passes; parameters stay float32.  [default: float32]",
)
@click.option("--bfloat16", is_flag=True, help="Short for --precision bfloat16.")
@click.option(
    "--tensorboard", is_flag=True, help="Write the losses into OUTPUT.training/tensorboard too."
)
@json_option
def train(
    survey: Path | None,
    truth: Path | None,
    arrays: Path | None,
    output: Path,
    network: str,
    modality: str,
    parts: str | None,
    head: str | None,
    pretrained: tuple[Path, ...],
    balance: float,
    balance_classes: float,
    epochs: int,
    seed: int,
    device: str | None,
    devices: int,
    precision: str | None,
    bfloat16: bool,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Fit a network on sources with known redshifts; stars are left out.

    Rows are split by sky into 80 % training, 10 % validation (choice of epoch, calibration) and
    10 % that nothing is fitted on. OUTPUT.training holds the log (log.csv) and the state after
    every epoch: a run that was killed goes on from there when the same command is repeated.
    Several devices share every batch and learn what one does, up to rounding.

    \b
    Examples:
      engine train --survey mock-survey --output my-weights --epochs 5
      engine train --arrays photoz-arrays --output my-weights
    """
    refuse_two_sources("train", survey, truth, arrays)
    config = _train_config(
        seed, epochs, balance, balance_classes, device, devices, precision, bfloat16
    )
    check_folder("--output", output)
    progress_folder = output.with_name(f"{output.name}.training")
    check_folder("--output", progress_folder)
    state = progress_folder / "state"
    events = _event_log(progress_folder / "tensorboard") if tensorboard else None
    network_config = _network_config(network, modality, parts, head)
    start_from = [load_weights(folder) for folder in pretrained]
    size = StampSize(network_config.optical_px, network_config.wise_px)
    collected = _collect(survey, truth, arrays, size, as_json)
    if state.exists():
        say(as_json, f"going on from {state}")

    def on_epoch(log: EpochLog) -> None:
        write_epoch(progress_folder / "log.csv", log)
        if events is not None:
            events.write(log.epoch, scalars(log))
        if not as_json:
            click.echo(str(log), err=True)

    try:
        weights = fit_network(
            collected.rows,
            config,
            network_config,
            on_epoch,
            checkpoint=state,
            pretrained=start_from,
        )
    except ValueError as error:  # Too few rows or patches of sky, or parts that do not fit.
        raise UserError(f"train on {collected.num_matched:,} rows: {error}") from None
    finally:
        if events is not None:
            events.close()
    weights.save(output)
    state.unlink(missing_ok=True)
    validation = weights.provenance["validation"]
    if as_json:
        click.echo(json.dumps({"weights": str(output), "digest": weights.digest, **validation}))
    else:
        click.echo(
            f"{output}: digest {weights.digest[:12]}; validation sigma_NMAD "
            f"{validation['sigma_nmad']:.4f}, eta {100 * validation['eta_0.15']:.1f} %"
        )
    if collected.quarantined:
        for reason in collected.quarantined.values():
            click.echo(f"engine: quarantined: {reason}", err=True)
        sys.exit(EXIT_QUARANTINED)


def _collect(
    survey: Path | None, truth: Path | None, arrays: Path | None, size: StampSize, as_json: bool
) -> TrainingRows:
    """The rows with a known redshift, of a survey or of arrays; says what was left out."""
    if arrays is not None:
        manifest = open_training_arrays(arrays, size)
        dropped = manifest.dropped_by_table
        with Progress("arrays", len(manifest.bricks), "bricks", quiet=as_json) as progress:
            collected, labels = read_training_rows(arrays, manifest, size, progress.advance)
    else:
        assert survey is not None
        layout = open_survey(survey)
        known = read_known(truth if truth is not None else layout.truth_table)
        dropped = known.dropped
        bricks = select_bricks(read_bricks(layout))
        with Progress("bricks", len(bricks), "bricks", quiet=as_json) as progress:
            collected = collect_training_rows(
                layout, bricks, known.truth, size, lambda _brick, _rows: progress.advance()
            )
        place = np.argsort(known.targetid)
        found = np.searchsorted(known.targetid[place], collected.targetid)
        labels = known.labels[place][found]
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    collected = replace(collected, rows=replace(collected.rows, class_code=codes))
    left_out = dropped_text(dropped)
    say(
        as_json,
        f"{collected.num_matched:,} of {collected.num_truth:,} known redshifts matched"
        f"{f' (left out: {left_out})' if left_out else ''}; "
        f"{len(collected.quarantined)} bricks quarantined",
    )
    return collected


def _train_config(
    seed: int,
    epochs: int,
    balance: float,
    balance_classes: float,
    device: str | None,
    devices: int,
    precision: str | None,
    bfloat16: bool,
) -> TrainConfig:
    if bfloat16 and precision == "float32":
        raise UserError("--bfloat16 and --precision float32 contradict each other: leave out one")
    device = default_device() if device is None else device
    chosen: Any = "bfloat16" if bfloat16 or precision == "bfloat16" else "float32"
    try:
        check_devices(device, devices)
        return TrainConfig(
            seed=seed,
            epochs=epochs,
            balance=balance,
            balance_classes=balance_classes,
            precision=chosen,
            device=device,
            devices=devices,
        )
    except ValueError as error:
        raise UserError(f"train: {error}") from None


def _event_log(folder: Path) -> EventLog:
    try:
        return EventLog(folder)
    except ImportError as error:
        raise UserError(f"--tensorboard: {error}") from None


def _network_config(
    network: str, modality: str, parts: str | None, head: str | None
) -> NetworkConfig:
    chosen: Any = {"compact": CompactConfig, "wei2025": Wei2025Config}[network]
    extra = {name: value for name, value in (("parts", parts), ("head", head)) if value is not None}
    if extra and network != "wei2025":
        raise UserError(f"--{next(iter(extra))} is for --network wei2025, not for {network}")
    config: NetworkConfig = chosen(modality=modality, **extra)
    return config
