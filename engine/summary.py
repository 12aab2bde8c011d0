"""What came of a run: counts from its receipts, accuracy where the truth is known."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.catalogue.coverage import sum_coverage
from engine.catalogue.finish import is_finished
from engine.catalogue.read import read_columns
from engine.journal import Journal
from engine.plan import RunPlan
from engine.targets import encode_targetid
from model.metrics import bias, normalised_error, outlier_fraction, sigma_nmad
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


def run_status(journal: Journal, plan: RunPlan) -> RunStatus:
    """Read the state of a run from its directory."""
    receipts = journal.receipts(plan)
    bricks = [facts for receipt in receipts.values() for facts in receipt["bricks"].values()]
    decoded: dict[str, int] = {}
    for facts in bricks:
        for band, count in facts["decoded"].items():
            decoded[band] = decoded.get(band, 0) + count
    coverage = sum_coverage(receipts.values())
    steps = ("decode_s", "build_s", "write_s", "infer_s")
    seconds = {step.removesuffix("_s"): sum(facts[step] for facts in bricks) for step in steps}
    seconds["fragments"] = sum(receipt["write_s"] for receipt in receipts.values())
    quarantined = {
        name: reason
        for receipt in receipts.values()
        for name, reason in receipt["quarantined"].items()
    }
    return RunStatus(
        run=str(journal.folder),
        survey=str(plan.survey.folder),
        num_partitions=len(plan.partitions),
        num_partitions_done=len(receipts),
        num_bricks=plan.num_bricks,
        num_bricks_done=len(bricks),
        num_sources=sum(receipt["num_sources"] for receipt in receipts.values()),
        num_rows_read=sum(facts["num_rows"] for facts in bricks),
        num_not_primary=sum(facts["num_not_primary"] for facts in bricks),
        num_dup=sum(facts["num_dup"] for facts in bricks),
        decoded={band: decoded[band] for band in sorted(decoded)},
        quarantined=quarantined,
        covered_deg2=coverage.covered_deg2,
        targets_left_out={
            name: cut.left_out for name, cut in coverage.cuts.items() if cut.left_out
        },
        finished=is_finished(journal, plan),
        seconds=seconds,
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
