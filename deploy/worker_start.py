"""What every Dask worker process does first (`distributed.worker.preload`)."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(_worker: Any) -> None:
    """Ignore Ctrl-C.

    In a terminal it reaches every process of the group: workers would die of it in the middle of
    partitions that the driver lets come to their end. Decode processes inherit this.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
