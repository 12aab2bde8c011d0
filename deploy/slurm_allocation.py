"""Driver, scheduler and workers as the tasks of one Slurm job.

Task 0 serves as the scheduler, task 1 is the driver, the others are workers. All tasks may run the
same command, the driver's; a job of `engine submit` starts the others by way of this module, which
loads less (`python -m deploy.slurm_allocation PROFILE`). They meet in a folder that is named after
the job and its attempt.

dask_jobqueue's SLURMRunner does the same, but its driver cannot end a scheduler that talks TLS, and
a job that was requeued finds the scheduler file of its attempt before.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dask
from distributed import Client, Nanny, Scheduler

from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError, Tls, read_profile
from deploy.settings import DASK_SETTINGS, HIDDEN_PAGES
from deploy.tls import security_of, write_temporary_tls

_SCHEDULER_TASK, _DRIVER_TASK = 0, 1
_LOOK_S = 1.0
_WORKER_LOOK_S = 5.0
"""Between two looks of a worker at the shared file system: there may be thousands."""
_PATIENCE_S = 300.0
"""For the scheduler to appear."""


@dataclass(frozen=True)
class _Task:
    """One task of the step, from the environment that srun gives it."""

    rank: int
    num_tasks: int
    local_id: int
    job: str
    folder: Path
    """Where the tasks meet; private, on a file system that all of them see."""

    @property
    def scheduler_file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def ended_file(self) -> Path:
        """Appears when the driver needs no workers any more."""
        return self.folder / "ended"


def _this_task() -> _Task:
    try:
        rank, num_tasks, local_id = (
            int(os.environ[name]) for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
        )
        job, step = os.environ["SLURM_JOB_ID"], os.environ["SLURM_STEP_ID"]
    except (KeyError, ValueError):
        raise ProfileError(
            "slurm.layout='allocation': this is no task of a Slurm job; use engine submit, or srun "
            "with this command inside a job"
        ) from None
    if num_tasks < 3:
        raise ProfileError(
            f"slurm.layout='allocation': {num_tasks} tasks in the job; it takes one for the "
            "scheduler, one for the driver and at least one worker: srun --ntasks=3 or more"
        )
    attempt = f"{job}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    folder = os.environ.get("PHOTOZ_ALLOCATION", f"photoz-allocation-{attempt}-{step}")
    return _Task(rank, num_tasks, local_id, job, Path(folder).absolute())


def join_allocation(profile: MachineProfile) -> None:
    """To be called first of all: returns in the driver, and serves in the other tasks until the
    driver has ended, where it ends the process. Returns at once for any other kind of machine.

    Raises
    ------
    ProfileError
        If this is no task of a Slurm job of three tasks or more.
    """
    if profile.kind != "slurm" or profile.slurm.layout != "allocation":
        return
    task = _this_task()
    if task.rank == _DRIVER_TASK:
        atexit.register(_end, task)
        return
    # Signals reach all processes of a step; only the driver is to heed this one.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # All tasks print into the driver's log. What a partition raises is raised again by the driver,
    # in one line, and so is what becomes of workers.
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(DASK_SETTINGS | {"distributed.nanny.environ": profile.environment}):
        serve = _serve_scheduler if task.rank == _SCHEDULER_TASK else _serve_worker
        asyncio.run(serve(profile, task))
    sys.exit(0)


def _end(task: _Task) -> None:
    """Tell the other tasks that the driver needs them no more."""
    task.folder.mkdir(mode=0o700, exist_ok=True)
    task.ended_file.touch()


async def _serve_scheduler(profile: MachineProfile, task: _Task) -> None:
    task.folder.mkdir(mode=0o700, exist_ok=True)
    tls = profile.tls if profile.tls.ca_file else write_temporary_tls(task.folder)
    dashboard = profile.dashboard.address
    async with Scheduler(
        protocol="tls://",
        security=security_of(tls),
        interface=profile.slurm.interface or None,
        dashboard=bool(dashboard),
        dashboard_address=dashboard or HIDDEN_PAGES,
    ) as scheduler:
        wip = task.folder / "wip-scheduler.json"
        wip.write_text(json.dumps({"address": scheduler.address, **_paths(tls)}))
        wip.rename(task.scheduler_file)
        while not task.ended_file.exists():
            await asyncio.sleep(_LOOK_S)
        # Workers that lose their scheduler complain; those that leave before do not.
        deadline = time.monotonic() + 3 * _WORKER_LOOK_S
        while scheduler.workers and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S / 4)
    # All but the word that it ended: a worker may only now be looking for the scheduler.
    for path in task.folder.iterdir():
        if path != task.ended_file:
            path.unlink()


def _paths(tls: Tls) -> dict[str, str]:
    return {"ca_file": tls.ca_file, "cert_file": tls.cert_file, "key_file": tls.key_file}


def _find_scheduler(task: _Task) -> tuple[str, Tls] | None:
    """Address of the scheduler and its certificates, as soon as it is up; None after the end."""
    deadline = time.monotonic() + _PATIENCE_S
    while not task.scheduler_file.exists():
        if task.ended_file.exists():
            return None
        if time.monotonic() > deadline:
            raise ProfileError(
                f"task {task.rank} of Slurm job {task.job}: the scheduler, task 0, has not "
                f"appeared in {task.folder}; do all tasks see this folder?"
            )
        time.sleep(_LOOK_S / 4)
    met = json.loads(task.scheduler_file.read_text())
    return met.pop("address"), Tls(**met)


async def _serve_worker(profile: MachineProfile, task: _Task) -> None:
    """A nanny, which starts its worker anew when that dies; and a nanny anew if it gives up."""
    found = _find_scheduler(task)
    if found is None:
        return
    address, tls = found
    while not task.ended_file.exists():
        async with Nanny(
            address,
            # The last number chooses the GPU.
            name=f"task-{task.rank}-{task.local_id}",
            nthreads=1,
            memory_limit=profile.memory_limit,
            local_directory=profile.local_directory or None,
            security=security_of(tls),
            interface=profile.slurm.interface or None,
            dashboard=False,
            dashboard_address=HIDDEN_PAGES,
            preload_nanny=["deploy.one_gpu"] if profile.gpus_per_worker else None,
            death_timeout=120,
        ) as nanny:
            finished = asyncio.ensure_future(nanny.finished())
            while not task.ended_file.exists() and not finished.done():
                await asyncio.wait([finished], timeout=_WORKER_LOOK_S)
        if not task.ended_file.exists():
            await asyncio.sleep(_LOOK_S)


class AllocationCluster(OpenCluster):
    """Workers that are tasks of the job that the driver runs in."""

    def __init__(self, client: Client, num_workers: int, url: str | None, job: str) -> None:
        super().__init__(client, num_workers, url)
        self._job = job

    def describe(self) -> str:
        """Workers, and the job whose log they write to."""
        return f"{super().describe()}; they are tasks of Slurm job {self._job} and share its log"


@contextmanager
def open_allocation(profile: MachineProfile, num_workers: int) -> Iterator[OpenCluster]:
    """Use the tasks of this job, once `join_allocation` has parted them; they end on leaving.

    Raises
    ------
    ProfileError
        If this is no task of a Slurm job, or the scheduler does not appear.
    """
    task = _this_task()
    found = _find_scheduler(task)
    if found is None:
        raise ProfileError(f"Slurm job {task.job}: its workers have ended already")
    address, tls = found
    num_workers = min(num_workers, task.num_tasks - 2)
    try:
        with Client(address, security=security_of(tls), set_as_default=False) as client:
            url = client.dashboard_link if profile.dashboard.address else None
            yield AllocationCluster(client, num_workers, url, task.job)
    finally:
        _end(task)


if __name__ == "__main__":
    try:
        join_allocation(read_profile(Path(sys.argv[1])))
    except ProfileError as error:
        sys.exit(f"engine: {error}")
