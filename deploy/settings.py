"""Dask's settings for a run: for the driver, and as environment variables for workers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DASK_SETTINGS: dict[str, Any] = {
    # Dask closes the nanny of a worker that is missing this long, and after two crashes in a row
    # that can be a healthy one: a cluster then loses all its workers for good. Nannies restart
    # their workers within seconds, and lost jobs are replaced here.
    "distributed.deploy.lost-worker-timeout": "1h",
    # The driver counts the deaths of a brick itself and submits it again.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.preload": ["deploy.worker_start"],
    # Each connection keeps the last messages, tasks with their bricks included, for whoever debugs
    # Dask: 1,000 of them would be 50 MB a worker.
    "distributed.admin.low-level-log-length": 10,
    # Partitions write to disk and hold one brick; spilling Dask's own data would help nobody.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
}

# Scheduler and workers always serve a few pages over HTTP; without a dashboard on loopback only.
HIDDEN_PAGES = "127.0.0.1:0"


def local_pages(address: str) -> dict[str, Any]:
    """Options of a local cluster: a dashboard at this address; without one its pages are hidden."""
    return {
        "dashboard_address": address or None,
        "scheduler_kwargs": {} if address else {"dashboard_address": HIDDEN_PAGES},
    }


def as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as the environment variables that Dask reads them from at its start.

    Another process knows nothing of what `dask.config.set` says in this one. Dask reads Python
    literals, so a text in its quotes stays a text, whatever it looks like.
    """
    return {
        "DASK_" + key.replace(".", "__").replace("-", "_").upper(): repr(value)
        for key, value in settings.items()
    }
