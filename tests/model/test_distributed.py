"""Several processes train what one would, to the same bytes every time, and none is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint import CheckpointError
from model.dataset import Split, TrainingSet
from model.distributed import Ranks, run_ranks
from model.network import CompactConfig
from model.train import EpochLog, TrainConfig, train
from tests.model.rank_work import check_sums, fail_alone, wait_forever

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes import what they do by its name; they get this process's path."""
    monkeypatch.syspath_prepend(str(ROOT))


@given(num_rows=st.integers(0, 300), size=st.integers(1, 9))
def test_shares_are_all_rows_once_and_about_equal(num_rows: int, size: int) -> None:
    shares = [Ranks(rank, size).share(num_rows) for rank in range(size)]
    rows = np.concatenate([np.arange(num_rows)[share] for share in shares])
    assert np.array_equal(rows, np.arange(num_rows))
    counts = [share.stop - share.start for share in shares]
    assert max(counts) - min(counts) <= 1


def test_sums_over_ranks_are_those_of_one_process() -> None:
    reports: list[Any] = []
    run_ranks(check_sums, (7,), 2, "cpu", reports.append)
    assert sorted(rank for rank, _ in reports) == [0, 1]
    assert reports[0][1] == reports[1][1]  # the same bytes on both


def test_the_error_of_one_rank_ends_all() -> None:
    started = time.monotonic()
    with pytest.raises(FloatingPointError, match="the loss of one rank is nan") as caught:
        run_ranks(fail_alone, ("raise",), 2, "cpu", lambda _: None)
    assert "In rank 1 of 2" in caught.value.__notes__[0]
    assert "fail_alone" in caught.value.__notes__[0]
    assert time.monotonic() - started < 60


def test_a_killed_rank_ends_all() -> None:
    with pytest.raises(RuntimeError, match="rank 1 of 2 was ended by SIGKILL"):
        run_ranks(fail_alone, ("killed",), 2, "cpu", lambda _: None)


def test_ranks_end_when_a_report_is_not_taken() -> None:
    pids: list[int] = []

    def stop(pid: int) -> None:
        pids.append(pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_ranks(wait_forever, (), 2, "cpu", stop)
    assert not is_running(pids[0])


def test_no_rank_outlives_a_killed_parent() -> None:
    script = (
        "from tests.model.rank_work import wait_forever\n"
        "from model.distributed import run_ranks\n"
        "run_ranks(wait_forever, (), 2, 'cpu', lambda pid: print(pid, flush=True))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_two_devices_train_what_one_does(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    # The last batch is of one row: one of the two ranks has none.
    rows = np.arange(len(tiny_set))
    split = Split(rows[:193], rows[193:254], rows[254:])
    config = replace(quick, epochs=2, balance=0.5, clip_norm=0.5)
    network = replace(small_network, dropout=0.0)
    one_logs: list[EpochLog] = []
    two_logs: list[EpochLog] = []
    one = train(tiny_set, config, network, one_logs.append, split)
    two = train(tiny_set, replace(config, devices=2), network, two_logs.append, split)
    assert [log.epoch for log in two_logs] == [1, 2]
    for a, b in zip(one_logs, two_logs, strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, abs=1e-5)
        assert b.validation_nll == pytest.approx(a.validation_nll, abs=1e-5)
    moved = 0.0
    for name, values in one.tensors.items():
        np.testing.assert_allclose(two.tensors[name], values, atol=2e-5, err_msg=name)
        moved = max(moved, float(np.abs(values).max()))
    assert moved > 0.1
    assert two.temperature == pytest.approx(one.temperature, abs=1e-4)
    assert two.provenance["train_config"]["devices"] == 2
    assert "devices" not in one.provenance["train_config"]


@pytest.mark.slow
def test_two_devices_stopped_and_repeated_end_with_the_same_bytes(
    tmp_path: Path, tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    config = replace(quick, devices=2)
    assert small_network.dropout > 0  # so that each rank has random numbers of its own
    state, earlier = tmp_path / "state", tmp_path / "earlier" / "state"
    earlier.parent.mkdir()

    def keep(log: EpochLog) -> None:
        if log.epoch == 3:  # reported before it is saved: the file is of epoch 2
            shutil.copy(state, earlier)

    whole = train(tiny_set, config, small_network, keep, checkpoint=state)
    seen: list[EpochLog] = []
    resumed = train(tiny_set, config, small_network, seen.append, checkpoint=earlier)
    assert [log.epoch for log in seen] == [3]
    assert resumed.digest == whole.digest
    # Nothing is left to do, and the rows are gone.
    assert train(tiny_set, config, small_network, seen.append, checkpoint=state).digest == (
        whole.digest
    )
    assert len(seen) == 1
    assert sorted(tmp_path.iterdir()) == [earlier.parent, state]
    with pytest.raises(CheckpointError, match="devices: 2 then, None now"):
        train(tiny_set, quick, small_network, checkpoint=state)


def test_settings_of_devices_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="devices=9: expected 1 to batch_size=8"):
        TrainConfig(batch_size=8, devices=9)
    with pytest.raises(ValueError, match="devices=2 on device='cuda:1'"):
        TrainConfig(devices=2, device="cuda:1")
