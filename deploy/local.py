"""Worker processes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster

from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile
from deploy.scratch import scratch_folder
from deploy.settings import local_pages


@contextmanager
def open_local(profile: MachineProfile, num_workers: int) -> Iterator[OpenCluster]:
    """One thread a worker; scheduler and workers listen on the loopback interface only."""
    with (
        scratch_folder(profile) as scratch,
        LocalCluster(
            n_workers=num_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            **local_pages(profile.dashboard.address),
            memory_limit=profile.memory_limit,
            local_directory=scratch,
            # What a partition raises is raised again here, in one line; workers need not print it.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        url = cluster.dashboard_link if profile.dashboard.address else None
        yield OpenCluster(client, num_workers, url)
