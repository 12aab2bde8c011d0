"""Dask's settings for a run: for the driver, and as environment variables for workers elsewhere."""

from __future__ import annotations

from typing import Any

DASK_SETTINGS: dict[str, Any] = {
    # Dask closes the nanny of a worker that is missing this long, and after two crashes in a row
    # that can be a healthy one: a cluster then loses all its workers for good. Nannies restart
    # their workers within seconds, and lost jobs are replaced here.
    "distributed.deploy.lost-worker-timeout": "1h",
    # The driver counts the deaths of a brick itself and submits it again.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.preload": ["deploy.worker_start"],
    # Partitions write to disk and hold one brick; spilling Dask's own data would help nobody.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
}

# Scheduler and workers always serve a few pages over HTTP; without a dashboard on loopback only.
HIDDEN_PAGES = "127.0.0.1:0"


def as_environment(settings: dict[str, Any]) -> dict[str, str]:
    """Settings as the environment variables that Dask reads them from.

    Dask reads a value as a Python literal and takes it for a text if it is none.
    """
    return {
        "DASK_" + key.upper().replace(".", "__").replace("-", "_"): (
            value if isinstance(value, str) else repr(value)
        )
        for key, value in settings.items()
    }
