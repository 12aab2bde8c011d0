"""Loaded by the nanny of each worker: of the GPUs of a job, its worker sees one.

Slurm shows a job all its GPUs (CUDA_VISIBLE_DEVICES), and the network takes the first it sees.
"""

from __future__ import annotations

import os
from typing import Any


def gpu_of_worker(name: str, visible: str | None) -> str | None:
    """The entry of CUDA_VISIBLE_DEVICES for one worker; None leaves it as it is.

    Parameters
    ----------
    name
        Name of the worker; those of one host end in -0, -1, ...
    visible
        CUDA_VISIBLE_DEVICES of the job.
    """
    gpus = [gpu for gpu in (visible or "").split(",") if gpu]
    number = name.rpartition("-")[2]
    return gpus[int(number) % len(gpus)] if len(gpus) > 1 and number.isdigit() else None


def dask_setup(nanny: Any) -> None:
    """Dask calls this before the worker process starts."""
    gpu = gpu_of_worker(str(nanny.name), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpu is not None:
        nanny.env["CUDA_VISIBLE_DEVICES"] = gpu
