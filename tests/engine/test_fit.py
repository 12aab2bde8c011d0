"""`engine train` end to end on a small survey, and its errors."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.coordinates import SkyCoord
from astropy.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.fit import collect_training_rows
from model.checkpoint import run_identity, save_checkpoint
from model.weights import load_weights
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import StampSize
from partitions.truth import read_truth

Engine = Callable[..., str]


def test_rows_are_the_galaxies_and_quasars_with_their_own_redshift(mock_survey: Path) -> None:
    layout = open_survey(mock_survey)
    truth = read_truth(layout.truth_table)
    bricks = list(read_bricks(layout).values())
    collected = collect_training_rows(layout, bricks, truth, StampSize(32, 8))
    table = Table.read(layout.truth_table)
    wanted = table[table["SPECTYPE"] != "STAR"]
    assert collected.num_matched == collected.num_truth == len(wanted) > 300
    # The truth table holds true positions, the catalogue measured ones: match them on the sky.
    rows = collected.rows
    measured = SkyCoord(rows.ra_deg, rows.dec_deg, unit="deg")
    nearest, separation, _ = measured.match_to_catalog_sky(
        SkyCoord(wanted["RA"], wanted["DEC"], unit="deg")
    )
    close = separation.arcsec < 0.5
    assert close.mean() > 0.95
    assert np.mean(rows.z_true[close] == wanted["Z"][nearest[close]]) > 0.98  # less for blends


def test_train_command_writes_weights_that_run(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    report = json.loads(
        engine(
            *("train", "--survey", mock_survey, "--output", weights),
            *("--epochs", 2, "--balance-classes", 0.3, "--json"),
        )
    )
    loaded = load_weights(weights)
    assert report["digest"] == loaded.digest
    assert loaded.provenance["train_config"]["balance_classes"] == 0.3
    rows = loaded.provenance["rows"]
    assert rows["train"] > rows["validation"] > 0
    assert rows["test"] > 0
    assert np.isfinite(report["sigma_nmad"])
    run = tmp_path / "run"
    engine("run", "--survey", mock_survey, "--weights", weights, "--output", run, "--workers", 0)
    assert "passed" in engine("verify", run / "catalogue")
    properties = (run / "catalogue" / "collection.properties").read_text()
    assert f"engine_weights_digest={loaded.digest}" in properties


def test_train_killed_and_repeated_ends_with_the_same_weights(
    mock_survey: Path, tmp_path: Path
) -> None:
    def start(name: str) -> subprocess.Popen[str]:
        words = ["train", "--survey", str(mock_survey), "--output", str(tmp_path / name)]
        return subprocess.Popen(
            [sys.executable, "-m", "engine", *words, "--epochs", "3"],
            # The bytes are the same for the same number of threads.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(name: str) -> str:
        process = start(name)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return load_weights(tmp_path / name).digest

    whole = finish("whole")
    process = start("killed")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2"):
            process.kill()
            break
    assert process.wait() == -signal.SIGKILL
    folder = tmp_path / "killed.training"
    assert (folder / "state").exists()
    assert finish("killed") == whole
    with (folder / "log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert not (folder / "state").exists()


def test_state_of_another_training_is_refused(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    output = tmp_path / "w"
    state = tmp_path / "w.training" / "state"
    state.parent.mkdir()
    save_checkpoint(state, run_identity({"seed": 5}, {}), {})
    text = engine("train", "--survey", mock_survey, "--output", output, "--epochs", 1, expect=2)
    assert "seed: 5 then, 0 now" in text
    assert "delete it to start anew" in text


@pytest.mark.parametrize("change", ["no file", "no column", "other sources"])
def test_truth_that_cannot_be_used(
    engine: Engine, mock_survey: Path, tmp_path: Path, change: str
) -> None:
    truth = tmp_path / "truth.fits"
    table = Table.read(mock_survey / "truth.fits")
    words = {"no file": "cannot be read", "no column": "'z' missing", "other sources": "none of"}
    if change == "no column":
        table.remove_column("Z")
    elif change == "other sources":
        table["BRICKID"] = 5
    if change != "no file":
        table.write(truth)
    text = engine(
        "train", "--survey", mock_survey, "--truth", truth, "--output", tmp_path / "w", expect=2
    )
    assert words[change] in text
    assert not list((tmp_path / "w").iterdir())


def test_too_little_sky_to_split(engine: Engine, tmp_path: Path) -> None:
    survey = tmp_path / "survey"
    engine("mock", survey, "--seed", 5, "--fields", 1, "--image-size", 300, "--workers", 1)
    text = engine("train", "--survey", survey, "--output", tmp_path / "w", expect=2)
    assert "patches of sky for 3 parts" in text


def test_options_of_another_network_are_refused(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    text = engine(
        "train", "--survey", mock_survey, "--output", tmp_path / "w", "--parts", "one", expect=2
    )
    assert "--parts is for --network wei2025, not for compact" in text


# --- devices, precision, TensorBoard ----------------------------------------------------------


@pytest.mark.slow
def test_two_devices_and_tensorboard(engine: Engine, mock_survey: Path, tmp_path: Path) -> None:
    words = ["train", "--survey", mock_survey, "--output", tmp_path / "w", "--epochs", 2]
    engine(*words, "--device", "cpu", "--devices", 2, "--precision", "bfloat16", "--tensorboard")
    settings = load_weights(tmp_path / "w").provenance["train_config"]
    assert (settings["device"], settings["devices"]) == ("cpu", 2)
    assert settings["precision"] == "bfloat16"
    folder = tmp_path / "w.training"
    assert sorted(path.name for path in folder.iterdir()) == ["log.csv", "tensorboard"]
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    columns = {
        "loss/train": "train_loss",
        "loss/validation_nll": "validation_nll",
        "validation/sigma_nmad": "sigma_nmad",
        "validation/outlier_fraction": "outlier_fraction",
        "speed/rows_per_s": "rows_per_s",
    }
    assert sorted(events.Tags()["scalars"]) == sorted(columns)
    for tag, column in columns.items():
        found = events.Scalars(tag)
        assert [event.step for event in found] == [1, 2]
        expected = [float(row[column]) for row in rows]
        assert [event.value for event in found] == pytest.approx(expected, rel=1e-5)


def test_tensorboard_that_is_not_installed(
    engine: Engine, mock_survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = ["train", "--survey", mock_survey, "--output", tmp_path / "w", "--tensorboard"]
    text = engine(*words, expect=2)
    assert (
        "engine: --tensorboard: tensorboard is not installed: pip install 'photoz-engine[" in text
    )
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("num_cuda", "words", "message"),
    [
        (0, ["--device", "cuda"], "device cuda: torch {torch} sees no CUDA device; use device cpu"),
        (2, ["--devices", 3], "3 devices: torch sees 2 CUDA device(s) here; ask for no more"),
        (0, ["--devices", 257], "devices=257: expected 1 to batch_size=256"),
        (0, ["--bfloat16", "--precision", "float32"], "contradict each other"),
    ],
)
def test_devices_and_precision_that_cannot_be(
    engine: Engine,
    mock_survey: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_cuda: int,
    words: list[object],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_cuda)
    output = tmp_path / "w"
    text = engine("train", "--survey", mock_survey, "--output", output, *words, expect=2)
    assert message.format(torch=torch.__version__) in text
    assert len(text.splitlines()) == 1
    assert not output.exists()
