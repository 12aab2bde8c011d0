"""Where the real survey files are, and the data flow that most tests share."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import settings

from engine.cli import main
from partitions.mock import MockConfig, write_mock_survey

# Times on a shared machine say nothing about correctness.
settings.register_profile("engine", deadline=None)
settings.load_profile("engine")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real survey files; they are not part of the repository."""
    folder = Path(os.environ.get("PHOTOZ_REAL_DATA", REPOSITORY.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip(f"real survey files are not at {folder} (set PHOTOZ_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_bricks(real_data: Path) -> Path:
    """Folder of the real bricks: region folders `testcase9` (g, r, z), `testcase4` (z, W1, W2)."""
    return real_data / "legacypipe-bricks"


@pytest.fixture(scope="session")
def mock_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release root of eight small bricks: one empty, one without i, rows of two releases."""
    folder = tmp_path_factory.mktemp("survey") / "mock"
    config = MockConfig(seed=11, num_fields=2, image_size_px=600)
    write_mock_survey(folder, config, num_workers=1)
    return folder


@pytest.fixture(scope="session")
def finished_run(mock_survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the mock survey at nside 32, made in this process; read only."""
    folder = tmp_path_factory.mktemp("runs") / "serial"
    run_engine("run", "--survey", mock_survey, "--output", folder, "--workers", 0)
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A private copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def run_engine(*arguments: object, expect: int = 0) -> str:
    """Run the command line in this process; returns what it printed, after checking the code."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    text = output.getvalue() + errors.getvalue()
    assert code == expect, f"exit code {code}, expected {expect}: {text}"
    return text


@pytest.fixture(scope="session")
def engine() -> Callable[..., str]:
    """`run_engine` for tests: engine(*arguments, expect=exit_code) -> printed text."""
    return run_engine
