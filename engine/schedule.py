"""Run partitions: in a loop, or on a Dask client with a bounded window in flight.

Dask schedules partitions and carries receipts, never pixels. As many partitions are in flight as
there are workers: the scheduler's memory does not grow with the survey, and no partition waits in
the queue of a worker that another partition kills (Dask would count the death against both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distributed import Client, Future, as_completed
from distributed.scheduler import KilledWorker

from engine.infer import PartitionTask, infer_partition
from engine.journal import Receipt

OnReceipt = Callable[[PartitionTask, Receipt], None]


def run_serial(tasks: Iterable[PartitionTask], on_receipt: OnReceipt) -> dict[str, str]:
    """Run partitions one after another in this process; returns no failures, it raises."""
    for task in tasks:
        on_receipt(task, infer_partition(task))
    return {}


def run_dask(
    tasks: Iterable[PartitionTask],
    client: Client,
    num_workers: int,
    on_receipt: OnReceipt,
    work: Callable[[PartitionTask], Receipt] = infer_partition,
) -> dict[str, str]:
    """Run partitions on the workers of `client`.

    A partition whose worker dies again and again (out of memory, a crash in native code) is
    given up and reported; the others go on.

    Returns
    -------
    Partition -> why it was given up.
    """
    queue = iter(tasks)
    in_flight: dict[Future, PartitionTask] = {}
    given_up: dict[str, str] = {}
    completed = as_completed(raise_errors=False)

    def submit_next() -> None:
        task = next(queue, None)
        if task is None:
            return
        # pure=False: a partition that is submitted is to be done, whatever was done before.
        future = client.submit(work, task, pure=False, key=f"partition-{task.pixel}")
        in_flight[future] = task
        completed.add(future)

    for _ in range(num_workers):
        submit_next()
    try:
        for future in _until_empty(completed, in_flight):
            task = in_flight.pop(future)
            error = future.exception()
            if isinstance(error, KilledWorker):
                given_up[str(task.pixel)] = (
                    "its worker was killed again and again; most likely it needs more memory"
                )
            elif error is not None:
                raise error
            else:
                on_receipt(task, future.result())
            future.release()
            submit_next()
    finally:
        client.cancel(list(in_flight))
    return given_up


def _until_empty(completed: Any, in_flight: dict[Future, PartitionTask]) -> Iterator[Future]:
    """Futures as they complete, until none is left in flight."""
    if not in_flight:
        return
    for future in completed:
        yield future
        if not in_flight:
            return
