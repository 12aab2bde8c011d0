"""Jobs that share a run without a scheduler, and runs that are told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.engine.test_resume import leaf_digests

Engine = Callable[..., str]


def start(*arguments: object, **options: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine", *(str(argument) for argument in arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def wait_for_receipts(run: Path, number: int, process: subprocess.Popen[str]) -> None:
    while len(list(run.glob("receipts/*.json"))) < number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_three_jobs_at_once_make_the_catalogue_of_one(
    mock_survey: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    jobs = [
        start("run", "--survey", mock_survey, "--output", run, "--index", index, "--of", 3)
        for index in range(3)
    ]
    texts = [job.communicate(timeout=200)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], texts
    assert "job 1 of 3" in texts[1]
    assert leaf_digests(run) == leaf_digests(finished_run)
    assert not list(run.glob("driver*")) + list(run.glob("workers/*")) + list(run.glob("wip/*"))


def test_jobs_one_after_another_and_a_killed_one(
    engine: Engine, mock_survey: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("run", "--survey", mock_survey, "--output", run)
    text = engine(*command, "--index", 1, "--of", 2)
    assert "not finished" in text
    assert not (run / "catalogue").exists()
    killed = start(*command, "--index", 0, "--of", 2)
    wait_for_receipts(run, 1 + len(list(run.glob("receipts/*.json"))), killed)
    killed.kill()
    killed.communicate()
    engine(*command, "--index", 0, "--of", 2)
    assert leaf_digests(run) == leaf_digests(finished_run)
    # Late jobs and a plain run find it done.
    assert "are done already" in engine(*command, "--index", 1, "--of", 2)
    assert "are done already" in engine(*command, "--workers", 0)


def test_a_job_that_runs_already_and_a_run_beside_jobs_are_refused(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("run", "--survey", mock_survey, "--output", run)
    job = start(*command, "--index", 0, "--of", 2)
    try:
        wait_for_receipts(run, 1, job)
        os.kill(job.pid, signal.SIGSTOP)  # It holds its locks and does nothing.
        assert "job 0 of 2" in engine(*command, "--index", 0, "--of", 2, expect=2)
        assert "another process is working on this run" in engine(*command, expect=2)
        assert "another process is working on this run" in engine("finish", run, expect=2)
    finally:
        job.kill()
        job.communicate()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--index", "2", "--of", "2"), "jobs count from 0 to 1"),
        (("--index", "2"), "give both"),
        (("--of", "2"), "give both"),
        (("--index", "0", "--of", "2", "--workers", "3"), "a job works in its process"),
        (("--index", "0", "--of", "2", "--retry-quarantined"), "run it alone first"),
        (("--profile", "laptop", "--workers", "2"), "give one of them"),
        (("--profile", "labtop"), "did you mean 'laptop'"),
    ],
)
def test_options_that_contradict_each_other(
    engine: Engine, mock_survey: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    text = engine("run", "--survey", mock_survey, "--output", tmp_path / "r", *options, expect=2)
    assert words in text
    assert text.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers", "code"),
    [(signal.SIGTERM, 2, 143), (signal.SIGINT, 2, 130), (signal.SIGTERM, 0, 143)],
)
def test_a_run_that_is_told_to_stop_can_be_resumed(
    engine: Engine,
    mock_survey: Path,
    fine_run: Path,
    tmp_path: Path,
    number: signal.Signals,
    workers: int,
    code: int,
) -> None:
    """Ctrl-C reaches all processes of the terminal's group, workers included."""
    run = tmp_path / "run"
    fine = ("--workers", workers, "--healpix-nside", 512)
    command = ("run", "--survey", mock_survey, "--output", run, *fine)
    process = start(*command, start_new_session=True)
    wait_for_receipts(run, 1, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    text, _ = process.communicate(timeout=100)
    assert process.returncode == code, text
    assert "repeat the command to go on" in text
    assert "Traceback" not in text
    if workers:
        assert "partitions in work have" in text
        assert "a worker died" not in text
    assert not list(run.glob("driver*")) + list(run.glob("workers/*.json"))
    assert "Resuming" in engine(*command)
    assert leaf_digests(run) == leaf_digests(fine_run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_profile_that_asks_for_gpus_is_refused_before_anything_is_planned(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("run", "--survey", mock_survey, "--output", run, "--profile", "workstation-cuda")
    text = engine(*command, expect=2)
    assert "engine: kind 'cuda': no NVIDIA driver answers here" in text
    assert "--profile laptop" in text
    assert text.count("\n") == 1
    assert not run.exists()
