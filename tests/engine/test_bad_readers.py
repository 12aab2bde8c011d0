"""Bricks that kill or hang the process that reads them: set aside and named, the others done."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.catalogue.read import read_columns
from engine.journal import Journal
from tests.engine.trap import Killer, make_trap

Engine = Callable[..., str]

pytestmark = pytest.mark.slow


@pytest.fixture
def survey(mock_survey: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mock_survey, tmp_path / "survey"))


def image_of(survey: Path, finished_run: Path, number: int) -> Path:
    """The r image of one of the bricks that hold sources."""
    bricks = [
        name
        for path in sorted((finished_run / "receipts").iterdir())
        for name, facts in json.loads(path.read_text())["bricks"].items()
        if facts["num_sources"]
    ]
    (image,) = survey.glob(f"south/coadd/*/{bricks[number]}/*-image-r.fits.fz")
    return image


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def profile(folder: Path, brick_minutes: float, decode_processes: int, workers: int = 2) -> Path:
    path = folder / "machine.toml"
    path.write_text(
        f"workers = {workers}\ndecode_processes = {decode_processes}\n"
        f"[limits]\nbrick_minutes = {brick_minutes}\n"
    )
    return path


def assert_only_missing(run: Path, finished_run: Path, missing: set[str]) -> None:
    """The catalogue holds the rows of all bricks but these, and they are named."""
    plan = Journal(run).read_plan()
    brickid = [planned.brick.brickid for planned in plan.bricks() if planned.brick.name in missing]
    columns = ["TARGETID", "BRICKID", "Z_PHOT_MEDIAN"]
    whole = read_columns(finished_run / "catalogue", columns)
    found = read_columns(run / "catalogue", columns)
    keep = ~np.isin(whole["BRICKID"], brickid)
    assert not keep.all()
    order, order_found = np.argsort(whole["TARGETID"][keep]), np.argsort(found["TARGETID"])
    for name in columns:
        assert np.array_equal(whole[name][keep][order], found[name][order_found])
    listed = (run / "quarantined.txt").read_text()
    assert {line.split()[0] for line in listed.splitlines()} == missing


@pytest.mark.parametrize("decode_processes", [0, 2])
def test_a_poison_brick_and_a_hanging_brick_on_workers(
    survey: Path, finished_run: Path, tmp_path: Path, decode_processes: int
) -> None:
    poison, hanging = (image_of(survey, finished_run, number) for number in (1, 4))
    make_trap(poison)
    make_trap(hanging)
    run = tmp_path / "run"
    machine = profile(tmp_path, 0.15, decode_processes, workers=2 if not decode_processes else 1)
    with Killer(poison) as killer:
        process = start("run", "--survey", survey, "--output", run, "--profile", machine)
        text, _ = process.communicate(timeout=200)
    names = [path.parent.name for path in (poison, hanging)]
    assert process.returncode == 3, text
    assert f"{names[0]}  3 processes died while it was read" in text
    assert f"{names[1]}  reading it did not come to an end, 2 times" in text
    assert f"engine build --survey {survey}/south --brick {names[0]}" in text
    assert len(killer.killed) == 3
    assert_only_missing(run, finished_run, set(names))


def test_a_poison_brick_without_workers_is_set_aside_by_the_third_repetition(
    survey: Path, finished_run: Path, mock_survey: Path, tmp_path: Path, engine: Engine
) -> None:
    poison = image_of(survey, finished_run, 2)
    content = poison.read_bytes()
    make_trap(poison)
    run = tmp_path / "run"
    command = ("run", "--survey", survey, "--output", run, "--workers", 0)
    with Killer(poison):
        for _ in range(3):
            process = start(*command)
            text, _ = process.communicate(timeout=100)
            assert process.returncode == -signal.SIGKILL, text
        process = start(*command)
        text, _ = process.communicate(timeout=100)
    name = poison.parent.name
    assert process.returncode == 3, text
    assert f"{name}  3 processes died while it was read" in text
    assert_only_missing(run, finished_run, {name})
    # Mended, it is given another chance.
    poison.unlink()
    poison.write_bytes(content)
    engine(*command, "--retry-quarantined")
    whole = read_columns(finished_run / "catalogue", ["TARGETID"])["TARGETID"]
    assert np.array_equal(
        np.sort(read_columns(run / "catalogue", ["TARGETID"])["TARGETID"]), np.sort(whole)
    )
