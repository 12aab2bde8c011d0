"""Serial, one worker, two workers, killed at any moment: the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from partitions.store import read_arrays

Engine = Callable[..., str]


def leaf_digests(run: Path) -> dict[str, str]:
    """Of every file of the collection: leaves, margins, index and all metadata."""
    catalogue = run / "catalogue"
    return {
        str(path.relative_to(catalogue)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(catalogue.rglob("*"))
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
    assert len(leaf_digests(run)) >= 20


@pytest.mark.slow
def test_decode_processes_write_the_same_bytes(
    engine: Engine, mock_survey: Path, finished_run: Path, tmp_path: Path
) -> None:
    """Bricks built ahead of the network, on a scratch folder outside the run directory."""
    scratch, profile = tmp_path / "scratch", tmp_path / "machine.toml"
    scratch.mkdir()
    profile.write_text(
        f'workers = 1\nthreads = 3\ndecode_processes = 2\nlocal_directory = "{scratch}"\n'
    )
    run = tmp_path / "run"
    engine("run", "--survey", mock_survey, "--output", run, "--profile", profile)
    assert leaf_digests(run) == leaf_digests(finished_run)
    assert not list(scratch.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(10))
def test_kill_9_at_a_random_moment_and_resume(
    mock_survey: Path, fine_run: Path, tmp_path: Path, attempt: int
) -> None:
    """Odd attempts run on two Dask workers, even ones in one process.

    The moment is drawn from the run's own progress: after some number of receipts and up to
    0.2 s more, so that it falls within the work on a machine of any speed.
    """
    run = tmp_path / "run"
    arguments = (
        "run",
        "--survey",
        mock_survey,
        "--output",
        run,
        "--healpix-nside",
        512,
        "--workers",
        attempt % 2 * 2,
    )
    num_partitions = len(list((fine_run / "receipts").iterdir()))
    assert num_partitions >= 6
    moment = random.Random(attempt)
    wanted = moment.randrange(num_partitions - 1)
    process = start_engine(*arguments)
    while len(list(run.glob("receipts/*.json"))) < wanted or not run.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    time.sleep(moment.uniform(0, 0.2))
    assert process.poll() is None, "it was done before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    repeated = start_engine(*arguments)
    output, _ = repeated.communicate()
    assert repeated.returncode == 0, output
    assert leaf_digests(run) == leaf_digests(fine_run)
    assert not list(run.glob("**/wip-*"))


class Crash(BaseException):
    """Stands for a crash: nothing in the engine catches it."""


@pytest.mark.parametrize("crash_at", [1, 2, 5, 8, 12, 16, 20, 24, 30, 37, 43])
def test_a_crash_at_the_nth_rename_and_resume(
    engine: Engine,
    mock_survey: Path,
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crash_at: int,
) -> None:
    """Every state of a run changes by a rename: stop before the n-th, start again."""
    run = tmp_path / "run"
    arguments = ("run", "--survey", mock_survey, "--output", run, "--workers", 0)
    rename, num_renames = os.replace, 0

    def rename_or_crash(source: Path, target: Path) -> None:
        nonlocal num_renames
        if Path(target).is_relative_to(run):
            num_renames += 1
            if num_renames == crash_at:
                raise Crash
        rename(source, target)

    monkeypatch.setattr(os, "replace", rename_or_crash)
    with pytest.raises(Crash):
        engine(*arguments)
    monkeypatch.undo()
    engine(*arguments)
    assert leaf_digests(run) == leaf_digests(finished_run)
    assert "passed" in engine("verify", run / "catalogue")


def test_a_partial_catalogue_is_not_taken_for_the_whole(
    engine: Engine, mock_survey: Path, run_copy: Path, finished_run: Path
) -> None:
    """Killed after the last receipt, with the catalogue of an earlier partial finish in place."""
    receipt = sorted((run_copy / "receipts").iterdir())[0]
    content = receipt.read_bytes()
    receipt.unlink()
    engine("finish", run_copy, "--partial")
    receipt.write_bytes(content)
    engine("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    assert leaf_digests(run_copy) == leaf_digests(finished_run)


def test_litter_of_a_killed_attempt_is_swept(
    engine: Engine, mock_survey: Path, run_copy: Path
) -> None:
    (run_copy / "wip" / "wip-deadbeef-5-1.json").write_text("")
    (run_copy / "arrays" / "5-1" / "wip-deadbeef-x.zarr").mkdir(parents=True)
    engine("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    assert not list(run_copy.glob("**/wip-*"))


def test_kept_arrays_are_those_of_the_plan(
    engine: Engine, mock_survey: Path, tmp_path: Path, finished_run: Path
) -> None:
    run = tmp_path / "run"
    engine("run", "--survey", mock_survey, "--output", run, "--workers", 0, "--keep-arrays")
    groups = sorted(path.stem for path in run.glob("arrays/*/*.zarr"))
    assert groups == sorted(path.name for path in mock_survey.glob("south/coadd/*/*"))
    num_rows = sum(len(read_arrays(path)["objid"]) for path in run.glob("arrays/*/*.zarr"))
    assert num_rows == json.loads(engine("status", run, "--json"))["num_sources"]
    assert leaf_digests(run) == leaf_digests(finished_run)


def test_a_stopped_run_resumes_only_what_remains(
    engine: Engine, mock_survey: Path, run_copy: Path, finished_run: Path
) -> None:
    receipts = sorted((run_copy / "receipts").iterdir())
    kept = {path: path.stat().st_mtime_ns for path in receipts[1:]}
    receipts[0].unlink()
    text = engine("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    assert (
        f"Resuming {run_copy}/ (this process): {len(kept)} of {len(receipts)} partitions are done"
        in text
    )
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert leaf_digests(run_copy) == leaf_digests(finished_run)


def test_finish_alone_rebuilds_the_catalogue(
    engine: Engine, run_copy: Path, finished_run: Path
) -> None:
    before = leaf_digests(run_copy)
    next((run_copy / "catalogue/photoz/dataset").rglob("Npix=*.parquet")).unlink()
    (run_copy / "catalogue" / "collection.properties").unlink()
    engine("finish", run_copy)
    assert leaf_digests(run_copy) == before == leaf_digests(finished_run)
    assert "passed" in engine("verify", run_copy / "catalogue")
