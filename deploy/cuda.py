"""One worker process for each GPU of this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError
from deploy.scratch import scratch_folder
from deploy.settings import local_pages

_INSTALL = "install it on a machine with an NVIDIA GPU: pip install 'photoz-engine[cuda]'"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Raises
    ------
    ProfileError
        If there is no NVIDIA driver, no GPU, or no pynvml to ask.
    """
    try:
        import pynvml
    except ImportError:
        raise ProfileError(f"kind 'cuda' needs dask-cuda, which is not there; {_INSTALL}") from None
    try:
        pynvml.nvmlInit()
        try:
            count = int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise ProfileError(
            f"kind 'cuda': no NVIDIA driver answers here ({error}); see nvidia-smi, or run on CPUs "
            "with --profile laptop"
        ) from None
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(i) for i in range(count)] if named is None else _listed(named)
    if not gpus:
        shown = "none" if named is None else f"CUDA_VISIBLE_DEVICES={named!r}"
        raise ProfileError(f"kind 'cuda': no GPU is visible ({shown} of {count})")
    return gpus


def _listed(named: str) -> list[str]:
    return [gpu.strip() for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1"]


@contextmanager
def open_cuda(profile: MachineProfile, num_workers: int) -> Iterator[OpenCluster]:
    """Each worker sees one GPU first; loopback only. `num_workers` 0 is one per GPU.

    Device memory is left to the network: a pool of Dask's would take it away from torch.

    Raises
    ------
    ProfileError
        If there are fewer GPUs than workers, or what it needs is not installed.
    """
    gpus = visible_gpus()
    num_workers = num_workers or len(gpus)
    if num_workers > len(gpus):
        raise ProfileError(
            f"workers={num_workers}: a GPU is given one worker, and {len(gpus)} GPUs are visible "
            f"({', '.join(gpus)}); ask for at most {len(gpus)}, or 0 for one each"
        )
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ProfileError(
            f"kind 'cuda' needs dask-cuda, which cannot be loaded ({error}); {_INSTALL}"
        ) from None
    with (
        scratch_folder(profile) as scratch,
        LocalCUDACluster(
            CUDA_VISIBLE_DEVICES=gpus,
            n_workers=num_workers,
            threads_per_worker=1,
            protocol="tcp",
            host="127.0.0.1",
            **local_pages(profile.dashboard.address),
            memory_limit=profile.memory_limit,
            local_directory=scratch,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        url = cluster.dashboard_link if profile.dashboard.address else None
        yield OpenCluster(client, num_workers, url)
