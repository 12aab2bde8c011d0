"""A partition that kills its worker is given up; the others are done."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dask
import pytest

from deploy.cluster import open_cluster
from deploy.profiles import MachineProfile
from engine.infer import PartitionTask
from engine.schedule import run_dask
from partitions.bricks import SurveyLayout
from partitions.healpix import Pixel
from partitions.schema import StampSize


def task(number: int) -> PartitionTask:
    return PartitionTask(
        pixel=Pixel(5, number),
        bricks=(),
        survey=SurveyLayout(Path(), Path()),
        run_folder=Path(),
        plan_digest="",
        weights_path=Path(),
        weights_digest="",
        quantile_levels=(0.5,),
        stamp_size=StampSize(),
        batch_size=1,
        keep_arrays=False,
    )


def test_a_partition_that_kills_its_worker_is_given_up_and_reported() -> None:
    done: list[int] = []

    # Defined here, so that it travels to the workers by value.
    def work(partition: PartitionTask) -> dict[str, Any]:
        if partition.pixel.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": partition.pixel.number}

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        open_cluster(MachineProfile(workers=2)) as client,
    ):
        given_up = run_dask(
            (task(number) for number in range(8)),
            client,
            2,
            lambda _task, receipt: done.append(receipt["number"]),
            work,
        )
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7]
    assert list(given_up) == ["5-3"]
    assert "killed again and again" in given_up["5-3"]


def test_an_exception_of_a_partition_is_raised_as_it_is() -> None:
    def work(partition: PartitionTask) -> dict[str, Any]:
        raise OSError(28, "No space left on device", "/somewhere")

    with (
        open_cluster(MachineProfile(workers=1)) as client,
        pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: '/somewhere'"),
    ):
        run_dask([task(1)], client, 1, lambda _task, _receipt: None, work)
