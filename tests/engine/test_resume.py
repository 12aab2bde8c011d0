"""Serial, one worker, two workers, killed at any moment: the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Engine = Callable[..., str]


def leaf_digests(run: Path) -> dict[str, str]:
    dataset = run / "catalogue" / "dataset"
    return {
        str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*"))
        if path.is_file()
    }


def start_engine(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "engine", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_write_the_same_bytes_as_one_process(
    engine: Engine, mock_survey: Path, finished_run: Path, tmp_path: Path, workers: int
) -> None:
    run = tmp_path / "run"
    engine("run", "--survey", mock_survey, "--output", run, "--workers", workers)
    assert leaf_digests(run) == leaf_digests(finished_run)
    assert len(leaf_digests(run)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(10))
def test_kill_9_at_a_random_moment_and_resume(
    engine: Engine, mock_survey: Path, finished_run: Path, tmp_path: Path, attempt: int
) -> None:
    """Odd attempts run on two Dask workers, even ones in one process."""
    run = tmp_path / "run"
    arguments = ("run", "--survey", mock_survey, "--output", run, "--workers", attempt % 2 * 2)
    moment = random.Random(attempt)
    process = start_engine(*arguments)
    # From the making of the run directory on, any moment of the few seconds of work.
    deadline = time.monotonic() + 60
    while not run.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(moment.uniform(0, 7.0 if attempt % 2 else 2.5))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    engine("run", "--survey", mock_survey, "--output", run, "--workers", 0)
    assert leaf_digests(run) == leaf_digests(finished_run)
    assert not list(run.glob("**/wip-*"))


def test_a_stopped_run_resumes_only_what_remains(
    engine: Engine, mock_survey: Path, run_copy: Path, finished_run: Path
) -> None:
    receipts = sorted((run_copy / "receipts").iterdir())
    kept = {path: path.stat().st_mtime_ns for path in receipts[1:]}
    receipts[0].unlink()
    (run_copy / "wip" / "wip-deadbeef-x").mkdir()
    text = engine("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    assert f"Resuming {run_copy}/: {len(kept)} of {len(receipts)} partitions are done" in text
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert leaf_digests(run_copy) == leaf_digests(finished_run)


def test_finish_alone_rebuilds_the_catalogue(
    engine: Engine, run_copy: Path, finished_run: Path
) -> None:
    before = leaf_digests(run_copy)
    next((run_copy / "catalogue/dataset").rglob("Npix=*.parquet")).unlink()
    (run_copy / "catalogue" / "hats.properties").unlink()
    engine("finish", run_copy)
    assert leaf_digests(run_copy) == before == leaf_digests(finished_run)
    assert "passed" in engine("verify", run_copy / "catalogue")
