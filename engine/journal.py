"""The run directory: its plan, its lock, and its receipts.

    RUN/plan.json                 written before any work
    RUN/receipts/<pixel>.json     one per partition, written after the data it vouches for
    RUN/fragments/<pixel>/        rows of one partition, one Parquet file per leaf
    RUN/arrays/<pixel>/           Zarr groups of its bricks, where they are kept
    RUN/catalogue/                the HATS collection that `finish` makes of the fragments
    RUN/quarantined.txt           bricks left out, one a line with the reason: a list for --bricks
    RUN/wip/                      unfinished files; swept when a run begins
    RUN/workers/, RUN/driver.json what the processes of the run do now
    RUN/deaths/                   processes that died, and the bricks that they had in work
    RUN/submit/                   the job that `engine submit` wrote

Done means a receipt. Remaining = planned - receipts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.atomic import to_json, write_atomic
from engine.config import UserError
from engine.deaths import forget_deaths
from engine.lock import LOCK_FILE, BusyError, hold_lock
from engine.plan import (
    PlannedPartition,
    RunPlan,
    changed_bricks,
    refuse_other_plan,
)
from engine.plan_file import read_plan, write_plan
from partitions.healpix import Pixel

Receipt = dict[str, Any]

QUARANTINE_LIST = "quarantined.txt"
SUBMIT_FOLDER = "submit"
LOG_FOLDER = "slurm-logs"
_WAIT_FOR_OTHERS_S = 600.0


class Journal:
    """One run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan_path = folder / "plan.json"
        self.receipts_folder = folder / "receipts"
        self.fragments_folder = folder / "fragments"
        self.catalogue_folder = folder / "catalogue"
        self.wip_folder = folder / "wip"
        self.arrays_folder = folder / "arrays"

    def exists(self) -> bool:
        return self.plan_path.exists()

    def read_plan(self) -> RunPlan:
        """The plan of this run.

        Raises
        ------
        UserError
            If the folder holds no run, or a plan that cannot be read.
        """
        try:
            return read_plan(self.plan_path)
        except FileNotFoundError:
            raise UserError(f"{self.folder}: no run there (no plan.json); start one") from None

    def begin(
        self, plan: RunPlan, retry_quarantined: bool = False, is_alone: bool = True
    ) -> RunPlan:
        """Create the run directory, or accept it if it belongs to the same plan.

        With `retry_quarantined`, partitions with quarantined bricks lose their receipts, and the
        files of those bricks may have changed. Without `is_alone`, unfinished files may be those
        of another process at work and are left.

        Raises
        ------
        UserError
            If the directory holds something else, another plan, or the survey changed.
        """
        if not self.exists():
            self._create(plan)
            return plan
        if is_alone:
            self._sweep()
        old = self.read_plan()
        refuse_other_plan(old, plan, self.folder)
        quarantined = self.quarantined_bricks(old)
        for name, change in changed_bricks(old, plan).items():
            if name not in quarantined or not retry_quarantined:
                advice = (
                    "add --retry-quarantined" if name in quarantined else "choose another --output"
                )
                raise UserError(
                    f"{self.folder}: the survey changed since this run was planned: "
                    f"brick {name} {change}; {advice}"
                )
        if plan != old:  # The same work, but survey or weights moved, or a bad brick was mended.
            write_plan(self.plan_path, plan, self.wip_folder)
        # Only now: killed in between, the next attempt finds the new plan and the old receipts.
        if retry_quarantined:
            forget_deaths(self.folder, quarantined)
            self._forget_quarantined(plan)
        return plan

    def _create(self, plan: RunPlan) -> None:
        self._refuse_strangers()
        for folder in self._own_folders():
            folder.mkdir(exist_ok=True)
        write_plan(self.plan_path, plan, self.wip_folder)

    def _own_folders(self) -> tuple[Path, ...]:
        return self.wip_folder, self.receipts_folder, self.fragments_folder

    def _refuse_strangers(self) -> None:
        """A folder without a plan may hold what a first attempt leaves that was killed before its
        plan was written: a lock, empty folders, and an unfinished plan in wip/; or what
        `engine submit` leaves. Nothing else."""
        empty = {folder.name for folder in self._own_folders()[1:]}
        for entry in sorted(self.folder.iterdir()):
            is_wip = entry == self.wip_folder and all(
                litter.name.startswith("wip-") for litter in entry.iterdir()
            )
            is_empty = entry.name in empty and not any(entry.iterdir())
            is_ours = entry.name.startswith(LOCK_FILE) or entry.name in (SUBMIT_FOLDER, LOG_FOLDER)
            if not is_ours and not is_wip and not is_empty:
                raise UserError(
                    f"{self.folder}: not empty and no run (it holds {entry.name!r}, but no "
                    "plan.json); choose another --output"
                )

    def _forget_quarantined(self, plan: RunPlan) -> None:
        for pixel, receipt in self.each_receipt(plan):
            if receipt["quarantined"]:
                self._receipt_path(pixel).unlink()

    def _sweep(self) -> None:
        """Remove what an interrupted attempt left: unfinished files, and groups of kept arrays."""
        shutil.rmtree(self.wip_folder, ignore_errors=True)
        self.wip_folder.mkdir()
        for litter in self.arrays_folder.glob("*/wip-*"):
            shutil.rmtree(litter, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory, creating it if need be; the kernel lets go if we die.

        Raises
        ------
        UserError
            If it cannot be made or written, or another process holds it.
        """
        self._refuse_other_folder()
        with hold_lock(self.folder, "run"):
            yield

    @contextmanager
    def shared(self, plan: RunPlan, index: int, num_jobs: int) -> Iterator[RunPlan]:
        """Hold the run directory as one of several jobs, each with partitions of its own.

        The first creates the directory, the others accept it; whoever finds nobody at work sweeps.

        Raises
        ------
        UserError
            If it cannot be made or written, belongs to another plan, a process holds it alone, or
            the same job runs already.
        """
        self._refuse_other_folder()
        job = f"job {index} of {num_jobs}"
        with ExitStack() as held:
            held.enter_context(
                hold_lock(self.folder, job, name=f"{LOCK_FILE}-{index}-of-{num_jobs}")
            )
            with hold_lock(
                self.folder, "run", name=f"{LOCK_FILE}-begin", wait_s=_WAIT_FOR_OTHERS_S
            ):
                try:
                    with hold_lock(self.folder, "run"):
                        plan = self.begin(plan)
                    is_begun = True
                except BusyError:
                    is_begun = False
                held.enter_context(
                    hold_lock(self.folder, "run", shared=True, wait_s=_WAIT_FOR_OTHERS_S)
                )
                if not is_begun:
                    plan = self.begin(plan, is_alone=False)
            yield plan

    @contextmanager
    def locked_after_others(self) -> Iterator[None]:
        """Hold the run directory alone, once the jobs that share it have ended."""
        with hold_lock(self.folder, "run", wait_s=_WAIT_FOR_OTHERS_S):
            yield

    def _refuse_other_folder(self) -> None:
        """Before a lock file is left in somebody's folder."""
        try:
            if not self.exists() and self.folder.is_dir():
                self._refuse_strangers()
        except OSError as error:
            raise UserError(
                f"--output {self.folder}: cannot be read ({error.strerror}); choose another"
            ) from None

    def _receipt_path(self, pixel: Pixel) -> Path:
        return self.receipts_folder / f"{pixel}.json"

    def record(self, pixel: Pixel, receipt: Receipt) -> None:
        """Write a partition's receipt: from now on it is done."""
        write_atomic(self._receipt_path(pixel), to_json(receipt), self.wip_folder)

    def receipts(self, plan: RunPlan) -> dict[Pixel, Receipt]:
        """The receipts of the partitions that are done; `each_receipt` for those of a survey.

        Raises
        ------
        UserError
            If a receipt belongs to another plan or cannot be read.
        """
        return dict(self.each_receipt(plan))

    def each_receipt(self, plan: RunPlan) -> Iterator[tuple[Pixel, Receipt]]:
        """The same one after another, in pixel order: all of a survey's would fill the memory.

        Raises
        ------
        UserError
            If a receipt belongs to another plan or cannot be read.
        """
        present = {path.name for path in self.receipts_folder.glob("*.json")}
        for partition in plan.partitions:
            path = self._receipt_path(partition.pixel)
            if path.name not in present:
                continue
            # One may be withdrawn just now: not done.
            with suppress(FileNotFoundError):
                yield partition.pixel, self.read_receipt(path, plan)

    def read_receipt(self, path: Path, plan: RunPlan) -> Receipt:
        """One receipt.

        Raises
        ------
        FileNotFoundError
            If it is not there (any more).
        UserError
            If it belongs to another plan or cannot be read.
        """
        try:
            receipt: Receipt = json.loads(path.read_text())
            digest = receipt["plan_digest"]
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); remove it to redo the partition"
            ) from None
        if digest != plan.digest:
            raise UserError(
                f"{path}: receipt of plan {digest[:12]}, but this run's plan "
                f"is {plan.digest[:12]}; remove it to redo the partition"
            )
        return receipt

    def remaining(self, plan: RunPlan) -> list[PlannedPartition]:
        """Planned partitions without a receipt, in pixel order."""
        done = {pixel for pixel, _ in self.each_receipt(plan)}
        return [partition for partition in plan.partitions if partition.pixel not in done]

    def quarantined_bricks(self, plan: RunPlan) -> dict[str, str]:
        """Brick name -> reason, over all receipts."""
        return {
            name: why
            for _, receipt in self.each_receipt(plan)
            for name, why in receipt["quarantined"].items()
        }

    def list_quarantined(self, plan: RunPlan) -> None:
        """Write the list of quarantined bricks, or remove it if there are none."""
        path = self.folder / QUARANTINE_LIST
        lines = [f"{name}  # {reason}\n" for name, reason in self.quarantined_bricks(plan).items()]
        if lines:
            write_atomic(path, "".join(lines).encode(), self.wip_folder)
        else:
            path.unlink(missing_ok=True)
