"""Every snippet of docs/query.md that can run is run, and all give the same rows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.query import query

PAGE = Path(__file__).parents[3] / "docs" / "query.md"
RA, DEC = "8.0302", "5.0876"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line for language, text in BLOCKS if language == "sh" for line in text.strip().splitlines()
]


@pytest.fixture
def here(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where `catalogue` is the catalogue of the mock run."""
    (tmp_path / "catalogue").symlink_to(finished_run / "catalogue")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expected(here: Path) -> set[int]:
    """The rows near the page's position, with lsdb's formula written out once more."""
    with query("catalogue", sql=f"SELECT TARGETID FROM catalogue WHERE "
               f"separation_arcsec(RA, DEC, {RA}, {DEC}) <= 60") as answer:  # fmt: skip
        found = set(answer.read()["TARGETID"].to_pylist())
    assert len(found) > 10
    return found


def test_the_page_has_all_ways() -> None:
    assert [language for language, _ in BLOCKS] == [
        *("sh", "sh", "python", "python", "python", "python", "text")
    ]
    assert len(COMMANDS) == 7


@pytest.mark.parametrize("number", range(4))
def test_python_finds_the_same_rows(number: int, expected: set[int]) -> None:
    names: dict[str, Any] = {}
    with dask.config.set(scheduler="synchronous"):
        exec(compile(PYTHON[number], f"{PAGE.name} snippet {number}", "exec"), names)
    near = names["near"]
    ids = near["TARGETID"].to_pylist() if isinstance(near, pa.Table) else near["TARGETID"].tolist()
    assert set(ids) == expected
    assert len(ids) == len(expected)


def test_commands_run(here: Path, engine: Callable[..., str], expected: set[int]) -> None:
    printed = []
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "engine"
        printed.append(engine(*arguments))
    ids = {int(line.split()[0]) for line in printed[0].splitlines() if re.match(r" *\d{15}", line)}
    assert ids
    assert ids <= expected
    assert f"of {len(expected)} rows" in printed[0]
    assert (here / "far.fits").exists()
    assert (here / "nz.png").read_bytes().startswith(b"\x89PNG")
    far = engine("query", "catalogue", "--ids", "far.fits", "--output", "far.parquet")
    assert far.startswith("far.parquet: ")
    assert min(pq.read_table("far.parquet")["Z_PHOT_MEDIAN"].to_pylist()) > 1
