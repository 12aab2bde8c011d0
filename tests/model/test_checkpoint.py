"""A killed training goes on from its last whole epoch and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import CheckpointError, load_checkpoint, run_identity, save_checkpoint
from model.dataset import TrainingSet
from model.network import CompactConfig
from model.train import EpochLog, TrainConfig, train
from model.weights import Weights

CHILD = """
import os, signal, sys
from pathlib import Path
from tests.model.conftest import make_arrays, training_set
from model.network import CompactConfig
from model.predict import cpu_threads
from model.train import TrainConfig, train

network = CompactConfig(
    num_bins=60, optical_px=16, optical_channels=(16, 16), wise_channels=16, hidden=48
)
config = TrainConfig(epochs=3, batch_size=64, learning_rate=3e-3, z_max=2.0)

def stop(log):
    if log.epoch == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

with cpu_threads(1):
    rows = training_set(make_arrays(600, seed=1))
    train(rows, config, network, stop, checkpoint=Path(sys.argv[1]))
"""


class StoppedError(Exception):
    """Raised by a test in place of a crash."""


def stop_after(epoch: int) -> Callable[[EpochLog], None]:
    """A progress callback that ends the run after this epoch."""

    def progress(log: EpochLog) -> None:
        if log.epoch == epoch:
            raise StoppedError

    return progress


def test_killed_at_every_epoch_the_weights_are_the_same(
    tmp_path: Path,
    tiny_set: TrainingSet,
    quick: TrainConfig,
    small_network: CompactConfig,
    tiny_weights: Weights,
) -> None:
    path = tmp_path / "state"
    root = Path(__file__).parents[2]
    for epoch in (2, 3):
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(path), str(epoch)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
    seen: list[EpochLog] = []
    resumed = train(tiny_set, quick, small_network, seen.append, checkpoint=path)
    assert [log.epoch for log in seen] == [3]
    assert resumed.digest == tiny_weights.digest
    # Once more: nothing is left to do, and the end is the same.
    seen.clear()
    assert train(tiny_set, quick, small_network, seen.append, checkpoint=path).digest == (
        tiny_weights.digest
    )
    assert not seen


def test_patience_counts_across_a_resumed_run(
    tmp_path: Path, tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    # A rate so large that the loss jumps about.
    config = replace(quick, epochs=40, patience=2, learning_rate=0.1, average_decay=0.0)
    whole = train(tiny_set, config, small_network)
    best = whole.provenance["best_epoch"]
    assert whole.provenance["epochs"] == best + 2 < 40
    path = tmp_path / "state"
    with pytest.raises(StoppedError):
        train(tiny_set, config, small_network, stop_after(best + 1), checkpoint=path)
    resumed = train(tiny_set, config, small_network, checkpoint=path)
    assert resumed.digest == whole.digest


def test_a_state_of_other_settings_or_rows_is_refused(
    tmp_path: Path, tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    path = tmp_path / "state"
    train(tiny_set, replace(quick, epochs=1), small_network, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"learning_rate: 0\.003 then, 0\.1 now"):
        train(tiny_set, replace(quick, epochs=1, learning_rate=0.1), small_network, checkpoint=path)
    fewer = tiny_set.take(np.arange(500))
    with pytest.raises(CheckpointError, match="other rows"):
        train(fewer, replace(quick, epochs=1), small_network, checkpoint=path)


def test_a_damaged_state_is_refused_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "state"
    identity = run_identity({"seed": 1}, {"z": np.arange(3)})
    assert load_checkpoint(path, identity) is None
    save_checkpoint(path, identity, {"a": 1})
    assert load_checkpoint(path, identity) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no archive at all"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="delete it to start anew"):
            load_checkpoint(path, identity)
