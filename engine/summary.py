"""What came of a run: counts from its receipts, accuracy where the truth is known."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.catalogue.finish import is_finished
from engine.catalogue.read import read_columns
from engine.journal import Journal
from engine.plan import RunPlan
from engine.receipt_facts import ReceiptFacts, ReceiptReader, sum_counts
from engine.targets import encode_targetid
from model.metrics import bias, normalised_error, outlier_fraction, sigma_nmad
from partitions.healpix import Pixel
from partitions.targets import CUT_COLUMNS
from partitions.truth import read_truth


@dataclass(frozen=True)
class Accuracy:
    """Point metrics of Z_PHOT_MEDIAN against known redshifts, stars left out.

    dz = (z_phot - z_spec) / (1 + z_spec); sigma_NMAD = 1.48 median |dz - median dz|;
    eta = fraction with |dz| > 0.15 (Wei et al. 2025).
    """

    num_sources: int
    bias: float
    sigma_nmad: float
    eta: float


@dataclass(frozen=True)
class RunStatus:
    """How far a run is."""

    run: str
    survey: str
    num_partitions: int
    num_partitions_done: int
    num_bricks: int
    num_bricks_done: int
    num_sources: int
    """Rows that finished partitions have for the catalogue."""
    num_rows_read: int
    """Rows of the Tractor tables read."""
    num_not_primary: int
    num_dup: int
    decoded: dict[str, int]
    """Band -> image files decoded."""
    quarantined: dict[str, str]
    """Brick -> reason."""
    covered_deg2: dict[str, float]
    """Optical band, or `grz` for the three together -> area with an exposure."""
    targets_left_out: dict[str, dict[str, int]]
    """DESI target cuts -> reason -> bricks in which they were not made and the bits are 0."""
    finished: bool
    """Whether the catalogue is complete and published."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step -> seconds, summed over workers."""


def run_status(
    journal: Journal, plan: RunPlan, receipts: Mapping[Pixel, ReceiptFacts] | None = None
) -> RunStatus:
    """The state of a run from its receipts, which are read from its directory unless given.

    Raises
    ------
    UserError
        If a receipt belongs to another plan or cannot be read.
    """
    if receipts is None:
        receipts = ReceiptReader(journal).read(plan)
    facts = receipts.values()
    bands = sorted({band for one in facts for band in one.covered_deg2})
    cuts = [name for name in CUT_COLUMNS if any(name in one.targets_left_out for one in facts)]
    steps = ("decode", "build", "write", "infer", "fragments")
    is_done = len(receipts) == len(plan.partitions)
    return RunStatus(
        run=str(journal.folder),
        survey=str(plan.survey.folder),
        num_partitions=len(plan.partitions),
        num_partitions_done=len(receipts),
        num_bricks=plan.num_bricks,
        num_bricks_done=sum(one.num_bricks for one in facts),
        num_sources=sum(one.num_sources for one in facts),
        num_rows_read=sum(one.num_rows for one in facts),
        num_not_primary=sum(one.num_not_primary for one in facts),
        num_dup=sum(one.num_dup for one in facts),
        decoded=sum_counts(one.decoded for one in facts),
        quarantined={name: why for one in facts for name, why in one.quarantined.items()},
        covered_deg2={
            band: math.fsum(one.covered_deg2.get(band, 0.0) for one in facts) for band in bands
        },
        targets_left_out={
            name: sum_counts(one.targets_left_out.get(name, {}) for one in facts) for name in cuts
        },
        finished=is_done and is_finished(journal, plan, sum_counts(one.leaf_rows for one in facts)),
        seconds={step: sum(one.seconds[step] for one in facts) for step in steps},
    )


def repeat_command(survey: str, brick_name: str) -> str:
    """The command that repeats the work on one brick and shows its error."""
    return shlex.join(["engine", "build", "--survey", survey, "--brick", brick_name])


def accuracy(catalogue: Path, truth_path: Path) -> Accuracy | None:
    """Compare a catalogue with a truth table by TARGETID; None if they share no galaxy.

    Raises
    ------
    SurveyError, ValueError
        If the truth table cannot be read or holds impossible identifiers.
    """
    truth = read_truth(truth_path)
    known = truth.extragalactic
    targetid = encode_targetid(truth.release[known], truth.brickid[known], truth.objid[known])
    columns = read_columns(catalogue, ["TARGETID", "Z_PHOT_MEDIAN"])
    _, rows, matches = np.intersect1d(
        columns["TARGETID"], targetid, assume_unique=True, return_indices=True
    )
    if not len(rows):
        return None
    dz = normalised_error(columns["Z_PHOT_MEDIAN"][rows], truth.z[known][matches])
    return Accuracy(len(dz), bias(dz), sigma_nmad(dz), outlier_fraction(dz))
