"""Which device a network is trained on, and what float32 means there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def default_device() -> str:
    """`cuda` where torch sees a CUDA device, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def as_device(name: str) -> torch.device:
    """A device by name; `cuda` is the current one, with its number."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def check_devices(device: str, num_devices: int) -> None:
    """Raise ValueError, one line with both values, unless this machine has these devices."""
    if not device.startswith("cuda"):
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise ValueError(
            f"device {device}: torch {torch.__version__} sees no CUDA device; use device cpu, or "
            "a machine with one and a CUDA build of torch"
        )
    if num_devices > found:
        raise ValueError(
            f"{num_devices} devices: torch sees {found} CUDA device(s) here; ask for no more"
        )


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On CUDA: float32 is float32, and the same inputs give the same bytes.

    TF32 (10 bits of mantissa) is off, in convolutions too, where torch has it on by default: who
    wants tensor cores says bfloat16. Sums are done in one order: cuDNN neither tries algorithms
    nor takes one with atomic additions. An operation that has no repeatable version only warns.
    """
    if device.type != "cuda":
        yield
        return
    # Read when cuBLAS makes its first workspace; without it torch calls cuBLAS not repeatable.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    matmul, strict = torch.get_float32_matmul_precision(), torch.get_deterministic_debug_mode()
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with (
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
            warnings.catch_warnings(),
        ):
            # True of one long sum only; those of the losses are along the rows of a matrix, each
            # by one block in one order.
            warnings.filterwarnings("ignore", message="cumsum_cuda_kernel")
            yield
    finally:
        torch.set_deterministic_debug_mode(strict)
        torch.set_float32_matmul_precision(matmul)


def is_device_lost(error: BaseException) -> bool:
    """Whether an error of torch means that this process can no longer use its GPU.

    After an illegal access or a lost device every further call fails; being out of memory is
    no such error.
    """
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, torch.OutOfMemoryError)
        and "CUDA error" in str(error)
    )
