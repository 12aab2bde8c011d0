"""`engine evaluate` and `engine importance` on the mock survey and the default weights."""

from __future__ import annotations

import csv
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from astropy.table import Table, vstack

from engine import plots
from engine.evaluate import Sample, choose_rows, collect_sample
from engine.known import read_known
from engine.targets import encode_targetid
from model.dataset import targetid_digest
from model.evaluation import STATISTICS
from model.predict import Predictor
from model.train import TrainConfig, split_rows
from model.weights import default_weights_path, load_weights
from partitions.dr10 import open_survey, read_bricks

Engine = Callable[..., str]

PLOTS = ("z_phot.png", "dz.png", "trends.png", "pit.png", "coverage.png", "examples.png")


@pytest.fixture(scope="module")
def sample(mock_survey: Path) -> Sample:
    layout = open_survey(mock_survey)
    known = read_known(layout.truth_table)
    weights = load_weights(default_weights_path())
    return collect_sample(layout, list(read_bricks(layout).values()), known, weights)[0]


@pytest.fixture(scope="module")
def evaluated(
    engine: Engine, mock_survey: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The output folder and what was printed."""
    folder = tmp_path_factory.mktemp("evaluation") / "out"
    return folder, engine("evaluate", "--survey", mock_survey, "--output", folder)


def record_of(content: dict[str, Any], name: str, metric: str) -> dict[str, Any]:
    found = [r for r in content["records"] if (r["slice"], r["metric"]) == (name, metric)]
    assert len(found) == 1
    return found[0]


def test_rows_lead_back_to_identity_redshift_and_class(mock_survey: Path, sample: Sample) -> None:
    table = Table.read(mock_survey / "truth.fits")
    targetid = encode_targetid(table["RELEASE"], table["BRICKID"], table["OBJID"])
    number = {int(value): row for row, value in enumerate(targetid)}
    rows = [number[int(value)] for value in sample.targetid]
    assert len(set(rows)) == len(rows) == np.count_nonzero(table["SPECTYPE"] != "STAR")
    np.testing.assert_array_equal(sample.rows.z_true, table["Z"][rows])
    assert sample.labels.tolist() == [str(label).strip() for label in table["CLASS"][rows]]


def test_metrics_are_those_of_the_predictors_summary(
    evaluated: tuple[Path, str], sample: Sample
) -> None:
    content = json.loads((evaluated[0] / "metrics.json").read_text())
    summary = Predictor(load_weights(default_weights_path())).predict(sample.rows.arrays).summary
    z = sample.rows.z_true
    dz = (summary["median"] - z) / (1 + z)
    r = sample.rows.arrays["features"][:, 27].astype(float)  # MAG_R
    no_i = ~(sample.rows.arrays["flux_ivar"][:, 2] > 0)
    assert no_i.any()
    masks = {
        "all": r == r,
        "r < 21.5": r < 21.5,
        "r >= 21.5": r >= 21.5,
        "22 <= r < 22.5": (r >= 22) & (r < 22.5),
        "0.2 <= z_spec < 0.4": (z >= 0.2) & (z < 0.4),
        "class = ELG": sample.labels == "ELG",
        "no i": no_i,
    }
    for name, mask in masks.items():
        part = dz[mask]
        expected = {
            "bias": np.median(part),
            "sigma_nmad": 1.48 * np.median(np.abs(part - np.median(part))),
            "eta_0.15": np.mean(np.abs(part) > 0.15),
            "eta_0.10": np.mean(np.abs(part) > 0.10),
        }
        for level in (68, 95):
            low, high = summary[f"l{level}"][mask], summary[f"u{level}"][mask]
            expected[f"coverage_{level}"] = np.mean((low <= z[mask]) & (z[mask] <= high))
        for metric, value in expected.items():
            record = record_of(content, name, metric)
            assert record["num_rows"] == mask.sum()
            # One row may lie on the edge of an interval to the last digit.
            tolerance = 1.5 / mask.sum() if metric.startswith("coverage") else 1e-9
            assert record["value"] == pytest.approx(value, abs=tolerance), (name, metric)
            assert record["error"] >= 0
    assert {record["metric"] for record in content["records"]} == set(STATISTICS)


def test_files_and_what_is_printed(evaluated: tuple[Path, str], sample: Sample) -> None:
    folder, text = evaluated
    content = json.loads((folder / "metrics.json").read_text())
    assert content["num_rows"] == content["num_matched"] == len(sample)
    assert content["rows"] == "all"
    assert "weights are of another sample, of 137,751 rows" in text
    assert f"{content['dropped']['stars']:,} stars" in text
    value = record_of(content, "r < 21.5", "sigma_nmad")
    assert f"{value['value']:.4f} ± {value['error']:.4f}" in text
    with (folder / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["value"] or "nan") for line in lines] == pytest.approx(
        [np.nan if r["value"] is None else r["value"] for r in content["records"]], nan_ok=True
    )
    tables = (folder / "tables.md").read_text()
    assert f"| compact | all ({len(sample):,}) |" in tables
    assert "Table 5" in tables
    assert "nan" not in tables
    with (folder / "outliers.csv").open(newline="") as file:
        outliers = list(csv.DictReader(file))
    assert len(outliers) == content["num_outliers"] > 0
    size = [abs(float(line["DZ"])) for line in outliers]
    assert size == sorted(size, reverse=True)
    assert min(size) > 0.15
    place = sample.targetid.tolist().index(int(outliers[0]["TARGETID"]))
    assert float(outliers[0]["Z_SPEC"]) == pytest.approx(sample.rows.z_true[place], abs=1e-5)


@pytest.mark.parametrize("name", PLOTS)
def test_plots_show_something(evaluated: tuple[Path, str], name: str) -> None:
    content = (evaluated[0] / name).read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 700
    assert height >= 500
    image = matplotlib.image.imread(evaluated[0] / name)[..., :3]
    colours = np.unique((255 * image.reshape(-1, 3)).astype(np.uint8), axis=0)
    assert len(colours) > 50
    assert 0.02 < np.mean((image < 0.95).any(axis=-1)) < 0.98


def test_density_is_drawn_for_many_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(0, 3, 5000)
    plots.draw_z_phot(tmp_path / "z.png", z, z + 0.05 * rng.normal(size=5000).clip(-1), "")
    image = matplotlib.image.imread(tmp_path / "z.png")
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 200


def test_without_matplotlib_there_are_numbers_and_one_line(
    engine: Engine, mock_survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "has_matplotlib", lambda: False)
    text = engine("evaluate", "--survey", mock_survey, "--output", tmp_path)
    assert "photoz-engine[plot]" in text
    assert (tmp_path / "metrics.json").exists()
    assert not list(tmp_path.glob("*.png"))


def test_a_catalogue_gives_the_same_numbers(
    engine: Engine, mock_survey: Path, finished_run: Path, evaluated: tuple[Path, str],
    tmp_path: Path,
) -> None:  # fmt: skip
    truth = mock_survey / "truth.fits"
    catalogue = finished_run / "catalogue"
    report = json.loads(
        engine(
            *("evaluate", "--catalogue", catalogue, "--truth", truth),
            *("--output", tmp_path, "--json"),
        )
    )
    assert json.loads((tmp_path / "metrics.json").read_text())["records"] == report["records"]
    other = json.loads((evaluated[0] / "metrics.json").read_text())
    names = {record["slice"] for record in other["records"]}
    more = {record["slice"] for record in report["records"]} - names
    assert more  # TYPE is a column of the catalogue
    assert all(name.startswith("TYPE = ") for name in more)
    for name in names:
        for metric in ("bias", "sigma_nmad", "eta_0.15", "eta_0.10", "coverage_95"):
            mine, exact = record_of(report, name, metric), record_of(other, name, metric)
            assert mine["num_rows"] == exact["num_rows"], name
            assert mine["error"] is None
            if exact["value"] is not None:
                # Sums of a histogram of dz in bins of 1e-4.
                tolerance = 4e-4 if metric in ("bias", "sigma_nmad") else 1e-3
                assert mine["value"] == pytest.approx(exact["value"], abs=tolerance)


def own_sample(sample: Sample, **changes: Any) -> tuple[Any, Any]:
    """Weights that say they were trained on this sample, and its split."""
    weights = load_weights(default_weights_path())
    split = split_rows(sample.rows, TrainConfig(seed=3))
    rows = {name: len(getattr(split, name)) for name in ("train", "validation", "test")}
    provenance = {"train_config": {"seed": 3, "fractions": [0.8, 0.1, 0.1]}, "rows": rows}
    return replace(weights, provenance={**provenance, **changes}), split


def test_the_test_part_is_taken_where_the_sample_is_the_weights_own(sample: Sample) -> None:
    weights, split = own_sample(sample)
    for wanted in (None, "test", "validation"):
        choice = choose_rows(weights, sample, wanted)
        np.testing.assert_array_equal(choice.rows, getattr(split, wanted or "test"))
        assert choice.part == (wanted or "test")
    choice = choose_rows(weights, sample, "all")
    assert len(choice.rows) == len(sample)
    assert "too good" in choice.reason


def test_another_sample_is_recognised_by_its_numbers_of_rows(sample: Sample) -> None:
    weights, split = own_sample(sample, rows={"train": 5, "validation": 6, "test": 7})
    choice = choose_rows(weights, sample, None)
    assert choice.part == "all"
    assert "another sample, of 18 rows" in choice.reason
    choice = choose_rows(weights, sample, "test")
    np.testing.assert_array_equal(choice.rows, split.test)
    assert "may have been fitted" in choice.reason


def test_digests_of_the_targetids_decide_for_certain(sample: Sample) -> None:
    weights, split = own_sample(sample)
    assert "by the numbers of rows only" in choose_rows(weights, sample, None).reason
    digests = {part: targetid_digest(sample.targetid[rows]) for part, rows in vars(split).items()}
    assert len(set(digests.values())) == 3
    weights, split = own_sample(sample, targetid_digest=digests)
    choice = choose_rows(weights, sample, None)
    np.testing.assert_array_equal(choice.rows, split.test)
    assert "trained with (by the digest of their TARGETIDs)" in choice.reason
    assert "too good (by the digest" in choose_rows(weights, sample, "all").reason
    # As many rows in each part, but other sources: sizes would take them for the weights' own.
    other = replace(sample, targetid=sample.targetid + 1)
    choice = choose_rows(weights, other, None)
    assert choice.part == "all"
    assert "another sample" in choice.reason
    assert "may have been fitted" in choose_rows(weights, other, "test").reason


def test_redshifts_that_are_none_are_counted(
    engine: Engine, mock_survey: Path, tmp_path: Path, sample: Sample
) -> None:
    table = Table.read(mock_survey / "truth.fits")
    galaxies = np.flatnonzero(table["SPECTYPE"] != "STAR")
    table["Z"][galaxies[:3]] = np.nan
    table["Z"][galaxies[3:5]] = -1
    again = table[galaxies[7:8]]
    again["Z"] = 9.0
    vstack([table, again]).write(tmp_path / "truth.fits")
    report = json.loads(
        engine(
            *("evaluate", "--survey", mock_survey, "--truth", tmp_path / "truth.fits"),
            *("--output", tmp_path / "out", "--json"),
        )
    )
    stars = len(table) - len(galaxies)
    expected = {"stars": stars, "not_finite": 3, "not_positive": 2, "repeated": 1}
    assert report["dropped"] == expected
    assert report["num_rows"] == len(sample) - 5


def test_importance_ranks_every_feature(engine: Engine, mock_survey: Path, tmp_path: Path) -> None:
    words = ("importance", "--survey", mock_survey, "--rows-limit", 60, "--repeats", 1)
    text = engine(*words, "--output", tmp_path)
    with (tmp_path / "importance.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 86
    increase = [float(line["crps_increase"]) for line in lines]
    assert increase == sorted(increase, reverse=True)
    assert increase[0] > 0.005
    assert any(float(line["sigma_nmad_increase"]) != 0 for line in lines)
    assert {int(line["source_rank"]) for line in lines} == set(range(1, 87))
    shown = [line for line in text.splitlines() if "+" in line or " -0." in line]
    assert len(shown) == 15
    assert lines[0]["feature"] in shown[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no overlap", "none of its rows is among"),
        ("no column", "column 'z' missing"),
        ("no redshift", "none of its"),
        ("file as output", "cannot be written"),
        ("both", "either --survey DIR or --catalogue"),
        ("catalogue without truth", "needs --truth"),
        ("catalogue with rows", "give --survey"),
        ("no catalogue", "no finished catalogue"),
        ("catalogue without overlap", "is among the"),
    ],
)
def test_errors_in_one_line(
    engine: Engine, mock_survey: Path, finished_run: Path, tmp_path: Path, change: str, words: str
) -> None:
    truth, output = tmp_path / "truth.fits", tmp_path / "out"
    table = Table.read(mock_survey / "truth.fits")
    if "overlap" in change:
        table["BRICKID"] = 5
    if change == "no column":
        table.remove_column("Z")
    if change == "no redshift":
        table["Z"] = -1.0
    if change == "file as output":
        output.write_text("")
    table.write(truth)
    options = ["--survey", mock_survey, "--truth", truth]
    if "catalogue" in change:
        options = ["--catalogue", finished_run / "catalogue", "--truth", truth]
    options += {
        "both": ["--catalogue", finished_run / "catalogue"],
        "catalogue with rows": ["--rows", "test"],
    }.get(change, [])
    if change == "catalogue without truth":
        options = options[:2]
    if change == "no catalogue":
        options[1] = tmp_path / "nowhere"
    text = engine("evaluate", *options, "--output", output, expect=2)
    message = [line for line in text.splitlines() if line.startswith("engine: ")]
    assert len(message) == 1
    assert words in message[0]


@pytest.mark.parametrize("problem", ["bands of another survey", "unknown bands", "no test rows"])
def test_weights_that_do_not_fit(
    engine: Engine, mock_survey: Path, tmp_path: Path, sample: Sample, problem: str
) -> None:
    weights, _ = own_sample(sample)
    survey, expected, rows = mock_survey, "", ["--rows", "test"]
    if problem == "bands of another survey":
        weights = replace(weights, bands=("i",))
        survey, expected = without_i(mock_survey, tmp_path), "a band that the weights read (i)"
    elif problem == "no test rows":
        config = {"seed": 3, "fractions": [0.9, 0.1, 0.0]}
        weights, expected = replace(weights, provenance={"train_config": config, "rows": {}}), ""
        expected = "none of the"
    weights.save(tmp_path / "w")
    if problem == "unknown bands":
        path = tmp_path / "w" / "weights.json"
        path.write_text(path.read_text().replace('"W2"\n', '"W9"\n', 1))
        expected = "digest"
    text = engine(
        *("evaluate", "--survey", survey, "--weights", tmp_path / "w", *rows),
        *("--output", tmp_path / "out"),
        expect=2,
    )
    assert expected in text


def without_i(survey: Path, folder: Path) -> Path:
    """A copy of the survey's bricks that have no i image: one brick and its files."""
    copy = Path(shutil.copytree(survey, folder / "survey"))
    layout = open_survey(copy)
    bricks = list(read_bricks(layout).values())
    truth = Table.read(layout.truth_table)
    blind = []
    for brick in bricks:
        tractor = next(copy.rglob(f"tractor-{brick.name}.fits"))
        table = Table.read(tractor, hdu=1)
        if "flux_ivar_i" not in table.colnames or not (np.asarray(table["flux_ivar_i"]) > 0).any():
            blind.append(brick.brickid)
    assert blind
    truth = truth[np.isin(truth["BRICKID"], blind)]
    truth.write(layout.truth_table, overwrite=True)
    return copy
