"""Survey files and known redshifts -> a training set, by way of Zarr arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.config import UserError
from engine.targets import encode_targetid
from model.dataset import TrainingSet
from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.build import build_brick_arrays
from partitions.schema import StampSize
from partitions.store import Arrays, read_arrays
from partitions.truth import Truth


@dataclass(frozen=True)
class TrainingRows:
    """A training set and what was left out on the way."""

    rows: TrainingSet
    num_truth: int
    """Redshifts of galaxies and quasars in the truth table."""
    num_matched: int
    """Of these, found among the survey's catalogue rows."""
    quarantined: dict[str, str]
    """Brick -> why its files could not be used."""


def collect_training_rows(
    layout: SurveyLayout,
    bricks: list[Brick],
    truth: Truth,
    stamp_size: StampSize,
    on_brick: Callable[[Brick, int], None] | None = None,
) -> TrainingRows:
    """Build the arrays of every brick, one at a time, and keep the rows with a known redshift.

    Galaxies and quasars are matched by TARGETID; stars are left out, because a redshift of zero
    is no redshift to learn.

    Raises
    ------
    UserError
        If no row of the survey has a known redshift.
    """
    known = truth.extragalactic
    try:
        targetid = encode_targetid(truth.release[known], truth.brickid[known], truth.objid[known])
    except ValueError as error:
        raise UserError(f"truth table: {error}") from None
    order = np.argsort(targetid)
    targetid, z_true = targetid[order], truth.z[known][order]
    parts: list[TrainingSet] = []
    quarantined: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="photoz-train-") as scratch:
        for brick in bricks:
            path = Path(scratch) / "brick.zarr"
            try:
                build_brick_arrays(layout, brick, stamp_size, path)
            except BrickError as error:
                quarantined[brick.name] = str(error)
                continue
            arrays = read_arrays(path)
            rows, z = _match(arrays, targetid, z_true)
            if len(rows):
                parts.append(
                    TrainingSet.from_arrays(
                        arrays, z, stamp_size.optical_px, stamp_size.wise_px, rows
                    )
                )
            if on_brick is not None:
                on_brick(brick, len(rows))
    num_matched = sum(len(part) for part in parts)
    if not num_matched:
        raise UserError(
            f"survey {layout.folder}: none of its rows is among the {len(z_true)} galaxies and "
            "quasars of the truth table; they must share RELEASE, BRICKID and OBJID"
        )
    return TrainingRows(TrainingSet.concatenate(parts), len(z_true), num_matched, quarantined)


def _match(
    arrays: Arrays, targetid: np.ndarray, z_true: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a brick that have a known redshift, and the redshifts; `targetid` is sorted."""
    own = encode_targetid(arrays["release"], arrays["brickid"], arrays["objid"])
    place = np.minimum(np.searchsorted(targetid, own), len(targetid) - 1)
    rows = np.flatnonzero(targetid[place] == own)
    return rows, z_true[place[rows]]
