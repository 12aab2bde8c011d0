"""Open a cluster from a machine profile."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dask
from distributed import Client, LocalCluster

from deploy.profiles import MachineProfile

_SETTINGS = {
    # Dask closes the nanny of a worker that is missing this long, and after two crashes in a row
    # that can be a healthy one: a cluster then loses all its workers for good. Nannies restart
    # their workers within seconds, so there is nothing to clean up.
    "distributed.deploy.lost-worker-timeout": "1h",
    # The driver counts deaths itself, and knows which brick was in work.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.preload": ["deploy.worker_start"],
    # Partitions write to disk and hold one brick; spilling Dask's own data would help nobody.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
}


@dataclass(frozen=True)
class OpenCluster:
    """Dask workers that are there, and what keeps them there."""

    client: Client
    num_workers: int
    dashboard_url: str | None = None

    def replace_lost(self) -> list[str]:
        return []

    def waiting_for(self) -> str | None:
        return None

    def describe(self) -> str:
        num_alive = len(self.client.scheduler_info(n_workers=-1)["workers"])
        return f"{num_alive} of {self.num_workers} workers are there"


@contextmanager
def open_cluster(profile: MachineProfile) -> Iterator[OpenCluster]:
    """A Dask client on the machine that the profile describes; closed on leaving.

    Workers run one thread each, and scheduler and workers listen on the loopback interface only.
    """
    with (
        dask.config.set(_SETTINGS),
        tempfile.TemporaryDirectory(
            prefix="photoz-workers-",
            dir=profile.local_directory or None,
            ignore_cleanup_errors=True,
        ) as scratch,
        _local_cluster(profile, scratch) as cluster,
        Client(cluster) as client,
    ):
        yield OpenCluster(client, profile.workers)


def _local_cluster(profile: MachineProfile, scratch: str) -> LocalCluster:
    return LocalCluster(
        n_workers=profile.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        # Dask serves HTTP in any case, and would fight over its default port.
        dashboard_address="127.0.0.1:0",
        memory_limit=profile.memory_limit,
        local_directory=scratch,
        # What a partition raises is raised again here, in one line; workers need not print it.
        silence_logs=logging.CRITICAL,
    )
