"""The run directory: its plan, its lock, and its receipts.

    RUN/plan.json                 written before any work
    RUN/receipts/<pixel>.json     one per partition, written after the data it vouches for
    RUN/fragments/<pixel>/        rows of one partition, one Parquet file per leaf
    RUN/catalogue/                what `finish` makes of the fragments
    RUN/wip/                      unfinished files; swept when a run begins

Done means a receipt. Remaining = planned - receipts.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.atomic import to_json, write_atomic
from engine.config import UserError
from engine.plan import (
    PlannedPartition,
    RunPlan,
    changed_bricks,
    plan_from_json,
    plan_to_json,
    refuse_other_plan,
)
from partitions.healpix import Pixel

Receipt = dict[str, Any]


class Journal:
    """One run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan_path = folder / "plan.json"
        self.receipts_folder = folder / "receipts"
        self.fragments_folder = folder / "fragments"
        self.catalogue_folder = folder / "catalogue"
        self.wip_folder = folder / "wip"

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
            data = json.loads(self.plan_path.read_text())
        except FileNotFoundError:
            raise UserError(f"{self.folder}: no run there (no plan.json); start one") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{self.plan_path}: cannot be read ({error})") from None
        return plan_from_json(data, self.plan_path)

    def begin(self, plan: RunPlan, retry_quarantined: bool = False) -> RunPlan:
        """Create the run directory, or accept it if it belongs to the same plan.

        With `retry_quarantined`, partitions with quarantined bricks lose their receipts, and the
        files of those bricks may have changed.

        Raises
        ------
        UserError
            If the directory holds something else, another plan, or the survey changed.
        """
        if not self.exists():
            self._create(plan)
            return plan
        old = self.read_plan()
        refuse_other_plan(old, plan, self.folder)
        quarantined = self.quarantined_bricks()
        changes = changed_bricks(old, plan)
        excused = quarantined if retry_quarantined else {}
        for name, change in changes.items():
            if name not in excused:
                advice = (
                    "add --retry-quarantined" if name in quarantined else "choose another --output"
                )
                raise UserError(
                    f"{self.folder}: the survey changed since this run was planned: "
                    f"brick {name} {change}; {advice}"
                )
        if retry_quarantined and quarantined:
            self._forget_quarantined(plan)
        if plan != old:  # The same work, but survey or weights moved, or a bad brick was mended.
            write_atomic(self.plan_path, to_json(plan_to_json(plan)))
        self._sweep()
        return plan

    def _create(self, plan: RunPlan) -> None:
        # What a first attempt may have left that was killed before its plan was written.
        ours = {"lock", self.receipts_folder.name, self.fragments_folder.name, self.wip_folder.name}
        names = sorted(entry.name for entry in self.folder.iterdir())
        strangers = [name for name in names if name not in ours and not name.startswith("wip-")]
        if strangers:
            raise UserError(
                f"{self.folder}: not empty and no run (it holds {strangers[0]!r}, but no "
                "plan.json); choose another --output"
            )
        for folder in (self.receipts_folder, self.fragments_folder, self.wip_folder):
            folder.mkdir(exist_ok=True)
        write_atomic(self.plan_path, to_json(plan_to_json(plan)))

    def _forget_quarantined(self, plan: RunPlan) -> None:
        for pixel, receipt in self.receipts(plan).items():
            if receipt["quarantined"]:
                self._receipt_path(pixel).unlink()

    def _sweep(self) -> None:
        """Remove what an interrupted attempt left."""
        shutil.rmtree(self.wip_folder, ignore_errors=True)
        self.wip_folder.mkdir()
        for litter in self.folder.glob("**/wip-*"):
            if litter.is_dir():
                shutil.rmtree(litter, ignore_errors=True)
            else:
                litter.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory, creating it if need be; the kernel lets go if we die.

        Raises
        ------
        UserError
            If it cannot be made or written, or another process holds it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"--output {self.folder}: cannot be written ({error.strerror}); choose another"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{self.folder}: another process is working on this run; wait for it or stop it"
            ) from None
        else:
            yield
        finally:
            os.close(descriptor)

    def _receipt_path(self, pixel: Pixel) -> Path:
        return self.receipts_folder / f"{pixel}.json"

    def record(self, pixel: Pixel, receipt: Receipt) -> None:
        """Write a partition's receipt: from now on it is done."""
        write_atomic(self._receipt_path(pixel), to_json(receipt))

    def receipts(self, plan: RunPlan) -> dict[Pixel, Receipt]:
        """The receipts of the partitions that are done.

        Raises
        ------
        UserError
            If a receipt belongs to another plan or cannot be read.
        """
        present = {path.name for path in self.receipts_folder.glob("*.json")}
        receipts: dict[Pixel, Receipt] = {}
        for partition in plan.partitions:
            path = self._receipt_path(partition.pixel)
            if path.name not in present:
                continue
            try:
                receipt = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{path}: cannot be read ({error}); remove it to redo the partition"
                ) from None
            if receipt["plan_digest"] != plan.digest:
                raise UserError(
                    f"{path}: receipt of plan {receipt['plan_digest'][:12]}, but this run's plan "
                    f"is {plan.digest[:12]}; remove it to redo the partition"
                )
            receipts[partition.pixel] = receipt
        return receipts

    def remaining(self, plan: RunPlan) -> list[PlannedPartition]:
        """Planned partitions without a receipt, in pixel order."""
        done = self.receipts(plan)
        return [partition for partition in plan.partitions if partition.pixel not in done]

    def quarantined_bricks(self) -> dict[str, str]:
        """Brick name -> reason, over all receipts."""
        reasons: dict[str, str] = {}
        for path in sorted(self.receipts_folder.glob("*.json")):
            reasons |= json.loads(path.read_text())["quarantined"]
        return reasons
