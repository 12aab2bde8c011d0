"""All that the page says about a run, read from its directory; memory holds one leaf."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.catalogue.read import read_leaf_pixels, read_properties
from engine.config import UserError
from engine.journal import Journal
from engine.known import Known, read_known
from engine.leaf_columns import catalogue_columns, iterate_leaves, quantile_levels
from engine.plan import RunPlan
from engine.report.statistics import CatalogueStatistics, needed_columns, summarise_leaf
from engine.summary import RunStatus, repeat_command, run_status
from model.weights import Weights, WeightsError, load_weights
from partitions.bricks import Brick

_BRICK_STEPS = ("decode_s", "build_s", "write_s", "infer_s")


@dataclass(frozen=True)
class BrickState:
    """One planned brick."""

    brick: Brick
    state: str
    """`done`, `quarantined` or `waiting`."""
    partition: str
    num_sources: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Step -> seconds."""
    reason: str = ""
    """Why it was left out."""
    command: str = ""
    """What repeats the work on it."""


@dataclass(frozen=True)
class PartitionTime:
    """When a partition was done."""

    begin: float
    """Seconds since the epoch."""
    end: float
    num_sources: int


@dataclass(frozen=True)
class RunReport:
    """What the page shows."""

    status: RunStatus
    plan: RunPlan
    bricks: list[BrickState]
    times: list[PartitionTime]
    engine_versions: list[str]
    """Versions that wrote receipts."""
    catalogue: CatalogueStatistics | None
    """None while it is not published."""
    truth: str
    """Path of the truth table used, empty without one."""
    weights: Weights | None
    weights_problem: str
    """Why the weights cannot be read any more."""
    made_at: str
    """UTC."""
    made_by: str
    """Version that wrote the page."""


def count_leaves(run: Path) -> int:
    """Leaves of the run's published catalogue; 0 if there is none.

    Raises
    ------
    UserError
        If there is no run.
    """
    journal = Journal(run)
    journal.read_plan()
    catalogue = journal.catalogue_folder
    return len(read_leaf_pixels(catalogue)) if _is_published(catalogue) else 0


def _is_published(catalogue: Path) -> bool:
    try:
        read_properties(catalogue)
    except UserError:
        return False
    return True


def gather_run(
    run: Path, truth_path: Path | None, on_leaf: Callable[[], None] | None = None
) -> RunReport:
    """Read a run; without `truth_path`, the truth table that lies beside a mock survey is used.

    Raises
    ------
    UserError, SurveyError
        If there is no run, a leaf is damaged, or the truth table cannot be read.
    """
    journal = Journal(run)
    plan = journal.read_plan()
    times, versions = [], set()
    for _, done in journal.each_receipt(plan):
        begun_at = done["finished_at"] - done["elapsed_s"]
        times.append(PartitionTime(begun_at, done["finished_at"], done["num_sources"]))
        versions.add(done["engine_version"])
    if truth_path is None and plan.survey.truth_table.exists():
        truth_path = plan.survey.truth_table
    weights, problem = _read_weights(plan)
    return RunReport(
        status=run_status(journal, plan),
        plan=plan,
        bricks=_brick_states(journal, plan),
        times=times,
        engine_versions=sorted(versions),
        catalogue=_summarise(journal, truth_path, on_leaf),
        truth=str(truth_path or ""),
        weights=weights,
        weights_problem=problem,
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        made_by=version("photoz-engine"),
    )


def _read_weights(plan: RunPlan) -> tuple[Weights | None, str]:
    try:
        weights = load_weights(plan.weights_path)
    except WeightsError as error:
        return None, str(error)
    if weights.digest != plan.weights_digest:
        return None, (
            f"{plan.weights_path} holds other weights now: digest {weights.digest[:12]}, "
            f"the run's are {plan.weights_digest[:12]}"
        )
    return weights, ""


def _brick_states(journal: Journal, plan: RunPlan) -> list[BrickState]:
    receipts = journal.receipts(plan)
    states = []
    for partition in plan.partitions:
        receipt = receipts.get(partition.pixel)
        for planned in partition.bricks:
            name = planned.brick.name
            command = repeat_command(str(plan.survey.folder), name)
            pixel = str(partition.pixel)
            if receipt is not None and name in receipt["quarantined"]:
                reason = receipt["quarantined"][name]
                states.append(
                    BrickState(planned.brick, "quarantined", pixel, reason=reason, command=command)
                )
            elif receipt is not None and name in receipt["bricks"]:
                facts = receipt["bricks"][name]
                seconds = {step.removesuffix("_s"): facts[step] for step in _BRICK_STEPS}
                states.append(
                    BrickState(
                        planned.brick, "done", pixel, facts["num_sources"], seconds, "", command
                    )
                )
            else:
                states.append(BrickState(planned.brick, "waiting", pixel, command=command))
    return states


def _summarise(
    journal: Journal, truth_path: Path | None, on_leaf: Callable[[], None] | None
) -> CatalogueStatistics | None:
    catalogue = journal.catalogue_folder
    if not _is_published(catalogue):
        return None
    known = read_known(truth_path) if truth_path is not None else None
    levels = quantile_levels(catalogue)
    columns = needed_columns(catalogue_columns(catalogue))
    total = CatalogueStatistics()
    lookup = _KnownRedshifts(known) if known is not None else None
    for _, leaf in iterate_leaves(catalogue, columns):
        z_spec = lookup.of(leaf["TARGETID"]) if lookup is not None else None
        total = total + summarise_leaf(leaf, levels, z_spec)
        if on_leaf is not None:
            on_leaf()
    return total


class _KnownRedshifts:
    """Known redshifts by TARGETID."""

    def __init__(self, known: Known) -> None:
        order = np.argsort(known.targetid)
        self._targetid, self._z = known.targetid[order], known.truth.z[order]

    def of(self, targetid: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(N,) redshift of each source, NaN where it is not known."""
        place = np.minimum(np.searchsorted(self._targetid, targetid), len(self._targetid) - 1)
        return np.where(self._targetid[place] == targetid, self._z[place], np.nan)
