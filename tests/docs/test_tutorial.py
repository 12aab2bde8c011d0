"""The commands of docs/tutorial.md are run in order and print what the page shows.

Numbers that a network or a clock made are compared as to their places, all others exactly.
"""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from astropy.table import Table

DOCS = Path(__file__).parents[2] / "docs"
STEPS = runpy.run_path(str(DOCS / "run_tutorial.py"))["steps"]
SHOWN: list[tuple[str, str]] = STEPS((DOCS / "tutorial.md").read_text())

# How many of these lines there are depends on the time that passes.
_PROGRESS = re.compile(r"[\w ]+: \d+/\d+ \w+, ")
# Lines whose numbers the mock survey alone decides.
_EXACT = re.compile(
    r"sky: |Running |run/: |partitions |bricks  |sources  |rows  |decoded |covered |run/catalogue: "
    r"|Class |Area |Truth  +[\d,]+ of |Catalogue  |photoz\.hdf5: | +\([\d,]+ galaxies|[\d,]+ of "
)
_NUMBER = re.compile(r"\b[0-9a-f]{12}\b|[-+]?\d[\d,]*(\.\d+)?|[-+]?\.\d+")


def _stable(output: str) -> list[str]:
    """Lines without progress, with # for numbers that may differ, in an order of their own."""
    lines = []
    for line in output.splitlines():
        if _PROGRESS.match(line):
            continue
        if not _EXACT.match(line):
            # The best epoch is the network's choice.
            line = _NUMBER.sub("#", line).removesuffix("  best")
        lines.append(" ".join(line.split()))
    # The two streams of a command are interleaved on a terminal and apart here.
    return sorted(filter(None, lines))


def _values(output: str, pattern: str) -> list[float]:
    found = re.search(pattern, output)
    assert found, f"{pattern} is not in: {output}"
    return [float(value) for value in found.groups()]


def test_lines_are_compared() -> None:
    shown = "leaves: 2/2 leaves, 4.00/s\nsources    1,486\naccuracy   sigma_NMAD 0.0296\n"
    assert _stable(shown) == ["accuracy sigma_NMAD #", "sources 1,486"]
    assert _stable(shown) != _stable(shown.replace("1,486", "1,487"))
    assert _stable(shown) != _stable(shown.replace("sigma_NMAD", "sigma"))


def test_the_page_shows_every_step() -> None:
    commands = {shlex.split(command)[1] for command, _ in SHOWN}
    wanted = "mock run status verify query targets report evaluate train export"
    assert commands == set(wanted.split())
    assert all(output.strip() for _, output in SHOWN)
    # No block has another form, which `steps` would pass over.
    assert (DOCS / "tutorial.md").read_text().count("```console") == len(SHOWN)


@pytest.mark.slow
def test_the_tutorial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed: dict[str, str] = {}
    for command, shown in SHOWN:
        program, *arguments = shlex.split(command)
        assert program == "engine"
        output = engine(*arguments).replace(str(tmp_path), "/home/you/tutorial")
        assert _stable(output) == _stable(shown), command
        printed[" ".join(arguments)] = output
    _check_what_the_text_says(printed)

    far = Table.read("far.fits")
    assert len(far)
    assert min(far["Z_PHOT_MEDIAN"]) > 1
    assert min(far["Z_PHOT_ODDS"]) > 0.8
    elg = Table.read("elg.fits")
    assert len(elg)
    assert all(elg["DESI_TARGET"] & 1 << 1)  # Bit 1 of desitarget's desi_mask.
    assert Path("report.html").read_text().startswith("<!DOCTYPE html>")
    assert Path("judged/metrics.csv").stat().st_size
    assert Path("judged-mine/outliers.csv").stat().st_size
    assert Path("photoz.hdf5").read_bytes().startswith(b"\x89HDF")


def _check_what_the_text_says(printed: dict[str, str]) -> None:
    def output(start: str) -> str:
        return next(text for arguments, text in printed.items() if arguments.startswith(start))

    sigma, eta = _values(output("run "), r"sigma_NMAD ([\d.]+)  eta ([\d.]+) %")
    assert sigma < 0.04
    assert eta < 13
    bright, faint = _values(output("evaluate --cat"), r"sigma_NMAD +[\d.]+ +([\d.]+) +([\d.]+)")
    assert bright < faint
    types = output("query run/catalogue --sql")
    (rex,) = _values(types, r"REX +\d+ +([\d.]+)")
    (exp,) = _values(types, r"EXP +\d+ +([\d.]+)")
    assert rex > 2 * exp
    targets = output("targets ")
    expected = _values(targets, r"Expected +completeness ([\d.]+) %, contamination ([\d.]+) %")
    known = _values(targets, r"Truth +completeness ([\d.]+) .*?contamination ([\d.]+) ")
    assert known == pytest.approx(expected, abs=5)  # Percent; some 170 galaxies.
    mine = output("evaluate --survey")
    (own_sigma,) = _values(mine, r"sigma_NMAD +([\d.]+)")
    assert own_sigma > 2 * sigma
    (inside,) = _values(mine, r"in 68 % int\. +([\d.]+)")
    assert inside == pytest.approx(68, abs=12)
    biases = _values(mine, r"bias +\S+ ± \S+ +(\S+) ± \S+ +(\S+) ±")
    assert biases[0] > 0 > biases[1]
