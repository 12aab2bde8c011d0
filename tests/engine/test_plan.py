"""What a run will do: counts, the plan as a file, and how a changed survey is noticed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from engine.commands import run_settings
from engine.config import RunConfig, UserError
from engine.file_states import (
    FILE_KINDS,
    FileStates,
    describe_change,
    iterate_file_states,
    survey_file_states,
)
from engine.plan import RunPlan, make_plan
from engine.plan_file import read_plan, write_plan
from model.weights import default_weights_path
from partitions.bricks import SurveyLayout
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import BANDS

Engine = Callable[..., str]

times = st.tuples(st.integers(0, 2**62), st.integers(-(2**62), 2**62))
states = st.fixed_dictionaries({}, optional=dict.fromkeys(FILE_KINDS, times))


@pytest.fixture
def survey_copy(mock_survey: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mock_survey, tmp_path / "survey", copy_function=shutil.copy2))


def plan_of(survey: Path, nside: int = 32) -> RunPlan:
    return make_plan(RunConfig(survey, Path("unused"), nside, default_weights_path()))


@pytest.fixture(scope="module")
def plan(mock_survey: Path) -> RunPlan:
    return plan_of(mock_survey)


@given(states)
def test_packed_states_are_the_states(found: dict[str, tuple[int, int]]) -> None:
    packed = FileStates.of(found)
    assert packed.as_dict() == found
    assert packed.num_bytes == sum(size for size, _ in found.values())
    assert [packed.has(kind) for kind in FILE_KINDS] == [kind in found for kind in FILE_KINDS]


@given(states, states)
def test_any_difference_is_noticed_and_named(
    before: dict[str, tuple[int, int]], now: dict[str, tuple[int, int]]
) -> None:
    old, new = FileStates.of(before), FileStates.of(now)
    assert (old == new) == (before == now)
    if before != now:
        kind = describe_change(old, new).split(":")[0]
        assert before.get(kind) != now.get(kind)


def test_a_kind_that_no_run_reads() -> None:
    with pytest.raises(ValueError, match="image-Y"):
        FileStates.of({"image-Y": (1, 1)})


def test_states_are_those_of_the_files(mock_survey: Path) -> None:
    layout = open_survey(mock_survey)
    names = list(read_bricks(layout))
    # Over and over: more than one thread's share, and the order must hold.
    repeated = names * 40
    found = list(iterate_file_states(layout, repeated))
    assert len(found) == len(repeated) > 256
    for name, files in zip(repeated, found, strict=True):
        paths = {"tractor": layout.brick_file("tractor", name)}
        paths |= {f"image-{band}": layout.brick_file("image", name, band) for band in BANDS}
        expected = {
            kind: (path.stat().st_size, path.stat().st_mtime_ns)
            for kind, path in paths.items()
            if path.exists()
        }
        assert files.as_dict() == expected
    assert {len(files.as_dict()) for files in found} == {6, 7}  # One brick lacks the i band.


def test_a_lost_mount_is_raised_from_a_thread(
    mock_survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = open_survey(mock_survey)
    names = list(read_bricks(layout)) * 20
    looked = iter(range(10**9))
    stat = os.stat

    def stat_until_lost(path: str) -> os.stat_result:
        if next(looked) > 700:
            raise OSError(107, "Transport endpoint is not connected")
        return stat(path)

    monkeypatch.setattr(os, "stat", stat_until_lost)
    with pytest.raises(OSError, match="not connected"):
        list(iterate_file_states(layout, names))


def test_a_time_beyond_64_bits(survey_copy: Path) -> None:
    layout = open_survey(survey_copy)
    name = next(iter(read_bricks(layout)))
    path = layout.brick_file("tractor", name)
    os.utime(path, ns=(0, 2**63 + 10**9))
    if path.stat().st_mtime_ns < 2**63:
        pytest.skip("this file system keeps no such times")
    assert survey_file_states(layout, name).as_dict()["tractor"][1] == 2**63 - 1


def test_counts_of_the_release_table(mock_survey: Path, plan: RunPlan) -> None:
    """`nobjs` counts primary sources: compared with the Tractor tables themselves."""
    for planned in plan.bricks():
        rows = Table.read(plan.survey.brick_file("tractor", planned.brick.name))
        assert planned.num_rows == int(rows["brick_primary"].sum())


@pytest.mark.parametrize("table", ["absent", "uncounted", "one missing"])
def test_counts_of_headers_where_no_table_counts(
    survey_copy: Path, plan: RunPlan, table: str
) -> None:
    path = SurveyLayout(survey_copy, survey_copy / "south").release_bricks_table
    rows = Table.read(path)
    path.unlink()
    counted = set(rows["brickname"])
    if table == "absent":
        counted = set()
    elif table == "uncounted":
        rows.remove_column("nobjs")
        rows.write(path)
        counted = set()
    else:
        counted.remove(rows["brickname"][2])
        rows[[0, 1, *range(3, len(rows))]].write(path)
    found = plan_of(survey_copy)
    by_table = {planned.brick.name: planned.num_rows for planned in plan.bricks()}
    assert [planned.brick for planned in found.bricks()] == [p.brick for p in plan.bricks()]
    for planned in found.bricks():
        tractor = found.survey.brick_file("tractor", planned.brick.name)
        expected = fits.getheader(tractor, 1)["NAXIS2"]
        if planned.brick.name in counted:
            expected = by_table[planned.brick.name]
        assert planned.num_rows == expected


def test_files_and_counts_are_no_part_of_the_digest(survey_copy: Path, plan: RunPlan) -> None:
    layout = open_survey(survey_copy)
    layout.release_bricks_table.unlink()
    for name in read_bricks(layout):
        os.utime(layout.brick_file("tractor", name), ns=(1, 1))
    moved = plan_of(survey_copy)
    assert moved.digest == plan.digest
    assert moved.num_rows != plan.num_rows
    assert plan_of(survey_copy, nside=64).digest != plan.digest
    first, *others = plan.partitions
    brick = first.bricks[0]
    for field in ("name", "brickid", "ra_deg", "dec_deg", "ra1_deg", "dec2_deg"):
        value = getattr(brick.brick, field)
        other = value + "x" if isinstance(value, str) else value + 1
        bricks = (replace(brick, brick=replace(brick.brick, **{field: other})), *first.bricks[1:])
        edited = replace(plan, partitions=(replace(first, bricks=bricks), *others))
        assert edited.digest != plan.digest


def test_a_plan_as_a_file(plan: RunPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, plan, tmp_path / "wip")
    assert read_plan(path) == plan
    # A file that people can read: valid JSON, one brick a line.
    data = json.loads(path.read_text())
    assert data["digest"] == plan.digest
    lines = {line.rstrip(",") for line in path.read_text().splitlines()}
    for partition, planned in zip(data["partitions"], plan.partitions, strict=True):
        assert partition["pixel"] == planned.pixel.number
        for row, brick in zip(partition["bricks"], planned.bricks, strict=True):
            assert json.dumps(row, separators=(",", ":")) in lines
            named = dict(zip(data["brick_columns"], row, strict=True))
            assert named["name"] == brick.brick.name
            assert named["dec2_deg"] == brick.brick.dec2_deg
            assert named["num_rows"] == brick.num_rows
            files = dict(zip(data["files"], named["files"], strict=True))
            assert {k: tuple(v) for k, v in files.items() if v} == brick.files.as_dict()
    # Its layout does not matter, only its content.
    path.write_text(json.dumps(data, indent=3))
    assert read_plan(path) == plan


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda data: data.update(format_version=2), "plan format 2, this engine writes 3"),
        (lambda data: data.update(nside=64), "edited"),
        (lambda data: data["partitions"].pop(), "edited"),
        (lambda data: data["partitions"][0]["bricks"][0].__setitem__(2, 0.5), "edited"),
        (lambda data: data["partitions"][0]["bricks"][0].pop(), "damaged"),
        (lambda data: data["partitions"][0]["bricks"][0].__setitem__(9, [[1]]), "file states"),
        (lambda data: data["partitions"][0].pop("pixel"), "damaged"),
        (lambda data: data.pop("weights"), "damaged"),
    ],
)
def test_a_plan_that_was_changed(
    plan: RunPlan, tmp_path: Path, edit: Callable[[dict[str, object]], object], words: str
) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, plan, tmp_path)
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=words) as caught:
        read_plan(path)
    assert "choose another --output" in str(caught.value)


def test_a_plan_of_the_format_before(tmp_path: Path) -> None:
    """Bricks were dicts then; the run is refused by version, not as damaged."""
    path = tmp_path / "plan.json"
    brick = {"name": "0001p000", "num_rows": 1, "files": {"tractor": [1, 2]}}
    old = {"format_version": 2, "partitions": [{"pixel": 3, "bricks": [brick]}]}
    path.write_text(json.dumps(old))
    with pytest.raises(UserError, match="plan format 2, this engine writes 3"):
        read_plan(path)


def test_the_release_table_is_enough(survey_copy: Path, plan: RunPlan) -> None:
    """Tables are read until all bricks are found: a damaged all-sky grid is not opened."""
    layout = open_survey(survey_copy)
    layout.bricks_table.write_bytes(b"no FITS")
    assert plan_of(survey_copy).digest == plan.digest


def test_planning_that_takes_long_shows_progress(
    engine: Engine, mock_survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("plan", "--survey", mock_survey, "--output", tmp_path / "run")
    assert "planning:" not in engine(*command)
    monkeypatch.setattr(run_settings, "_PATIENCE_S", 0.0)
    assert "planning: 8/8 bricks" in engine(*command)
    json.loads(engine(*command, "--json"))


def test_plans_of_a_part_of_a_release(survey_copy: Path, plan: RunPlan) -> None:
    """A table lists all bricks; those without files here are left out of the plan."""
    layout = open_survey(survey_copy)
    name = next(iter(read_bricks(layout)))
    shutil.rmtree(layout.coadd_folder(name))
    layout.brick_file("tractor", name).unlink()
    found = [planned.brick.name for planned in plan_of(survey_copy).bricks()]
    assert sorted([*found, name]) == sorted(planned.brick.name for planned in plan.bricks())
