"""The log of a training run: as CSV, one line an epoch, complete after every epoch; as scalars."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path

from engine.atomic import write_atomic
from model.train import EpochLog

COLUMNS = tuple(field.name for field in fields(EpochLog))


def scalars(log: EpochLog) -> dict[str, float]:
    """What TensorBoard shows of an epoch, by tag; the part before the slash groups the plots."""
    return {
        "loss/train": log.train_loss,
        "loss/validation_nll": log.validation_nll,
        "validation/sigma_nmad": log.sigma_nmad,
        "validation/outlier_fraction": log.outlier_fraction,
        "speed/rows_per_s": log.rows_per_s,
    }


def read_epochs(path: Path) -> list[dict[str, str]]:
    """The epochs of a log, each the values of COLUMNS by name."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_epoch(path: Path, log: EpochLog) -> None:
    """Put an epoch at its place in the log; what a resumed run repeats is replaced."""
    earlier: list[dict[str, str]] = []
    if log.epoch > 1 and path.exists():
        earlier = [row for row in read_epochs(path) if int(row["epoch"]) < log.epoch]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*earlier, asdict(log)])
    write_atomic(path, text.getvalue().encode())
