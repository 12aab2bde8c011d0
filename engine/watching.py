"""Looks at a run directory again and again: cheap, from any host, and without a trace in it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from engine.activity import Process, RunActivity, RunFiles, run_activity
from engine.deaths import read_deaths
from engine.driver_state import DriverState, read_drivers
from engine.journal import Journal
from engine.plan import RunPlan
from engine.receipt_facts import ReceiptReader
from engine.summary import RunStatus, run_status
from engine.worker_state import BEAT_S, WorkerState, read_worker_states

_QUIET_S = 3 * BEAT_S


class RunWatcher:
    """One run directory, of which the plan and each receipt are read once as long as they stay."""

    def __init__(self, run_folder: Path) -> None:
        self._journal = Journal(run_folder)
        self._receipts = ReceiptReader(self._journal)
        self._plan: RunPlan | None = None
        self._plan_state: tuple[int, int] | None = None
        self._planned: dict[str, list[str]] = {}

    def look(self) -> tuple[RunStatus | None, RunActivity]:
        """What came of the run so far, and what it does; no status while there is no plan.

        Raises
        ------
        UserError
            If there is no run and none begins, or its plan or a receipt cannot be read.
        """
        folder = self._journal.folder
        # In this order: a receipt that is newer than its worker's file only ends that work, one
        # that is older would let the bricks of two partitions count as one's.
        drivers = read_drivers(folder)
        workers = read_worker_states(folder)
        deaths = read_deaths(folder)
        now = time.time()
        gone = _gone((*drivers, *workers), now)
        if not self._journal.exists():
            beginning = run_activity(RunFiles(None, {}, drivers=drivers, gone=gone), now)
            if beginning.drivers:
                return None, beginning
        plan = self._read_plan()
        receipts = self._receipts.read(plan)
        status = run_status(self._journal, plan, receipts)
        files = RunFiles(
            planned=self._planned,
            receipts={str(pixel): facts for pixel, facts in receipts.items()},
            workers=workers,
            drivers=drivers,
            deaths=deaths,
            gone=gone,
            is_finished=status.finished,
            wip_changed_at=_changed_at(self._journal.wip_folder),
        )
        return status, run_activity(files, now)

    def _read_plan(self) -> RunPlan:
        try:
            found = os.stat(self._journal.plan_path)
            state = (found.st_mtime_ns, found.st_size)
        except OSError:
            state = None
        if self._plan is None or state is None or state != self._plan_state:
            self._plan, self._plan_state = self._journal.read_plan(), state
            self._planned = {
                str(partition.pixel): [planned.brick.name for planned in partition.bricks]
                for partition in self._plan.partitions
            }
        return self._plan


def _gone(states: Iterable[WorkerState | DriverState], now: float) -> set[Process]:
    """Processes of this host that have ended without a word.

    Asked of the kernel only once they are silent: in a container that shares the host's name,
    live processes cannot be seen either.
    """
    here = socket.gethostname()
    return {
        (state.host, state.pid)
        for state in states
        if state.host == here and now - state.updated_at > _QUIET_S and not _exists(state.pid)
    }


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # Another user's.
        return True
    return True


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
