"""Survey files and known redshifts -> a training set, from the sources' own rows and tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.config import UserError
from engine.known import SourceIndex
from engine.targets import encode_targetid
from model.dataset import TrainingSet
from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.build import BrickCounts, build_brick
from partitions.dr10 import TractorTable
from partitions.schema import StampSize
from partitions.store import Arrays
from partitions.truth import Truth


@dataclass(frozen=True)
class TrainingRows:
    """A training set and what was left out on the way. N rows."""

    rows: TrainingSet
    targetid: npt.NDArray[np.int64]
    """(N,) DESI TARGETID; also in `rows`."""
    num_truth: int
    """Galaxies and quasars with a redshift in the truth table."""
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
    """The rows with a known redshift of every brick, one brick at a time.

    Galaxies and quasars are matched by TARGETID; stars are left out, because a redshift of zero
    is no redshift to learn. A brick without any is not opened.

    Raises
    ------
    UserError
        If no row of the survey has a known redshift.
    """
    index = SourceIndex.of(truth)
    parts: list[TrainingSet] = []
    quarantined: dict[str, str] = {}
    for brick in bricks:
        num_rows = 0
        try:
            if brick.brickid in index.brickids:
                arrays, _ = build_known_rows(layout, brick, stamp_size, index)
                num_rows = len(arrays["objid"])
                if num_rows:
                    targetid = targetid_of(arrays)
                    z_true = truth.z[index.rows_of(targetid)]
                    size = stamp_size.optical_px, stamp_size.wise_px
                    parts.append(TrainingSet.from_arrays(arrays, z_true, *size, None, targetid))
        except BrickError as error:
            quarantined[brick.name] = str(error)
        if on_brick is not None:
            on_brick(brick, num_rows)
    if not parts:
        raise UserError(no_overlap_text(layout, len(index.targetid), quarantined))
    rows = TrainingSet.concatenate(parts)
    assert rows.targetid is not None
    return TrainingRows(rows, rows.targetid, len(index.targetid), len(rows), quarantined)


def build_known_rows(
    layout: SurveyLayout, brick: Brick, stamp_size: StampSize, index: SourceIndex
) -> tuple[Arrays, BrickCounts]:
    """Arrays of the sources of a brick that have a known redshift.

    Raises
    ------
    BrickError
        If a file is missing, damaged or contradicts another.
    """

    def wanted(table: TractorTable) -> npt.NDArray[np.bool_]:
        own = encode_targetid(table.release, table.brickid, table.objid)
        return index.rows_of(own) >= 0

    return build_brick(layout, brick, stamp_size, wanted)


def targetid_of(arrays: Arrays) -> npt.NDArray[np.int64]:
    """(N,) DESI TARGETID of a brick's arrays."""
    return encode_targetid(arrays["release"], arrays["brickid"], arrays["objid"])


def no_overlap_text(layout: SurveyLayout, num_truth: int, quarantined: dict[str, str]) -> str:
    """The user's mistake: survey and truth table share no source."""
    bad = f" ({len(quarantined)} bricks could not be read)" if quarantined else ""
    return (
        f"survey {layout.folder}: none of its rows is among the {num_truth} galaxies and "
        f"quasars of the truth table{bad}; they must share RELEASE, BRICKID and OBJID"
    )
