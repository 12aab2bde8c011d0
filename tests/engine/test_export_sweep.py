"""Photo-z sweeps: row by row, the survey's columns, -99; read back with astropy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from astropy.io import fits
from astropy.table import Table, vstack

Engine = Callable[..., str]

POINTS = ("MEAN", "MEDIAN", "STD", "L68", "U68", "L95", "U95")
# Names and types as legacysurvey.org/dr10/files lists them.
DR10_COLUMNS = [
    *[("RELEASE", "I"), ("BRICKID", "J"), ("OBJID", "J"), ("Z_SPEC", "E"), ("SURVEY", "12A")],
    *[(f"Z_PHOT_{point}", "E") for point in POINTS],
    *[("TRAINING", "L"), ("KFOLD", "I")],
    *[(f"Z_PHOT_{point}_I", "E") for point in POINTS],
    *[("TRAINING_I", "L"), ("KFOLD_I", "I")],
]
# And legacysurvey.org/dr9/files.
DR9_COLUMNS = [
    *[("RELEASE", "I"), ("BRICKID", "J"), ("OBJID", "J")],
    *[(f"Z_PHOT_{point}", "E") for point in POINTS],
    *[("Z_SPEC", "E"), ("SURVEY", "10A"), ("TRAINING", "L"), ("KFOLD", "I")],
]


@pytest.fixture(scope="module")
def sweep_table(mock_survey: Path) -> Table:
    """A sweep as the survey makes them: primary rows of all bricks, scalar columns, upper case."""
    parts = []
    for path in sorted(mock_survey.glob("south/tractor/*/tractor-*.fits")):
        table = Table(fits.getdata(path, 1))
        table = table[table["brick_primary"]]
        parts.append(table[[name for name in table.colnames if table[name].ndim == 1]])
    table = vstack(parts, metadata_conflicts="silent")
    table.rename_columns(table.colnames, [name.upper() for name in table.colnames])
    return table[np.random.default_rng(5).permutation(len(table))]


def write(table: Table, path: Path) -> Path:
    fits.BinTableHDU(table.as_array()).writeto(path)
    return path


def catalogue_rows(run: Path) -> dict[tuple[int, int, int], dict[str, Any]]:
    """Identity -> row, read with pyarrow's own data set reader."""
    rows = (
        ds.dataset(run / "catalogue" / "photoz" / "dataset", format="parquet")
        .to_table()
        .to_pylist()
    )
    return {(row["RELEASE"], row["BRICKID"], row["OBJID"]): row for row in rows}


def test_rows_are_those_of_the_sweep(
    engine: Engine, finished_run: Path, sweep_table: Table, tmp_path: Path
) -> None:
    sweep = write(sweep_table, tmp_path / "sweep-a.fits")
    output = tmp_path / "a-pz.fits"
    catalogue = finished_run / "catalogue"
    text = engine("export", catalogue, "--sweep", sweep, "--output", output)
    hdu = fits.open(output)[1]
    assert [(c.name, c.format) for c in hdu.columns][: len(DR10_COLUMNS)] == DR10_COLUMNS
    rows, known = hdu.data, catalogue_rows(finished_run)
    num_found = num_without_i = 0
    for source, row in zip(sweep_table, rows, strict=True):
        key = int(source["RELEASE"]), int(source["BRICKID"]), int(source["OBJID"])
        assert (row["RELEASE"], row["BRICKID"], row["OBJID"]) == key
        expected = known.get(key)
        assert row["IN_CATALOGUE"] == (expected is not None)
        has_grz = all(source[f"NOBS_{band}"] > 0 for band in "GRZ")
        has_i = bool(source["NOBS_I"] > 0)
        for suffix, is_exposed in (("", has_grz), ("_I", has_grz and has_i), ("_ALL", True)):
            for point in POINTS:
                value = expected[f"Z_PHOT_{point}"] if expected and is_exposed else -99
                assert row[f"Z_PHOT_{point}{suffix}"] == np.float32(value)
        for name in ("Z_PHOT_MODE", "Z_PHOT_ODDS", "Z_PHOT_FLAG"):
            assert row[name] == (np.float32(expected[name]) if expected else -99)
        num_found += expected is not None
        num_without_i += bool(expected) and not (has_grz and has_i)
    assert num_found == len(known)  # The mock's DUP rows stand in the sweep only.
    assert 0 < num_found < len(rows)
    assert num_without_i > 0  # One brick of the mock has no i image.
    for name, value in (("Z_SPEC", -99), ("KFOLD", -99), ("KFOLD_I", -99), ("SURVEY", "")):
        assert (rows[name] == value).all()
    assert not rows["TRAINING"].any()
    assert not rows["TRAINING_I"].any()
    assert f"{len(rows):,} rows, {num_found:,} in the catalogue" in text
    assert f"{num_without_i:,} without an exposure in each of griz" in text


def test_sweep_of_dr9_has_its_columns(
    engine: Engine, finished_run: Path, sweep_table: Table, tmp_path: Path
) -> None:
    table = sweep_table[[name for name in sweep_table.colnames if not name.endswith("_I")]][:40]
    table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    sweep = write(table, tmp_path / "sweep-dr9.fits")
    engine("export", finished_run / "catalogue", "--sweep", sweep, "--output", tmp_path)
    hdu = fits.open(tmp_path / "sweep-dr9-pz.fits")[1]
    assert [(c.name, c.format) for c in hdu.columns][: len(DR9_COLUMNS)] == DR9_COLUMNS
    assert "Z_PHOT_MEAN_I" not in hdu.columns.names
    assert (hdu.data["Z_PHOT_MEAN"] > 0).any()


def test_known_redshifts_go_into_z_spec(
    engine: Engine, finished_run: Path, sweep_table: Table, mock_survey: Path, tmp_path: Path
) -> None:
    truth = Table.read(mock_survey / "truth.fits")
    truth["SURVEY"] = np.where(truth["OBJID"] % 2, "desi", "sdss")
    truth["Z"][3] = np.nan
    truth.write(tmp_path / "truth.fits")
    expected = {
        (row["RELEASE"], row["BRICKID"], row["OBJID"]): (np.float32(row["Z"]), row["SURVEY"])
        for row in truth
        if np.isfinite(row["Z"])
    }
    sweep = write(sweep_table, tmp_path / "sweep.fits")
    arguments = ("--sweep", sweep, "--output", tmp_path, "--truth", tmp_path / "truth.fits")
    text = engine("export", finished_run / "catalogue", *arguments)
    num_known = 0
    for row in fits.getdata(tmp_path / "sweep-pz.fits"):
        key = row["RELEASE"], row["BRICKID"], row["OBJID"]
        assert (row["Z_SPEC"], row["SURVEY"]) == expected.get(key, (-99, ""))
        num_known += key in expected
    assert num_known > 0
    assert f"{num_known:,} with a known redshift" in text


def test_reads_only_the_leaves_that_the_sweep_touches(
    engine: Engine, run_copy: Path, sweep_table: Table, tmp_path: Path
) -> None:
    leaves = sorted((run_copy / "catalogue").glob("photoz/dataset/*/*/Npix=*.parquet"))
    kept = ds.dataset(leaves[0]).to_table(columns=["BRICKID", "OBJID"]).to_pylist()
    keys = {(row["BRICKID"], row["OBJID"]) for row in kept}
    inside = [(int(r["BRICKID"]), int(r["OBJID"])) in keys for r in sweep_table]
    sweep = write(sweep_table[inside], tmp_path / "sweep.fits")
    for leaf in leaves[1:]:
        leaf.unlink()
    arguments = ("export", run_copy / "catalogue", "--sweep", sweep, "--output", tmp_path)
    counts = json.loads(engine(*arguments, "--json"))["sweeps"][0]
    assert counts["num_leaves"] == 1
    assert counts["num_matched"] == counts["num_rows"] == len(kept)


def test_folder_with_an_empty_sweep_one_elsewhere_and_repeated_rows(
    engine: Engine, finished_run: Path, sweep_table: Table, tmp_path: Path
) -> None:
    folder = tmp_path / "10.1"
    folder.mkdir()
    write(sweep_table[:0], folder / "sweep-empty.fits")
    elsewhere = sweep_table[:7].copy()
    elsewhere["DEC"] = -80.0
    write(elsewhere, folder / "sweep-elsewhere.fits")
    write(vstack([sweep_table[:9], sweep_table[4:6]]), folder / "sweep-repeated.fits")
    (folder / "sweep-old-pz.fits").write_bytes(b"a photo-z table, no sweep")
    arguments = ("export", finished_run / "catalogue", "--sweep", folder, "--output", tmp_path)
    report = json.loads(engine(*arguments, "--json"))["sweeps"]
    counts = {Path(item["sweep"]).stem: item for item in report}
    assert set(counts) == {"sweep-empty", "sweep-elsewhere", "sweep-repeated"}
    empty = fits.open(tmp_path / "sweep-empty-pz.fits")[1]
    assert len(empty.data) == counts["sweep-empty"]["num_rows"] == 0
    assert empty.columns.names[:5] == [name for name, _ in DR10_COLUMNS][:5]
    assert counts["sweep-elsewhere"]["num_not_in_catalogue"] == 7
    assert counts["sweep-elsewhere"]["num_leaves"] == 0
    assert (fits.getdata(tmp_path / "sweep-elsewhere-pz.fits")["Z_PHOT_MEAN_ALL"] == -99).all()
    repeated = fits.getdata(tmp_path / "sweep-repeated-pz.fits")
    assert counts["sweep-repeated"]["num_repeated"] == 2
    assert (repeated["Z_PHOT_MEAN_ALL"][4:6] == repeated["Z_PHOT_MEAN_ALL"][9:]).all()


def test_real_sweep_rows(
    engine: Engine, finished_run: Path, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "desitarget-dr8-tractor-sweep" / "t"
    sweeps = sorted(folder.glob("sweep-*.fits"))
    options = [option for sweep in sweeps for option in ("--sweep", sweep)]
    engine("export", finished_run / "catalogue", *options, "--output", tmp_path)
    for sweep in sweeps:
        source, rows = fits.getdata(sweep), fits.getdata(tmp_path / f"{sweep.stem}-pz.fits")
        for name in ("RELEASE", "BRICKID", "OBJID"):
            assert (source[name] == rows[name]).all()
        assert (rows["Z_PHOT_MEAN"] == -99).all()  # Other sky than the mock's.
        assert not rows["IN_CATALOGUE"].any()


def test_mistakes_are_one_line(
    engine: Engine, finished_run: Path, sweep_table: Table, tmp_path: Path
) -> None:
    catalogue = finished_run / "catalogue"
    sweep = write(sweep_table[:3], tmp_path / "sweep.fits")
    other = write(sweep_table[:3], tmp_path / "other.fits")
    bare = write(sweep_table[["RELEASE", "BRICKID", "OBJID", "RA"]][:3], tmp_path / "bare.fits")
    both = ("--sweep", sweep, "--sweep", other)
    for arguments, words in (
        ((catalogue,), "nothing to export"),
        ((catalogue, "--sweep", tmp_path / "none.fits"), "no such file"),
        ((catalogue, "--sweep", bare, "--output", tmp_path), "column DEC, NOBS_G, NOBS_R, NOBS_Z"),
        ((catalogue, *both, "--output", tmp_path / "one.fits"), "name a folder"),
        ((catalogue, "--sweep", sweep, "--output", sweep), "is the sweep itself"),
        ((tmp_path, "--sweep", sweep), "no finished catalogue"),
        ((catalogue, "--output", tmp_path), "nothing to export"),
        ((catalogue, "--qp", tmp_path / "a.hdf5", "--output", tmp_path), "goes with --sweep"),
        ((catalogue, "--sweep", sweep, "--truth", bare, "--output", tmp_path), "column 'z'"),
    ):
        text = engine("export", *arguments, expect=2)
        assert words in text
        assert text.count("\n") == 1
    assert fits.getdata(sweep)["RA"].shape == (3,)
