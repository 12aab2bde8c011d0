"""The user's mistakes end in one line and exit code 2; bad bricks are quarantined, exit code 3."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lsdb
import pyarrow.dataset as ds
import pytest
from astropy.io import fits
from astropy.table import Table
from hats.io.validation import is_valid_catalog

from engine import infer
from engine.journal import Journal
from model.weights import default_weights_path

Engine = Callable[..., str]


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("engine: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.fixture
def survey_copy(mock_survey: Path, tmp_path: Path) -> Path:
    # copy2 keeps modification times, so that a copy is the same survey.
    return Path(shutil.copytree(mock_survey, tmp_path / "survey", copy_function=shutil.copy2))


@pytest.mark.parametrize("nside", [0, -1, 3, 31, 100, 1 << 14])
def test_nside(engine: Engine, mock_survey: Path, tmp_path: Path, nside: int) -> None:
    line = one_line(
        engine(
            "run",
            "--survey",
            mock_survey,
            "--healpix-nside",
            nside,
            "--output",
            tmp_path / "run",
            expect=2,
        )
    )
    assert str(nside) in line
    assert "power of two" in line
    assert not (tmp_path / "run").exists()


def test_a_path_that_is_no_survey(engine: Engine, tmp_path: Path) -> None:
    line = one_line(engine("run", "--survey", tmp_path / "nothing", expect=2))
    assert str(tmp_path / "nothing") in line
    (tmp_path / "empty").mkdir()
    assert "DR10 layout" in one_line(engine("plan", "--survey", tmp_path / "empty", expect=2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--region", "1,2,3"), "four numbers"),
        (("--region", "10,20,30,20"), "Dec1 < Dec2"),
        (("--region", "10,20,-89,-88"), "selects none"),
        (("--bricks", "{tmp}/none.txt"), "cannot be read"),
        (("--bricks", "{tmp}/strange.txt"), "9999p999"),
        (("--bricks", "{tmp}/blank.txt"), "names no brick"),
        (("--weights", "{tmp}"), "weights"),
        (("--profile", "{tmp}/profile.toml"), "did you mean 'workers'"),
        (("--profile", "labtop"), "did you mean 'laptop'"),
    ],
)
def test_options(
    engine: Engine, mock_survey: Path, tmp_path: Path, arguments: tuple[str, str], words: str
) -> None:
    (tmp_path / "strange.txt").write_text("9999p999\n")
    (tmp_path / "blank.txt").write_text("# nothing\n\n")
    (tmp_path / "profile.toml").write_text('kind = "local"\nworker = 2\n')
    option, value = arguments[0], arguments[1].format(tmp=tmp_path)
    text = engine(
        "run", "--survey", mock_survey, option, value, "--output", tmp_path / "r", expect=2
    )
    assert words in one_line(text)
    assert not (tmp_path / "r").exists()


def test_output_that_cannot_be_made(engine: Engine, mock_survey: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = engine("run", "--survey", mock_survey, "--output", tmp_path / "file/run", expect=2)
    assert "cannot be written" in one_line(text)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    text = engine("run", "--survey", mock_survey, "--output", tmp_path / "full", expect=2)
    assert "'thesis.tex'" in one_line(text)


def test_another_nside_weights_and_selection_are_refused_with_both_values(
    engine: Engine, mock_survey: Path, run_copy: Path, tmp_path: Path
) -> None:
    run = ("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    assert "nside is 32 in its plan, 64 now" in one_line(
        engine(*run, "--healpix-nside", 64, expect=2)
    )
    other = json.loads((default_weights_path() / "weights.json").read_text())
    weights = tmp_path / "weights"
    make_other_weights(weights)
    line = one_line(engine(*run, "--weights", weights, expect=2))
    assert f"weights is {other['digest'][:12]} in its plan" in line
    brick = Table.read(mock_survey / "survey-bricks.fits.gz")["BRICKNAME"][0]
    (tmp_path / "one.txt").write_text(brick)
    assert "number of bricks is 8 in its plan, 1 now" in one_line(
        engine(*run, "--bricks", tmp_path / "one.txt", expect=2)
    )


def make_other_weights(folder: Path, **changes: object) -> None:
    """The default weights with another provenance: valid, but not the same artefact."""
    from dataclasses import replace  # noqa: PLC0415

    from model.weights import load_weights  # noqa: PLC0415

    changes = changes or {"provenance": {"note": "another"}}
    replace(load_weights(default_weights_path()), **changes).save(folder)


def test_weights_with_bands_that_do_not_fit(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(default_weights_path(), weights)
    described = json.loads((weights / "weights.json").read_text())
    described["bands"] = ["u", "g", "r"]
    (weights / "weights.json").write_text(json.dumps(described))
    text = engine(
        "run", "--survey", mock_survey, "--weights", weights, "--output", tmp_path / "r", expect=2
    )
    assert "weights" in one_line(text)


def test_a_changed_survey_is_refused_with_both_values(
    engine: Engine, survey_copy: Path, tmp_path: Path
) -> None:
    run = ("run", "--survey", survey_copy, "--output", tmp_path / "run", "--workers", 0)
    engine(*run)
    path = sorted(survey_copy.glob("south/tractor/*/tractor-*.fits"))[0]
    os.utime(path, ns=(1, 1_000_000_000))
    line = one_line(engine(*run, expect=2))
    assert path.stem.removeprefix("tractor-") in line
    assert "when planned" in line
    assert "modified at 1.000 now" in line


def test_the_same_survey_elsewhere_is_the_same(
    engine: Engine, survey_copy: Path, run_copy: Path
) -> None:
    """A run goes on when its survey was moved: same bricks, same files."""
    receipt = sorted((run_copy / "receipts").iterdir())[0]
    receipt.unlink()
    engine("run", "--survey", survey_copy, "--output", run_copy, "--workers", 0)
    status = json.loads(engine("status", run_copy, "--json"))
    assert status["survey"] == str(survey_copy / "south")
    assert status["finished"]


def test_a_survey_that_changes_while_it_is_read(
    engine: Engine, survey_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost image must not pass for a band that the survey never had."""
    build = infer.build_brick_arrays

    def build_and_lose_an_image(layout: Any, brick: Any, *rest: Any) -> Any:
        counts = build(layout, brick, *rest)
        layout.brick_file("image", brick.name, "r").unlink()
        return counts

    monkeypatch.setattr(infer, "build_brick_arrays", build_and_lose_an_image)
    run = ("run", "--survey", survey_copy, "--output", tmp_path / "run", "--workers", 0)
    line = one_line(engine(*run, expect=2))
    assert "changed while the run was going" in line
    assert "image-r" in line
    assert "absent now" in line
    assert not list((tmp_path / "run" / "receipts").iterdir())


def test_a_damaged_receipt_or_plan(engine: Engine, mock_survey: Path, run_copy: Path) -> None:
    run = ("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    receipt = sorted((run_copy / "receipts").iterdir())[0]
    content = json.loads(receipt.read_text())
    receipt.write_text(json.dumps({**content, "plan_digest": "f" * 64}))
    line = one_line(engine(*run, expect=2))
    assert "receipt of plan ffffffffffff" in line
    for damaged in ("{", "{}", "[]"):
        receipt.write_text(damaged)
        assert receipt.name in one_line(engine("status", run_copy, expect=2))
        assert receipt.name in one_line(engine(*run, expect=2))
    plan = run_copy / "plan.json"
    plan.write_text(plan.read_text().replace('"nside": 32', '"nside": 64'))
    assert "edited" in one_line(engine(*run, expect=2))
    plan.write_text("{}")
    assert "plan.json" in one_line(engine(*run, expect=2))
    plan.unlink()
    assert "but no plan.json" in one_line(engine(*run, expect=2))


def test_two_processes_on_one_run(engine: Engine, mock_survey: Path, run_copy: Path) -> None:
    with Journal(run_copy).locked():
        text = engine("run", "--survey", mock_survey, "--output", run_copy, expect=2)
    assert "another process" in one_line(text)


def test_a_full_disk_keeps_what_is_done(engine: Engine, mock_survey: Path, tmp_path: Path) -> None:
    """The kernel refuses files over 100 kB, as a quota would; then the limit is lifted."""
    command = [
        sys.executable,
        "-m",
        "engine",
        "run",
        "--survey",
        str(mock_survey),
        "--output",
        str(tmp_path / "run"),
        "--workers",
        "0",
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    stopped = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert stopped.returncode == 2, stopped.stdout + stopped.stderr
    assert "finished partitions are kept" in one_line(stopped.stderr)
    engine("run", "--survey", mock_survey, "--output", tmp_path / "run", "--workers", 0)
    assert "passed" in engine("verify", tmp_path / "run" / "catalogue")


def test_too_little_space_is_refused_before_work(
    engine: Engine, mock_survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    line = one_line(engine("run", "--survey", mock_survey, "--output", tmp_path / "run", expect=2))
    assert "GB free" in line
    assert not list((tmp_path / "run" / "receipts").iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def flip_bits(path: Path) -> None:
    """Damage that leaves a valid FITS file: only the published checksum can tell."""
    content = bytearray(path.read_bytes())
    content[-4000] ^= 0x55
    path.write_bytes(content)


def test_bad_bricks_are_quarantined_and_the_others_finish(
    engine: Engine, survey_copy: Path, finished_run: Path, tmp_path: Path
) -> None:
    tables = sorted(survey_copy.glob("south/tractor/*/tractor-*.fits"))
    rows_of = {
        path: int(sum(Table.read(path)["brick_primary"] & (Table.read(path)["type"] != "DUP")))
        for path in tables
    }
    tables.sort(key=lambda path: rows_of[path], reverse=True)
    names = [path.stem.removeprefix("tractor-") for path in tables]
    images = [
        next((survey_copy / "south/coadd" / name[:3] / name).glob("*-image-r.fits.fz"))
        for name in names
    ]
    truncate(images[0])
    flip_bits(images[1])
    tables[2].unlink()
    stripped = Table.read(tables[3])
    stripped.remove_column("flux_ivar_z")
    stripped.write(tables[3], overwrite=True)
    tables[3].with_name(f"brick-{names[3]}.sha256sum").unlink()
    header = fits.getheader(images[4], 1)
    small = fits.CompImageHDU(fits.getdata(images[4], 1)[:200, :200], header)
    fits.HDUList([fits.PrimaryHDU(), small]).writeto(images[4], overwrite=True)
    tables[4].with_name(f"brick-{names[4]}.sha256sum").unlink()

    run = ("run", "--survey", survey_copy, "--output", tmp_path / "run", "--workers", 0)
    text = engine(*run, expect=3)
    status = json.loads(engine("status", tmp_path / "run", "--json"))
    assert set(status["quarantined"]) == set(names[:5])
    for name, words in zip(
        names, ["sha256", "sha256", "missing", "flux_ivar_z missing", "200 x 200"], strict=False
    ):
        assert words in status["quarantined"][name]
        assert name in text
        command = f"engine build --survey {survey_copy / 'south'} --brick {name}"
        assert command in text
        repeated = engine(*command.split()[1:], "--output", tmp_path / "arrays", expect=3)
        assert one_line(repeated) == f"engine: {status['quarantined'][name]}"
    expected = sum(rows for path, rows in rows_of.items() if path in tables[5:])
    dataset = ds.dataset(tmp_path / "run/catalogue/photoz/dataset", format="parquet")
    assert dataset.count_rows() == expected > 0
    assert "passed" in engine("verify", tmp_path / "run" / "catalogue")

    listed = tmp_path / "run" / "quarantined.txt"
    again = engine("plan", "--survey", survey_copy, "--bricks", listed, "--json")
    assert json.loads(again)["num_bricks"] == 5

    # Mended files are a changed survey, accepted for quarantined bricks on request only.
    original = finished_run / "plan.json"
    mock_root = Path(json.loads(original.read_text())["survey"]["root"])
    for path in (*tables[:5], *images[:5]):
        shutil.copy2(mock_root / path.relative_to(survey_copy), path)
    assert "--retry-quarantined" in one_line(engine(*run, expect=2))
    engine(*run, "--retry-quarantined")
    healed = {
        p.name: p.read_bytes() for p in (tmp_path / "run/catalogue/photoz/dataset").rglob("Npix*")
    }
    whole = {
        p.name: p.read_bytes() for p in (finished_run / "catalogue/photoz/dataset").rglob("Npix*")
    }
    assert healed == whole
    assert not listed.exists()


def test_a_run_of_bad_bricks_only_is_an_empty_catalogue(
    engine: Engine, survey_copy: Path, tmp_path: Path
) -> None:
    for path in survey_copy.glob("south/coadd/*/*/*-image-g.fits.fz"):
        truncate(path)
    run = ("run", "--survey", survey_copy, "--output", tmp_path / "run", "--workers", 0)
    text = engine(*run, expect=3)
    assert "(8 quarantined)" in text
    assert "note: 8 bricks were quarantined" in engine("verify", tmp_path / "run" / "catalogue")
    assert is_valid_catalog(str(tmp_path / "run" / "catalogue"), strict=True)
    assert len(lsdb.open_catalog(str(tmp_path / "run" / "catalogue")).compute()) == 0


def test_output_of_build_and_train(
    engine: Engine, real_bricks: Path, mock_survey: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    build = ("build", "--survey", real_bricks / "testcase4", "--brick", "1867p255")
    picture = ("--output", tmp_path, "--picture", tmp_path / "file" / "x.png")
    for options in (("--output", tmp_path / "file"), picture):
        assert "cannot be written" in one_line(engine(*build, *options, expect=2))
    text = engine(*build, "--output", tmp_path, "--picture", tmp_path / "x.odd", expect=2)
    assert ".png" in one_line(text)
    train = ("train", "--survey", mock_survey, "--output", tmp_path / "file")
    assert "cannot be written" in one_line(engine(*train, expect=2))


def test_a_truth_table_that_cannot_be_used_does_not_spoil_a_run(
    engine: Engine, survey_copy: Path, tmp_path: Path
) -> None:
    (survey_copy / "truth.fits").write_text("no table")
    text = engine("run", "--survey", survey_copy, "--output", tmp_path / "run", "--workers", 0)
    assert "accuracy   unknown: truth table" in text


def test_status_finish_and_verify_of_nothing(engine: Engine, tmp_path: Path) -> None:
    assert "no run there" in one_line(engine("status", tmp_path, expect=2))
    assert "no run there" in one_line(engine("finish", tmp_path, expect=2))
    assert "no finished catalogue" in one_line(engine("verify", tmp_path, expect=2))


def test_finish_of_an_unfinished_run(engine: Engine, run_copy: Path) -> None:
    sorted((run_copy / "receipts").iterdir())[0].unlink()
    assert "partitions are not done" in one_line(engine("finish", run_copy, expect=2))
    engine("finish", run_copy, "--partial")
    properties = (run_copy / "catalogue" / "collection.properties").read_text()
    assert "engine_partial=true" in properties
