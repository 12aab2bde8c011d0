"""Workers in Slurm jobs of their own, submitted and replaced by the driver.

Importing this module imports dask_jobqueue, which takes over Ctrl-C: `deploy.cluster` undoes that.
"""

from __future__ import annotations

import itertools
import math
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client, Status

from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError, Tls
from deploy.settings import DASK_SETTINGS, HIDDEN_PAGES, as_environment
from deploy.slurm_queue import QueuedJob, cancel_jobs, queued_jobs, refusal, worker_job_name
from deploy.slurm_script import check_run_folder, log_folder, walltime_s
from deploy.tls import security_of, tls_settings, write_temporary_tls

# So many jobs for each one wanted may end before a worker of theirs was seen: a module that does
# not load or a full disk would otherwise submit jobs for ever.
_MAX_BARREN_ROUNDS = 3


class _WorkerJob(SLURMJob):  # type: ignore[misc]
    """A job whose log file and name are arguments of sbatch: a path needs no quoting there."""

    status: Status

    def __init__(self, *arguments: Any, sbatch: list[str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sbatch = sbatch

    async def _submit_job(self, script_filename: str) -> str:
        command = [*self._sbatch, script_filename]
        before = self.status
        self.status = Status.failed  # What closing the cluster asks for.
        try:
            answer = str(await self._call(command))
        except FileNotFoundError:
            raise ProfileError("sbatch: not found; this machine is no part of a Slurm") from None
        except RuntimeError as error:  # Its text holds the whole command line.
            stderr = str(error).partition("stderr:\n")[2]
            raise ProfileError(refusal(command, stderr)) from None
        self.status = before
        return answer


class _WorkerCluster(SLURMCluster):  # type: ignore[misc]
    """Jobs are never given the name of an earlier one, which its worker may still hold."""

    job_cls = _WorkerJob

    def __init__(self, **options: Any) -> None:
        self._numbers = itertools.count()
        super().__init__(**options)

    def _new_worker_name(self, worker_number: int) -> str:
        return f"{self._name}-{next(self._numbers)}"

    def _get_worker_security(self, security: Any) -> None:
        """Jobs find their certificates by the environment: the paths would come unquoted."""


class JobsCluster(OpenCluster):
    """Workers in jobs; a job that is gone from the queue is replaced."""

    def __init__(
        self,
        client: Client,
        cluster: _WorkerCluster,
        profile: MachineProfile,
        num_workers: int,
        run_folder: Path,
    ) -> None:
        url = cluster.dashboard_link if profile.dashboard.address else None
        super().__init__(client, num_workers, url)
        self._cluster = cluster
        self._num_jobs = math.ceil(num_workers / profile.slurm.workers_per_job)
        self._name = worker_job_name(run_folder)
        self._logs = log_folder(profile, run_folder)
        self._queued: dict[str, QueuedJob] = {}
        self._num_barren = 0

    def submit_missing(self) -> list[str]:
        """Submit as many jobs as are missing; returns their ids."""
        new: list[str] = self._cluster.sync(self._submit_missing)
        return new

    async def _submit_missing(self) -> list[str]:
        cluster = self._cluster
        before = {job.job_id for job in cluster.workers.values()}
        while len(cluster.worker_spec) < self._num_jobs:
            cluster.worker_spec.update(cluster.new_worker_spec())
        # What `scale` does; but that only logs what goes wrong, later and elsewhere.
        await cluster._correct_state()
        return [job.job_id for job in cluster.workers.values() if job.job_id not in before]

    async def _forget(self, names: list[str]) -> None:
        for name in names:
            del self._cluster.worker_spec[name]

    def replace_lost(self) -> list[str]:
        """Submit a job for each that is gone from the queue: cancelled, at its time limit, or its
        node was lost.

        Raises
        ------
        ProfileError
            If jobs end again and again before a worker is seen.
        """
        try:
            self._queued = queued_jobs(self._name)
            jobs = {name: job.job_id for name, job in self._cluster.workers.items()}
            lost = {name: job for name, job in jobs.items() if job not in self._queued}
            if not lost and len(jobs) >= self._num_jobs:
                return []
            self._count_barren(list(lost))
            self._cluster.sync(self._forget, list(lost))
            new = self.submit_missing()
        except ProfileError as error:
            if self._num_barren > self._most_barren:
                raise
            return [f"{error}; tried again soon"]
        gone = ", ".join(str(job) for job in lost.values() if job) or "none"
        return [
            f"worker jobs gone from the queue: {gone}; submitted in their place: {', '.join(new)}"
        ]

    @property
    def _most_barren(self) -> int:
        return _MAX_BARREN_ROUNDS * self._num_jobs

    def _count_barren(self, lost: list[str]) -> None:
        if self.num_live():
            self._num_barren = 0
            return
        self._num_barren += len(lost)
        if self._num_barren > self._most_barren:
            raise ProfileError(
                f"{self._num_barren} worker jobs in a row ended and no worker is there; see what "
                f"they say in {self._logs}"
            )

    def waiting_for(self) -> str | None:
        """The queue, as long as no job of the run has begun."""
        pending = [job for job in self._queued.values() if job.state == "PENDING"]
        if not pending or self.num_live():
            return None
        reasons = ", ".join(sorted({job.reason for job in pending}))
        return f"Slurm: {len(pending)} worker jobs are pending ({reasons})"

    def describe(self) -> str:
        """Workers, jobs by state, and where they write."""
        try:
            self._queued = queued_jobs(self._name)
        except ProfileError as error:
            return f"{super().describe()}; {error}; their logs are in {self._logs}"
        states = [job.state for job in self._queued.values()]
        counts = ", ".join(f"{states.count(s)} {s.lower()}" for s in sorted(set(states)))
        return (
            f"{super().describe()}; Slurm jobs named {self._name}: {counts or 'none'}; "
            f"their logs are in {self._logs}"
        )


@contextmanager
def open_jobs(profile: MachineProfile, num_workers: int, run_folder: Path) -> Iterator[OpenCluster]:
    """Submit jobs that hold the workers; they are cancelled on leaving.

    They talk TLS. The certificate of this cluster alone lies in a private folder of the run
    directory, unless the profile names files.

    Raises
    ------
    ProfileError
        If Slurm refuses a job, in Slurm's words.
    """
    check_run_folder(run_folder)
    logs = log_folder(profile, run_folder)
    logs.mkdir(parents=True, exist_ok=True)
    wip = run_folder / "wip"
    wip.mkdir(parents=True, exist_ok=True)
    # An earlier driver that was killed had no time to cancel its jobs.
    cancel_jobs(worker_job_name(run_folder))
    with tempfile.TemporaryDirectory(prefix="wip-tls-", dir=wip) as private:
        tls = profile.tls if profile.tls.ca_file else write_temporary_tls(Path(private).resolve())
        with (
            _WorkerCluster(**_cluster_options(profile, tls, run_folder)) as cluster,
            Client(cluster) as client,
        ):
            opened = JobsCluster(client, cluster, profile, num_workers, run_folder)
            opened.submit_missing()
            yield opened


def _cluster_options(profile: MachineProfile, tls: Tls, run_folder: Path) -> dict[str, Any]:
    slurm = profile.slurm
    name = worker_job_name(run_folder)
    dashboard = profile.dashboard.address
    per_job = slurm.workers_per_job
    log = str(log_folder(profile, run_folder) / "worker-%j.log")
    directives = [
        *([f"--qos={slurm.qos}"] if slurm.qos else []),
        *([f"--constraint={slurm.constraint}"] if slurm.constraint else []),
        *slurm.directives,
    ]
    return {
        "name": name,
        "job_name": name,
        "queue": slurm.queue or None,
        "account": slurm.account or None,
        "walltime": slurm.walltime,
        "job_extra_directives": directives,
        "sbatch": ["sbatch", "--parsable", f"--output={log}"],
        # One Dask thread a worker; the other cores are its decode processes'.
        "cores": per_job,
        "job_cpu": profile.threads * per_job,
        "processes": per_job,
        "memory": f"{parse_bytes(profile.memory_limit) * per_job}B",
        "interface": shlex.quote(slurm.interface) if slurm.interface else None,
        "protocol": "tls://",
        "security": security_of(tls),
        "python": shlex.quote(sys.executable),
        "local_directory": shlex.quote(profile.local_directory)
        if profile.local_directory
        else None,
        "death_timeout": 120,
        "job_script_prologue": [*slurm.prologue, *_exports(profile, tls)],
        "worker_extra_args": worker_arguments(profile),
        "scheduler_options": {
            "interface": slurm.interface or None,
            "dashboard": bool(dashboard),
            "dashboard_address": dashboard or HIDDEN_PAGES,
        },
        "silence_logs": "critical",
    }


def _exports(profile: MachineProfile, tls: Tls) -> list[str]:
    """Shell lines that set the environment of the workers of a job."""
    environment = {
        **as_environment(DASK_SETTINGS),
        **as_environment(tls_settings(tls)),
        **profile.environment,
    }
    return [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]


def worker_arguments(profile: MachineProfile) -> list[str]:
    """Arguments of `dask worker`: it leaves before its job's time limit, workers one by one."""
    limit = walltime_s(profile.slurm.walltime)
    stagger = min(60.0, limit / 10)
    lifetime = max(limit - profile.slurm.warning_seconds - stagger, limit / 2)
    gpu = ["--preload-nanny", "deploy.one_gpu"] if profile.gpus_per_worker else []
    return [
        *("--lifetime", f"{lifetime:.0f}s", "--lifetime-stagger", f"{stagger:.0f}s"),
        *("--no-dashboard", "--dashboard-address", HIDDEN_PAGES, *gpu),
    ]
