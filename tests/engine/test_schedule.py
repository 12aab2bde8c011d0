"""The driver: what it does about deaths, errors, silence and signals. Real Dask workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.cluster import open_cluster
from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile
from engine.infer import PartitionDone, PartitionTask
from engine.schedule import (
    DriverRules,
    RunFailedError,
    RunStoppedError,
    StopRequest,
    run_dask,
)
from partitions.bricks import SurveyLayout
from partitions.healpix import Pixel
from partitions.schema import StampSize

Work = Callable[[PartitionTask], PartitionDone]


def task(number: int, folder: Path) -> PartitionTask:
    return PartitionTask(
        pixel=Pixel(5, number),
        bricks=(),
        survey=SurveyLayout(Path(), Path()),
        run_folder=folder,
        plan_digest="",
        weights_path=Path(),
        weights_digest="",
        quantile_levels=(0.5,),
        stamp_size=StampSize(),
        batch_size=1,
        keep_arrays=False,
    )


class Driven:
    """One call of `run_dask`, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.said: list[str] = []
        self.stop = StopRequest()

    def run(
        self, cluster: OpenCluster, work: Work, number: int = 8, rules: DriverRules | None = None
    ) -> dict[str, str]:
        return run_dask(
            (task(index, self.folder) for index in range(number)),
            cluster,
            rules or DriverRules(),
            lambda _task, done: self.done.append(done.partition),
            self.said.append,
            self.stop,
            work=work,
        )


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    return Driven(tmp_path)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenCluster]:
    with open_cluster(MachineProfile(), 2, tmp_path_factory.mktemp("run")) as opened:
        yield opened


@contextmanager
def after(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# Work is defined inside tests, so that it travels to the workers by value.


def test_a_partition_whose_worker_dies_outside_any_brick_is_given_up(
    driven: Driven, cluster: OpenCluster
) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        if partition.pixel.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return PartitionDone(str(partition.pixel), 0, 0, 0, 0.0)

    given_up = driven.run(cluster, work, rules=DriverRules(max_deaths=1))
    assert sorted(driven.done) == [f"5-{number}" for number in (0, 1, 2, 4, 5, 6, 7)]
    assert given_up == {
        "5-3": "its worker died 2 times, not over a brick; most likely it needs more memory"
    }


def test_a_partition_that_was_killed_is_tried_again_after_the_others(
    driven: Driven, cluster: OpenCluster, tmp_path: Path
) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        first = tmp_path / "tried"
        if partition.pixel.number == 0 and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return PartitionDone(str(partition.pixel), 0, 0, 0, 0.0)

    assert driven.run(cluster, work) == {}
    assert len(driven.done) == 8
    assert driven.done.index("5-0") >= 5
    assert "a worker died in partition 5-0; it is tried again" in driven.said


def test_workers_that_die_whatever_they_do_end_the_run(
    driven: Driven, cluster: OpenCluster
) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        os._exit(1)

    with pytest.raises(RunFailedError, match=r"workers died 5 times in a row.* of 2 workers"):
        driven.run(cluster, work, number=100, rules=DriverRules(max_deaths_in_a_row=5))
    assert driven.done == []


def test_an_exception_of_a_partition_is_raised_as_it_is(
    driven: Driven, cluster: OpenCluster
) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        raise OSError(28, "No space left on device", "/somewhere")

    with pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: '/somewhere'"):
        driven.run(cluster, work)


def test_silence_is_an_error_with_a_diagnosis(driven: Driven, cluster: OpenCluster) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        time.sleep(8)
        return PartitionDone(str(partition.pixel), 0, 0, 0, 0.0)

    begin = time.monotonic()
    with pytest.raises(
        RunFailedError, match=r"nothing moved for 0 minutes; no process has a brick in work; 2 of 2"
    ):
        driven.run(cluster, work, rules=DriverRules(stall_s=3.0))
    assert 3 < time.monotonic() - begin < 15


def test_a_stop_lets_partitions_in_work_end_and_begins_no_other(
    driven: Driven, cluster: OpenCluster
) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        time.sleep(3)
        return PartitionDone(str(partition.pixel), 0, 0, 0, 0.0)

    with (
        driven.stop.listening(),
        after(1.0, lambda: os.kill(os.getpid(), signal.SIGTERM)),
        pytest.raises(RunStoppedError) as stopped,
    ):
        driven.run(cluster, work)
    assert stopped.value.exit_code == 143
    assert sorted(driven.done) == ["5-0", "5-1"]


def test_a_stop_does_not_wait_for_ever(driven: Driven, cluster: OpenCluster) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        time.sleep(8)
        return PartitionDone(str(partition.pixel), 0, 0, 0, 0.0)

    begin = time.monotonic()
    with (
        driven.stop.listening(),
        after(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)),
        pytest.raises(RunStoppedError) as stopped,
    ):
        driven.run(cluster, work, rules=DriverRules(drain_s=1.0))
    assert stopped.value.exit_code == 130
    assert time.monotonic() - begin < 10


def test_ctrl_c_twice_stops_at_once(driven: Driven, cluster: OpenCluster) -> None:
    def work(partition: PartitionTask) -> PartitionDone:
        time.sleep(8)
        return PartitionDone(str(partition.pixel), 0, 0, 0, 0.0)

    def press() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    with driven.stop.listening(), after(0.5, press), pytest.raises(KeyboardInterrupt):
        driven.run(cluster, work)
