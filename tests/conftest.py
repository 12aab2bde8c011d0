"""Where the real survey files are, and the data flow that most tests share."""

from __future__ import annotations

import io
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

from engine.cli import main
from partitions.mock import MockConfig, write_mock_survey
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS, TARGET_COLUMNS

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


@pytest.fixture(scope="session")
def fine_run(mock_survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at nside 512, where every brick is a partition: more moments to be stopped at."""
    folder = tmp_path_factory.mktemp("runs") / "fine"
    fine = ("--healpix-nside", 512, "--workers", 0)
    run_engine("run", "--survey", mock_survey, "--output", folder, *fine)
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


# --- an oracle -----------------------------------------------------------------------------------

Columns = Mapping[str, npt.NDArray[Any]]
Oracle = Callable[[Columns, npt.NDArray[np.str_]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]

# Columns that desitarget reads for classes that are not asked of it: present, all zero.
_OTHERS = (
    *("RELEASE", "RA", "DEC", "REF_ID", "FIBERTOTFLUX_G", "GAIA_DUPLICATED_SOURCE"),
    *(f"{stem}_{b}" for stem in ("FRACFLUX", "FRACMASKED", "FRACIN", "ALLMASK") for b in "GRZ"),
    *("PMRA", "PMDEC", "PMRA_IVAR", "PARALLAX", "PARALLAX_IVAR", "GAIA_PHOT_BP_MEAN_MAG"),
    *("GAIA_PHOT_RP_MEAN_MAG", "GAIA_ASTROMETRIC_EXCESS_NOISE"),
)
DESI_MASK = sum(1 << bit for bit in DESI_TARGET_BITS.values())
BGS_MASK = sum(1 << bit for bit in BGS_TARGET_BITS.values())


@pytest.fixture(scope="session")
def desitarget_bits() -> Oracle:
    """desitarget's own DESI_TARGET, BGS_TARGET of rows, without the bits drawn at random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cuts = pytest.importorskip("desitarget.cuts", reason="desitarget is not installed")
    for name in ("desitarget", "desimodel"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def apply(
        columns: Columns, photsys: npt.NDArray[np.str_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        dtype: list[Any] = [(name, columns[name].dtype) for name in TARGET_COLUMNS]
        dtype += [*((name, "f4") for name in _OTHERS), ("DCHISQ", "f4", 5), ("PHOTSYS", "U1")]
        rows = np.zeros(len(photsys), dtype)
        for name in TARGET_COLUMNS:
            rows[name] = columns[name]
        rows["PHOTSYS"] = photsys
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            desi, bgs, _ = cuts.apply_cuts(
                rows, qso_selection="colorcuts", tcnames=["ELG", "QSO", "LRG", "BGS", "LGE"]
            )
        return np.asarray(desi) & DESI_MASK, np.asarray(bgs) & BGS_MASK

    return apply
