"""Training arrays: what is written, resumed, refused and read again; real files, real kills."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table, vstack

from engine import plots
from engine.arrays.read import open_training_arrays, read_training_rows
from engine.evaluate import choose_rows, sample_of_arrays
from engine.known import read_known
from engine.lock import hold_lock
from engine.targets import encode_targetid
from model.train import TrainConfig, split_rows
from model.weights import load_weights
from partitions.build import build_brick
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import StampSize
from partitions.store import read_arrays, read_attributes

Engine = Callable[..., str]

SMALL = ("--stamp-px", 32, "--wise-stamp-px", 8)
"""What the default network reads."""


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("engine: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def content_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(scope="module")
def arrays(engine: Engine, mock_survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays of the mock survey; read only."""
    folder = tmp_path_factory.mktemp("training") / "arrays"
    truth = mock_survey / "truth.fits"
    engine("build", "--survey", mock_survey, "--truth", truth, "--output", folder, *SMALL)
    return folder


@pytest.fixture
def survey_copy(mock_survey: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mock_survey, tmp_path / "survey", copy_function=shutil.copy2))


def test_groups_hold_the_rows_of_the_whole_bricks_and_their_redshifts(
    mock_survey: Path, arrays: Path
) -> None:
    layout = open_survey(mock_survey)
    table = Table.read(layout.truth_table)
    table = table[table["SPECTYPE"] != "STAR"]
    targetid = encode_targetid(table["RELEASE"], table["BRICKID"], table["OBJID"])
    number = {int(value): row for row, value in enumerate(targetid)}
    manifest = json.loads((arrays / "manifest.json").read_text())
    found = 0
    for brick in read_bricks(layout).values():
        path = arrays / brick.name[:3] / f"{brick.name}.zarr"
        assert path.exists() == (brick.brickid in table["BRICKID"])
        if not path.exists():
            continue
        stored = read_arrays(path)
        whole, _ = build_brick(layout, brick, StampSize(32, 8))
        own = encode_targetid(whole["release"], whole["brickid"], whole["objid"])
        keep = np.isin(own, targetid)
        for name, values in whole.items():
            np.testing.assert_array_equal(stored[name], values[keep], err_msg=name)
        rows = [number[int(value)] for value in own[keep]]
        np.testing.assert_array_equal(stored["z_spec"], table["Z"][rows])
        classes = np.array(read_attributes(path)["classes"])[stored["class_code"]]
        assert classes.tolist() == [str(name).strip() for name in table["CLASS"][rows]]
        assert manifest["bricks"][brick.name] == len(rows)
        found += len(rows)
    assert found == manifest["num_rows"] == len(table)


@pytest.fixture(scope="module")
def trained(
    engine: Engine, mock_survey: Path, arrays: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Weights trained on the arrays and, the same, on the survey; read only."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("--epochs", 1, "--modality", "photometry")
    engine("train", "--survey", mock_survey, "--output", folder / "survey", *words)
    engine("train", "--arrays", arrays, "--output", folder / "arrays", *words)
    return folder


def test_arrays_train_the_weights_that_the_survey_trains(trained: Path) -> None:
    ours, theirs = load_weights(trained / "arrays"), load_weights(trained / "survey")
    assert ours.digest == theirs.digest
    assert set(ours.provenance["targetid_digest"]) == {"train", "validation", "test"}


def test_evaluate_and_importance_read_arrays(
    engine: Engine,
    mock_survey: Path,
    arrays: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plots, "has_matplotlib", lambda: False)  # drawn in test_evaluate
    words = ("--weights", trained / "arrays", "--json")
    reports = [
        json.loads(engine("evaluate", *source, *words, "--output", tmp_path / str(number)))
        for number, source in enumerate((("--arrays", arrays), ("--survey", mock_survey)))
    ]
    for key in ("records", "num_rows", "num_matched", "num_known", "dropped", "class_column"):
        assert reports[0][key] == reports[1][key]
    assert reports[0]["rows"] == "test"
    assert "by the digest of their TARGETIDs" in reports[0]["rows_reason"]
    report = json.loads(
        engine(
            *("importance", "--arrays", arrays, *words, "--output", tmp_path / "i"),
            *("--rows-limit", 30, "--repeats", 1),
        )
    )
    assert len(report["features"]) == 86


def test_one_source_less_is_another_sample(arrays: Path, trained: Path) -> None:
    weights = load_weights(trained / "arrays")
    manifest = open_training_arrays(arrays, StampSize(32, 8))
    sample, _ = sample_of_arrays(arrays, manifest, weights)
    config = TrainConfig(**{
        key: tuple(value) if isinstance(value, list) else value
        for key, value in weights.provenance["train_config"].items()
    })  # fmt: skip
    split = split_rows(sample.rows, config)
    assert choose_rows(weights, sample, None).part == "test"
    theirs = {part: set(sample.targetid[rows]) for part, rows in vars(split).items()}
    for lost in (split.test[0], split.train[0]):
        fewer = sample.take(np.delete(np.arange(len(sample)), lost))
        now = split_rows(fewer.rows, config)
        same = {
            part for part, rows in vars(now).items() if set(fewer.targetid[rows]) == theirs[part]
        }
        assert len(same) < 3
        # Whoever knows which rows were fitted on knows that the others were not.
        unseen = "test" in same or {"train", "validation"} <= same
        choice = choose_rows(weights, fewer, None)
        assert choice.part == ("test" if unseen else "all")
        assert ("too good (by" in choose_rows(weights, fewer, "all").reason) == ("train" in same)
        if unseen:
            assert not set(fewer.targetid[choice.rows]) & theirs["train"]


def test_larger_stamps_are_cropped(
    engine: Engine, mock_survey: Path, arrays: Path, tmp_path: Path
) -> None:
    words = ("--survey", mock_survey, "--truth", mock_survey / "truth.fits")
    folder, size = tmp_path / "large", StampSize(32, 8)
    engine("build", *words, "--output", folder, "--stamp-px", 40)
    text = engine(
        *("train", "--arrays", arrays, "--network", "wei2025", "--output", tmp_path / "w"),
        expect=2,
    )
    assert "stamps are of 32 px optical, 8 px WISE, the network reads 64 px" in one_line(text)
    cropped, labels = read_training_rows(folder, open_training_arrays(folder, size), size)
    stored, other_labels = read_training_rows(arrays, open_training_arrays(arrays, size), size)
    assert labels.tolist() == other_labels.tolist()
    np.testing.assert_array_equal(cropped.targetid, stored.targetid)
    for name, values in stored.rows.arrays.items():
        if name != "coverage":
            np.testing.assert_array_equal(cropped.rows.arrays[name], values)
    coverage, exact = cropped.rows.arrays["coverage"], stored.rows.arrays["coverage"]
    # A pixel that float16 stores as zero counts as uncovered: one or two of a stamp's 1,024.
    np.testing.assert_allclose(coverage, exact, atol=2.1 / 1024, rtol=0)
    assert np.mean(coverage == exact) > 0.98
    assert (exact < 1).any()


def test_every_row_of_the_truth_table_is_accounted_for(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    table = Table.read(mock_survey / "truth.fits")
    galaxies = np.flatnonzero(table["SPECTYPE"] != "STAR")
    table["Z"][galaxies[:3]] = np.nan
    table["Z"][galaxies[3:5]] = -0.5
    table["OBJID"][galaxies[5]] = 4_000_000
    table["BRICKID"][galaxies[6:8]] = 5
    vstack([table, table[galaxies[8:9]]]).write(tmp_path / "truth.fits")
    words = ("--survey", mock_survey, "--truth", tmp_path / "truth.fits")
    output = tmp_path / "arrays"
    report = json.loads(engine("build", *words, "--output", output, *SMALL, "--json"))
    assert report["dropped"] == {
        "stars": len(table) - len(galaxies),
        "not_finite": 3,
        "not_positive": 2,
        "repeated": 1,
        "not_in_survey": 2,
        "no_such_source": 1,
        "brick_quarantined": 0,
    }
    assert report["num_rows"] == len(galaxies) - 8
    assert report["num_rows"] + sum(report["dropped"].values()) == len(table) + 1
    text = engine("build", *words, "--output", output, *SMALL)
    for line in ("- 3 without a finite redshift", "- 2 with a redshift of zero or less",
                 "- 2 in a brick that the survey", "- 1 of no catalogue source"):  # fmt: skip
        assert line in text


def test_killed_and_repeated_gives_the_same_arrays(
    engine: Engine, mock_survey: Path, arrays: Path, tmp_path: Path
) -> None:
    output = tmp_path / "arrays"
    words = ["build", "--survey", mock_survey, "--truth", mock_survey / "truth.fits"]
    words = [str(word) for word in (*words, "--output", output, *SMALL)]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list(output.glob("*/*.zarr"))) < 3:
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = {p: p.stat().st_mtime_ns for p in output.glob("*/[0-9]*.zarr/zarr.json")}
    # What a kill within a write leaves.
    litter = output / "000" / "wip-deadbeef-0000p000.zarr"
    litter.mkdir(parents=True)
    (output / "wip-deadbeef-manifest.json").write_text("{")
    assert "not finished" in one_line(
        engine("train", "--arrays", output, "--output", tmp_path / "w", expect=2)
    )
    text = engine(*words)
    assert f"Resuming {output}/: {len(done)} of " in text
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert content_of(output) == content_of(arrays)


def test_a_corrupt_brick_is_quarantined_and_tried_again(
    engine: Engine, survey_copy: Path, mock_survey: Path, arrays: Path, tmp_path: Path
) -> None:
    manifest = json.loads((arrays / "manifest.json").read_text())
    name = max(manifest["bricks"], key=manifest["bricks"].get)
    path = next((survey_copy / "south/coadd" / name[:3] / name).glob("*-image-r.fits.fz"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    output = tmp_path / "arrays"
    words = ("build", "--survey", survey_copy, "--truth", survey_copy / "truth.fits")
    text = engine(*words, "--output", output, *SMALL, expect=3)
    assert name in one_line(text)
    assert "sha256" in text
    bad = json.loads((output / "manifest.json").read_text())
    assert list(bad["quarantined"]) == [name]
    assert bad["dropped"]["brick_quarantined"] == manifest["bricks"][name]
    assert bad["num_rows"] == manifest["num_rows"] - manifest["bricks"][name]
    words_train = ("train", "--arrays", output, "--output", tmp_path / "w", "--epochs", 1)
    assert name in engine(*words_train, "--modality", "photometry", expect=3)

    shutil.copy2(mock_survey / path.relative_to(survey_copy), path)
    engine(*words, "--output", output, *SMALL)
    mended = json.loads((output / "manifest.json").read_text())
    assert mended["quarantined"] == {}
    assert mended["bricks"] == manifest["bricks"]


def test_a_folder_of_another_work_is_refused_with_both_values(
    engine: Engine, mock_survey: Path, survey_copy: Path, arrays: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(arrays, tmp_path / "arrays", copy_function=shutil.copy2))
    before = content_of(folder)
    truth = mock_survey / "truth.fits"
    words = ("build", "--survey", mock_survey, "--truth", truth, "--output", folder)
    line = one_line(engine(*words, expect=2))
    assert "of stamp size 32 px optical, 8 px WISE, not of 64 px optical, 16 px WISE" in line

    table = Table.read(truth)
    table["Z"][0] += 0.001
    table.write(tmp_path / "other.fits")
    line = one_line(engine(*words[:4], tmp_path / "other.fits", *words[5:], *SMALL, expect=2))
    assert str(truth) in line
    assert str(tmp_path / "other.fits") in line
    assert read_known(truth).digest[:12] in line

    # A copied survey is the same one, as long as its files are.
    moved = ("build", "--survey", survey_copy, "--truth", survey_copy / "truth.fits")
    assert "Resuming" in engine(*moved, "--output", folder, *SMALL)
    image = sorted(survey_copy.glob("south/coadd/*/*/*-image-z.fits.fz"))[-1]
    os.utime(image, ns=(1, 1_000_000_000))
    line = one_line(engine(*moved, "--output", folder, *SMALL, expect=2))
    assert "image-z" in line
    assert "modified at 1.000 now" in line
    shutil.rmtree(image.parent)
    next(survey_copy.glob(f"south/tractor/*/tractor-{image.parent.name}.fits")).unlink()
    line = one_line(engine(*moved, "--output", folder, *SMALL, expect=2))
    assert "its arrays are of survey" in line

    with hold_lock(folder, "folder of arrays"):
        assert "another process" in one_line(engine(*words, *SMALL, expect=2))
    after = content_of(folder)
    assert {name for name in after if after[name] != before.get(name)} <= {"manifest.json"}


def test_no_overlap_leaves_nothing(engine: Engine, mock_survey: Path, tmp_path: Path) -> None:
    table = Table.read(mock_survey / "truth.fits")
    table["BRICKID"] = 5
    table.write(tmp_path / "truth.fits")
    words = ("build", "--survey", mock_survey, "--truth", tmp_path / "truth.fits")
    output = tmp_path / "arrays"
    assert "none of its rows is among" in one_line(engine(*words, "--output", output, expect=2))
    assert not list(output.iterdir())
    # The bricks are there, their sources are not.
    table = Table.read(mock_survey / "truth.fits")
    table["OBJID"] = 4_000_000 + np.arange(len(table))
    table.write(tmp_path / "truth.fits", overwrite=True)
    line = one_line(engine(*words, "--output", output, *SMALL, expect=2))
    assert "none of its rows is among" in line
    assert "not finished" in engine(
        "evaluate", "--arrays", output, "--output", tmp_path / "o", expect=2
    )


def test_damaged_arrays_are_refused_by_name(engine: Engine, arrays: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(arrays, tmp_path / "arrays"))
    words = ("train", "--arrays", folder, "--output", tmp_path / "w", "--epochs", 1)
    group = sorted(folder.glob("*/*.zarr"))[0]
    for name in ("z_spec", "objid", "."):
        target = group / name
        shutil.move(target / "zarr.json", tmp_path / "aside")
        assert group.name in one_line(engine(*words, expect=2))
        shutil.move(tmp_path / "aside", target / "zarr.json")
    for name in ("z_spec", "objid"):  # A lost chunk reads as zeros.
        shutil.move(group / name / "c", tmp_path / "aside")
        assert group.name in one_line(engine(*words, expect=2))
        shutil.move(tmp_path / "aside", group / name / "c")
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    for change in ({"num_rows": 1}, {"format_version": 9}, {"stamp_size": {"optical_px": 31}}):
        manifest.write_text(json.dumps(content | change))
        assert "manifest" in one_line(engine(*words, expect=2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "--survey", "{survey}"), "either --brick NAME"),
        (("build", "--survey", "{survey}", "--truth", "t", "--brick", "b"), "either --brick NAME"),
        (("build", "--survey", "{survey}", "--truth", "t", "--stamp-px", 31), "must be even"),
        (("build", "--survey", "{survey}", "--truth", "t", "--picture", "p.png"), "--brick NAME"),
        (("build", "--survey", "{survey}", "--truth", "{tmp}/none.fits"), "cannot be read"),
        (
            ("build", "--survey", "{survey}", "--truth", "{truth}", "--output", "{full}"),
            "not empty",
        ),
        (("train", "--output", "{tmp}/w"), "either --survey DIR or --arrays DIR"),
        (("train", "--survey", "{survey}", "--arrays", "a", "--output", "{tmp}/w"), "either"),
        (("train", "--arrays", "{full}", "--output", "{tmp}/w"), "no training arrays there"),
        (("train", "--arrays", "{full}", "--truth", "t", "--output", "{tmp}/w"), "hold their"),
        (("evaluate", "--survey", "{survey}", "--arrays", "a"), "either --survey DIR"),
        (("evaluate", "--arrays", "a", "--truth", "t"), "hold their"),
        (("importance", "--survey", "{survey}", "--arrays", "a"), "either"),
    ],
)
def test_mistakes_in_one_line(
    engine: Engine,
    mock_survey: Path,
    tmp_path: Path,
    arguments: tuple[object, ...],
    words: str,
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    names = {
        "survey": mock_survey, "truth": mock_survey / "truth.fits", "tmp": tmp_path, "full": full
    }  # fmt: skip
    line = one_line(engine(*(str(word).format(**names) for word in arguments), expect=2))
    assert words in line
    assert [path.name for path in full.iterdir()] == ["notes.txt"]
