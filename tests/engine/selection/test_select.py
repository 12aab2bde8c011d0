"""`engine targets` on a finished catalogue, against the rows read with pyarrow alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from engine.selection import TARGET_CLASSES, interval_probability, select_targets
from engine.selection.output import OUTPUT_COLUMNS, PROBABILITY_COLUMN
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS

Engine = Callable[..., str]


@pytest.fixture(scope="module")
def catalogue(finished_run: Path) -> Path:
    return finished_run / "catalogue"


@pytest.fixture(scope="module")
def rows(catalogue: Path) -> Any:
    return ds.dataset(catalogue / "photoz" / "dataset", format="parquet").to_table()


def probabilities(rows: Any, z1: float, z2: float) -> np.ndarray:
    levels = tuple(json.loads(rows.schema.metadata[b"photoz_quantile_levels"]))
    quantiles = np.stack(rows.column("Z_PHOT_QUANTILES").to_numpy())
    return interval_probability(quantiles, levels, z1, z2)


def read_table(path: Path) -> Table:
    if path.suffix == ".fits":
        return Table.read(path)
    return Table(pq.read_table(path).to_pydict(), names=pq.read_schema(path).names)


@pytest.mark.parametrize("name", ["ELG", "LRG", "BGS", "BGS_FAINT"])
def test_counts_are_those_of_the_rows(catalogue: Path, rows: Any, name: str) -> None:
    found = select_targets(catalogue, name, 0.3, 1.2, 0.7)
    if name in DESI_TARGET_BITS or name == "BGS":
        bits, bit = "DESI_TARGET", DESI_TARGET_BITS.get(name, 60)
    else:
        bits, bit = "BGS_TARGET", BGS_TARGET_BITS[name]
    member = (rows.column(bits).to_numpy() >> bit & 1).astype(bool)
    p = probabilities(rows, 0.3, 1.2)
    chosen = member & (p >= 0.7)
    assert (found.num_rows, found.num_class) == (len(rows), member.sum())
    assert found.num_selected == chosen.sum()
    assert 0 < found.num_class < len(rows)
    assert found.completeness.value == pytest.approx(p[chosen].sum() / p[member].sum())
    if chosen.any():
        assert found.contamination.value == pytest.approx(1 - p[chosen].mean())


@pytest.mark.parametrize("suffix", [".parquet", ".fits"])
def test_the_table_written(catalogue: Path, rows: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"elg{suffix}"
    found = select_targets(catalogue, "ELG", 0.6, 1.6, 0.8, output=path)
    table = read_table(path)
    assert table.colnames == [*OUTPUT_COLUMNS, PROBABILITY_COLUMN]
    member = (rows.column("DESI_TARGET").to_numpy() >> DESI_TARGET_BITS["ELG"] & 1).astype(bool)
    p = probabilities(rows, 0.6, 1.6)
    wanted = rows.filter(member & (p >= 0.8))
    assert len(table) == found.num_selected == len(wanted) > 10
    assert table["TARGETID"].tolist() == wanted.column("TARGETID").to_pylist()
    assert [str(value).strip() for value in table["TYPE"]] == wanted.column("TYPE").to_pylist()
    np.testing.assert_array_equal(table["Z_PHOT_MEDIAN"], wanted.column("Z_PHOT_MEDIAN"))
    np.testing.assert_allclose(table[PROBABILITY_COLUMN], p[member & (p >= 0.8)], rtol=1e-6)


def test_parquet_has_the_catalogues_types_and_says_what_was_asked(
    catalogue: Path, rows: Any, tmp_path: Path
) -> None:
    select_targets(catalogue, "lrg", 0.4, 1.0, 0.6, output=tmp_path / "lrg.parquet")
    schema = pq.read_schema(tmp_path / "lrg.parquet")
    for name in OUTPUT_COLUMNS:
        assert schema.field(name).type == rows.schema.field(name).type
    about = json.loads(schema.metadata[b"photoz_selection"])
    assert (about["class"], about["z1"], about["z2"]) == ("LRG", 0.4, 1.0)
    assert json.loads(schema.metadata[b"photoz_desi_target_bits"]) == DESI_TARGET_BITS


@pytest.mark.parametrize("suffix", [".parquet", ".fits"])
def test_an_empty_selection_is_an_empty_table(
    engine: Engine, catalogue: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"none{suffix}"
    ask = ("targets", catalogue, "--class", "ELG", "--z", 3.9, 3.95, "--output", path)
    report = json.loads(engine(*ask, "--json"))
    assert report["num_selected"] == 0
    assert report["expected"]["contamination"] is None
    table, full = read_table(path), tmp_path / f"some{suffix}"
    select_targets(catalogue, "ELG", 0.1, 3.9, 0.1, output=full)
    assert len(table) == 0
    assert table.colnames == read_table(full).colnames
    if suffix == ".parquet":
        assert pq.read_schema(path).types == pq.read_schema(full).types
    else:
        kinds = [
            [column.dtype.kind for column in each.itercols()] for each in (table, read_table(full))
        ]
        assert kinds[0] == kinds[1]
    assert "contamination -" in engine(*ask)


def test_density_is_over_the_area_that_was_covered(
    engine: Engine, catalogue: Path, finished_run: Path
) -> None:
    report = json.loads(engine("targets", catalogue, "--class", "ELG", "--z", 0.6, 1.6, "--json"))
    receipts = [json.loads(path.read_text()) for path in finished_run.glob("receipts/*.json")]
    areas = [
        facts["covered_deg2"]["grz"] for receipt in receipts for facts in receipt["bricks"].values()
    ]
    assert len(areas) == 8
    assert report["covered_deg2"] == pytest.approx(sum(areas))
    assert report["density_per_deg2"] == pytest.approx(report["num_selected"] / sum(areas))
    # Far less than the leaves (3 of 3.4 deg^2 each) or the bricks (8 of 0.06 deg^2).
    assert 0 < report["covered_deg2"] < 0.1


def test_against_known_redshifts(engine: Engine, catalogue: Path, mock_survey: Path) -> None:
    truth = mock_survey / "truth.fits"
    ask = ("targets", catalogue, "--class", "BGS", "--z", 0.1, 0.3, "--prob", 0.5)
    report = json.loads(engine(*ask, "--truth", truth, "--json"))["truth"]
    rows = ds.dataset(catalogue / "photoz" / "dataset", format="parquet").to_table()
    known = Table.read(truth)
    z_of = {
        (int(row["RELEASE"]), int(row["BRICKID"]), int(row["OBJID"])): (row["Z"], row["SPECTYPE"])
        for row in known
    }
    member = (rows.column("DESI_TARGET").to_numpy() >> 60 & 1).astype(bool)
    chosen = member & (probabilities(rows, 0.1, 0.3) >= 0.5)
    keys = zip(*(rows.column(n).to_pylist() for n in ("RELEASE", "BRICKID", "OBJID")), strict=True)
    truths = [z_of[key] for key in keys]
    inside = np.array([0.1 < z < 0.3 and kind.strip() != "STAR" for z, kind in truths])
    assert report["num_known"] == member.sum()
    assert report["num_in_range"] == (member & inside).sum() > 10
    assert report["num_selected_in_range"] == (chosen & inside).sum()
    value = (chosen & inside).sum() / (member & inside).sum()
    assert report["completeness"]["value"] == pytest.approx(value)
    assert report["contamination"]["value"] == pytest.approx(
        (chosen & ~inside).sum() / chosen.sum()
    )
    error = np.sqrt(value * (1 - value) / (member & inside).sum())
    assert report["completeness"]["error"] == pytest.approx(error)
    assert "Truth     completeness" in engine(*ask, "--truth", truth)


def test_higher_probability_is_purer_and_less_complete(catalogue: Path) -> None:
    found = [select_targets(catalogue, "ELG", 0.6, 1.6, p) for p in (0.0, 0.3, 0.6, 0.9)]
    counts = [one.num_selected for one in found]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == found[0].num_class  # P >= 0 takes the class
    assert found[0].completeness.value == pytest.approx(1)
    dirty = [one.contamination.value or 0.0 for one in found]
    assert dirty == sorted(dirty, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--class", "elgs", "--z", 0.6, 1.6), "no such target class, the nearest is ELG"),
        (("--class", "BGS_BRITE", "--z", 0.6, 1.6), "the nearest is BGS_BRIGHT"),
        (("--class", "ELG", "--z", 1.6, 0.6), "give the lower redshift first"),
        (("--class", "ELG", "--z", "nan", 0.6), "give the lower redshift first"),
        (("--class", "ELG", "--z", 0.6, 1.6, "--prob", 80), "a probability lies between 0 and 1"),
        (("--class", "ELG", "--z", 0.6, 1.6, "--output", "x.txt"), "ends in .parquet or .fits"),
        (("--class", "ELG", "--z", 0.6, 1.6, "--truth", "no.fits"), "cannot be read"),
    ],
)
def test_mistakes_are_one_line(
    engine: Engine, catalogue: Path, arguments: tuple[Any, ...], message: str
) -> None:
    text = engine("targets", catalogue, *arguments, "--json", expect=2)
    assert message in text
    assert text.count("\n") == 1


def test_no_catalogue_and_no_coverage(engine: Engine, run_copy: Path, tmp_path: Path) -> None:
    ask = ("--class", "ELG", "--z", 0.6, 1.6, "--json")
    assert "no finished catalogue" in engine("targets", tmp_path, *ask, expect=2)
    (run_copy / "catalogue" / "_engine" / "coverage.json").write_text("{}")
    text = engine("targets", run_copy / "catalogue", *ask, expect=2)
    assert "repeat `engine finish`" in text
    engine("finish", run_copy)
    assert json.loads(engine("targets", run_copy / "catalogue", *ask))["num_class"] > 0


def test_quasars_come_with_a_word(engine: Engine, catalogue: Path) -> None:
    text = engine("targets", catalogue, "--class", "QSO", "--z", 0.8, 2.1)
    assert "colour box" in text
    assert set(TARGET_CLASSES) >= {"ELG", "LRG", "QSO", "BGS"}
