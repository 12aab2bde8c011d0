"""Open a cluster from a machine profile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dask

from deploy.address import open_address
from deploy.cuda import open_cuda, visible_gpus
from deploy.local import open_local
from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError, check_profile
from deploy.settings import DASK_SETTINGS
from deploy.slurm_allocation import open_allocation
from deploy.slurm_queue import job_name


def check_machine(profile: MachineProfile) -> None:
    """What can be said at once, before minutes are spent on a plan: whether there is a GPU.

    Raises
    ------
    ProfileError
        If the profile asks for GPUs of this machine and it has none that can be used.
    """
    if profile.kind == "cuda":
        visible_gpus()


@contextmanager
def open_cluster(
    profile: MachineProfile, num_workers: int, run_folder: Path
) -> Iterator[OpenCluster]:
    """Dask workers on the machine that the profile describes; gone on leaving.

    Parameters
    ----------
    num_workers
        How many are wanted: the profile's, or fewer for a small run.
    run_folder
        The run directory. Slurm's workers write their logs there and find their certificates in
        its wip/; the names of jobs and of a Kubernetes cluster derive from its path.

    Raises
    ------
    ProfileError
        If the machine does not give what the profile asks for, or a package is missing.
    """
    check_profile(profile, f"machine profile of kind {profile.kind!r}")
    environment = dask.config.get("distributed.nanny.environ", {}) | profile.environment
    settings = DASK_SETTINGS | {"distributed.nanny.environ": environment}
    with dask.config.set(settings), _open(profile, num_workers, run_folder) as opened:
        yield opened


def _open(
    profile: MachineProfile, num_workers: int, run_folder: Path
) -> AbstractContextManager[OpenCluster]:
    if profile.kind == "local":
        return open_local(profile, num_workers)
    if profile.kind == "cuda":
        return open_cuda(profile, num_workers)
    if profile.kind == "address":
        return open_address(profile, num_workers)
    if profile.kind == "kubernetes":
        from deploy.kubernetes_cluster import open_kubernetes

        return open_kubernetes(profile, num_workers, job_name(run_folder))
    if profile.slurm.layout == "allocation":
        return open_allocation(profile, num_workers)
    try:
        with _ctrl_c_kept():
            from deploy.slurm_jobs import open_jobs
    except ImportError as error:
        raise ProfileError(
            f"kind 'slurm' needs dask-jobqueue, which cannot be loaded ({error}): "
            "pip install 'photoz-engine[slurm]'"
        ) from None
    return open_jobs(profile, num_workers, run_folder)


@contextmanager
def _ctrl_c_kept() -> Iterator[None]:
    """dask_jobqueue, when it is imported, lets Ctrl-C end the process as if all went well."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
