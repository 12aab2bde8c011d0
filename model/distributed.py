"""Several processes, one a device, that together compute what one process would.

Every rank holds the same parameters and draws the same random numbers; it takes its share of the
rows, and sums over ranks put the whole together. Gradients are flattened and summed by one call
after the backward pass. DistributedDataParallel would hide a part of that call behind the backward
pass, but it averages over ranks (wrong where the last batch falls into unequal shares), wants to
be told of parameters that a network does not use, and decides its own order of sums.

All ranks are on one machine and talk over its loopback interface.

Shapes: N rows of all ranks together, n rows of one rank.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# How long other ranks may take to show that they, and not the first to complain, are the cause.
_GRACE_S = 0.3


class _SumOverRanks(torch.autograd.Function):
    """Forward the sum over ranks; backward the gradient of one's own part."""

    @staticmethod
    def forward(_context: Any, part: Tensor) -> Tensor:
        whole = part.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@dataclass(frozen=True)
class Ranks:
    """The processes of one job, seen from one of them. Alone, everything is left as it is."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - it cannot be changed
    """Device of this process."""

    def share(self, num_rows: int, rank: int | None = None) -> slice:
        """Rows of this rank, or of another: contiguous, as many as the others' or one fewer."""
        rank = self.rank if rank is None else rank
        return slice(num_rows * rank // self.size, num_rows * (rank + 1) // self.size)

    def total(self, part: Tensor) -> Tensor:
        """Sum of each rank's part. The gradient on each rank is that of its part alone.

        With `sum_gradients` the gradient of any function of totals is then exact.
        """
        if self.size == 1:
            return part
        whole: Tensor = _SumOverRanks.apply(part)  # type: ignore[no-untyped-call]
        return whole

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every rank the sum of all ranks' gradients, the same bytes.

        A parameter without a gradient (unused by the network) must be so on every rank.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def gather(self, part: Tensor, num_rows: int) -> Tensor:
        """(n, ...) rows of each rank's `share` -> (N, ...) all rows in order, on the CPU."""
        if self.size == 1:
            return part.cpu()
        shares = [self.share(num_rows, rank) for rank in range(self.size)]
        counts = [share.stop - share.start for share in shares]
        padded = part.new_zeros((max(counts), *part.shape[1:]), device=self.device)
        padded[: len(part)] = part.to(self.device)
        blocks = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(blocks, padded)
        return torch.cat([b[:n].cpu() for b, n in zip(blocks, counts, strict=True)])

    def check_agreement(self, parameters: Iterable[Tensor]) -> None:
        """Raise RuntimeError if parameters differ between ranks: one would be kept, silently."""
        if self.size == 1:
            return
        own = torch.stack([p.detach().to(torch.float64).sum() for p in parameters]).sum()
        sums = self.gather(own[None], self.size)
        if not torch.equal(sums, sums[:1].expand(self.size)):
            raise RuntimeError(f"parameters differ between ranks: they sum to {sums.tolist()}")


Report = Callable[[Any], None]
"""Sends a value to the parent process; returns when it was dealt with there."""


def run_ranks(
    work: Callable[..., None],
    arguments: Sequence[Any],
    num_ranks: int,
    device: str,
    on_report: Callable[[Any], None],
) -> None:
    """Run work(ranks, report, *arguments) in `num_ranks` processes and wait for all of them.

    Parameters
    ----------
    work
        A function of a module; it and the arguments are pickled to every process.
    device
        `cpu` (gloo) or `cuda` (nccl, rank r on `cuda:r`).
    on_report
        Called here with what a rank reports.

    Raises
    ------
    BaseException
        What the first rank to fail raised, its traceback as a note; or what `on_report` raised.
        The other ranks are ended first: none is left waiting.
    RuntimeError
        If a rank was killed.
    """
    # Spawned, not forked: a forked child inherits CUDA and OpenMP states that do not work there.
    context = multiprocessing.get_context("spawn")
    num_threads = max(1, torch.get_num_threads() // num_ranks)
    with tempfile.TemporaryDirectory(prefix="photoz-ranks-") as folder:
        ours: list[Connection] = []
        processes: list[BaseProcess] = []
        try:
            for rank in range(num_ranks):
                here, there = context.Pipe()
                place = (rank, num_ranks, device, str(Path(folder) / "rendezvous"), num_threads)
                process: BaseProcess = context.Process(
                    target=_rank_main, args=(place, there, work, tuple(arguments)), daemon=True
                )
                process.start()
                there.close()
                ours.append(here)
                processes.append(process)
            _listen(processes, ours, on_report)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(timeout=10)
                if process.exitcode is None:
                    process.kill()
                    process.join()


@dataclass(frozen=True)
class _Failure:
    """What a rank raised."""

    rank: int
    monotonic_s: float
    """When; the clock is the machine's, so that ranks can be compared."""
    error: BaseException
    traceback: str


def _listen(
    processes: Sequence[BaseProcess],
    connections: Sequence[Connection],
    on_report: Callable[[Any], None],
) -> None:
    """Deal with reports until every rank has ended; raise at the first that failed."""
    failures: list[_Failure] = []
    talking = list(connections)
    while talking and not failures:
        for connection in wait(talking):
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except EOFError:  # This rank has ended, in whatever way.
                talking.remove(connection)
                process = processes[connections.index(connection)]
                process.join()
                if process.exitcode:
                    _raise_cause(processes, connections, failures)
                continue
            if isinstance(message, _Failure):
                failures.append(message)
            else:
                on_report(message)
                connection.send(None)
    if failures:
        _raise_cause(processes, connections, failures)


def _raise_cause(
    processes: Sequence[BaseProcess],
    connections: Sequence[Connection],
    failures: list[_Failure],
) -> None:
    """Raise what went wrong first: the others only lost their partner."""
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        for connection in connections:
            try:
                if connection.poll(0.01) and isinstance(message := connection.recv(), _Failure):
                    failures.append(message)
            except (EOFError, OSError):
                continue
    for rank, process in enumerate(processes):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            cause = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            raise RuntimeError(f"rank {rank} of {len(processes)} was ended by {name}{cause}")
    if not failures:
        codes = [process.exitcode for process in processes]
        raise RuntimeError(f"ranks ended with exit codes {codes} and without a word")
    first = min(failures, key=lambda failure: failure.monotonic_s)
    first.error.add_note(f"In rank {first.rank} of {len(processes)}:\n{first.traceback}")
    raise first.error


def _rank_main(
    place: tuple[int, int, str, str, int],
    connection: Connection,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    """What one process does."""
    rank, size, device_type, rendezvous, num_threads = place
    # An interrupt of the keyboard reaches all processes; the parent ends the others in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(num_threads)
    device = torch.device("cpu")
    if device_type.startswith("cuda"):
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)

    def report(value: Any) -> None:
        connection.send(value)
        connection.recv()

    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=size,
        )
        work(Ranks(rank, size, device), report, *arguments)
        # None leaves while another may still wait for it.
        dist.barrier()
    except BaseException as error:
        failure = _Failure(rank, time.monotonic(), _sendable(error), traceback.format_exc())
        connection.send(failure)
        # Not by way of the interpreter's end, where NCCL would wait for the other ranks.
        os._exit(1)
    # Nor here: at the interpreter's end the threads of gloo, or the one below, are at times caught
    # at work, and the process aborts after all is done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its ranks; they would wait for each other forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _sendable(error: BaseException) -> BaseException:
    """The error, or its words where it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
