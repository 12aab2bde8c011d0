"""Where a run's partitions are done: in this process, on Dask workers, or as one job of many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.cluster import check_machine, open_cluster
from deploy.profiles import MachineProfile, find_profile, read_profile
from deploy.slurm_allocation import join_allocation
from engine.config import UserError
from engine.deaths import bricks_to_blame, read_deaths
from engine.driver_state import DriverReport, driver_path
from engine.infer import PartitionDone, PartitionTask, WorkerSettings, make_task
from engine.journal import Journal
from engine.plan import PlannedPartition, RunPlan
from engine.progress import Progress
from engine.schedule import (
    DriverRules,
    StopRequest,
    run_dask,
    run_serial,
    settle_deaths,
    without_bricks,
)
from engine.worker_state import forget_workers


@dataclass(frozen=True)
class Machine:
    """Where to run, as chosen on the command line."""

    profile: MachineProfile
    has_workers: bool
    """Dask workers; otherwise this process does the work."""
    words: str
    """For people, for example `2 workers`."""
    share: tuple[int, int] | None = None
    """This job's number, from 0, and the number of jobs that share the run."""
    is_default: bool = False
    """Nothing was said of it: a small run may do without workers."""

    def join(self) -> None:
        """To be called before anything else: among the tasks of one Slurm job only the driver
        comes back; the others serve until it has ended."""
        if self.has_workers:
            check_machine(self.profile)
            join_allocation(self.profile)

    def part_of(
        self, planned: Sequence[PlannedPartition], remaining: Sequence[PlannedPartition]
    ) -> list[PlannedPartition]:
        """Those of the remaining partitions that are this job's: every N-th of the plan's."""
        if self.share is None:
            return list(remaining)
        index, num_jobs = self.share
        mine = {partition.pixel for partition in planned[index::num_jobs]}
        return [partition for partition in remaining if partition.pixel in mine]

    def report(self, run_folder: Path, num_remaining: int) -> DriverReport:
        """What this process says of itself while it drives."""
        path = driver_path(run_folder, self.share[0] if self.share else None)
        return DriverReport(
            path, self.words, self.profile.workers if self.has_workers else 1, num_remaining
        )

    def settings(self) -> WorkerSettings:
        profile = self.profile
        return WorkerSettings(
            device=profile.device,
            decode_processes=profile.decode_processes,
            scratch_folder=Path(profile.local_directory) if profile.local_directory else None,
            brick_limit_s=60 * profile.limits.brick_minutes,
            max_deaths=profile.limits.deaths,
        )


THIS_PROCESS = Machine(MachineProfile(), False, "this process")


def choose_machine(
    profile_name: str | None, workers: int | None, index: int | None, num_jobs: int | None
) -> Machine:
    """Where to run, from the options of `engine run`.

    Raises
    ------
    UserError, ProfileError
        If options contradict each other, or the profile cannot be used.
    """
    if profile_name is not None and workers is not None:
        raise UserError(f"--profile {profile_name} and --workers {workers}: give one of them")
    if (index is None) != (num_jobs is None):
        raise UserError("--index and --of: give both, for example --index 0 --of 8")
    if profile_name is not None:
        profile = read_profile(find_profile(profile_name))
        words = f"profile {Path(profile_name).name}"
    else:
        profile, words = MachineProfile(), "this process"
    if index is not None and num_jobs is not None:
        if index >= num_jobs:
            raise UserError(f"--index {index} --of {num_jobs}: jobs count from 0 to {num_jobs - 1}")
        if workers:
            raise UserError(f"--index {index} and --workers {workers}: a job works in its process")
        return Machine(profile, False, f"job {index} of {num_jobs}", (index, num_jobs))
    if profile_name is not None:
        return Machine(profile, True, words)
    num_workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if not num_workers:
        return THIS_PROCESS
    words = "1 worker" if num_workers == 1 else f"{num_workers} workers"
    profile = replace(profile, workers=num_workers)
    return Machine(profile, True, words, is_default=workers is None)


def drive(
    plan: RunPlan,
    partitions: Sequence[PlannedPartition],
    journal: Journal,
    machine: Machine,
    report: DriverReport,
    keep_arrays: bool,
    quiet: bool,
) -> dict[str, str]:
    """Do partitions, with progress in bricks; returns those given up -> why.

    The report is kept up to date; the caller keeps it until the run has ended.
    """
    settle_deaths(journal.folder)
    if not partitions:
        return {}
    profile = machine.profile
    settings = machine.settings()
    tasks = [make_task(plan, partition, journal, keep_arrays, settings) for partition in partitions]
    num_bricks = sum(len(task.bricks) for task in tasks)
    num_workers = min(profile.workers, len(tasks))
    work_s = sum(receipt["elapsed_s"] for _, receipt in journal.each_receipt(plan))
    num_sources = 0
    with Progress("bricks", num_bricks, "bricks", quiet=quiet) as progress:

        def on_done(task: PartitionTask, done: PartitionDone) -> None:
            nonlocal num_sources
            num_sources += done.num_sources
            report.state.num_remaining -= 1
            progress.advance(done.num_bricks, f"{num_sources:,} sources")

        def say(text: str) -> None:
            report.state.message = text
            progress.say(text)

        if not machine.has_workers:
            blamed = bricks_to_blame(
                read_deaths(journal.folder), work_s, plan.num_bricks, settings.max_deaths
            )
            run_serial([without_bricks(task, blamed) for task in tasks], on_done)
            return {}
        rules = DriverRules(
            max_deaths=settings.max_deaths,
            stall_s=60 * profile.limits.stall_minutes,
            drain_s=profile.limits.drain_seconds,
        )
        with (
            StopRequest().listening() as stop,
            _without_traces(journal.folder),
            open_cluster(profile, num_workers, journal.folder) as workers,
        ):
            report.state.dashboard_url = workers.dashboard_url
            report.state.num_workers = workers.num_workers
            return run_dask(
                tasks,
                workers,
                rules,
                on_done,
                say,
                stop,
                work_s=work_s,
                num_bricks=plan.num_bricks,
            )


@contextmanager
def _without_traces(run_folder: Path) -> Iterator[None]:
    """Workers that we have ended ourselves did not die over their bricks."""
    try:
        yield
    finally:
        forget_workers(run_folder)
