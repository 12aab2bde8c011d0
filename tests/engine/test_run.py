"""The whole path on a mock survey: what comes out, against the input files and two oracles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hats.io.validation
import lsdb
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack

from engine.catalogue.schema import POINT_COLUMNS, catalogue_schema
from engine.catalogue.votable import without_votable
from partitions import dr10
from partitions.healpix import radec_to_pixel
from partitions.schema import QUALITY_BITS

Engine = Callable[..., str]


@pytest.fixture(scope="module")
def inputs(mock_survey: Path) -> Table:
    """All rows of all Tractor tables, read with astropy alone."""
    paths = sorted(mock_survey.glob("south/tractor/*/tractor-*.fits"))
    assert len(paths) == 8
    return vstack([Table.read(path) for path in paths])


@pytest.fixture(scope="module")
def catalogue(finished_run: Path) -> Table:
    rows = ds.dataset(
        finished_run / "catalogue" / "photoz" / "dataset", format="parquet"
    ).to_table()
    return Table.from_pandas(rows.to_pandas())


def identity(rows: Table, names: tuple[str, str, str]) -> list[tuple[int, ...]]:
    return sorted(tuple(int(row[name]) for name in names) for row in rows)


def test_rows_are_the_primary_non_dup_rows_each_once(inputs: Table, catalogue: Table) -> None:
    wanted = inputs[inputs["brick_primary"] & (np.char.strip(inputs["type"]) != "DUP")]
    assert len(inputs) > len(wanted) > 300
    assert identity(catalogue, ("RELEASE", "BRICKID", "OBJID")) == identity(
        wanted, ("release", "brickid", "objid")
    )
    assert set(np.unique(catalogue["RELEASE"])) == {10000, 10002}


def test_columns_are_those_of_the_input_rows(inputs: Table, catalogue: Table) -> None:
    keys = ("release", "brickid", "objid")
    order = {tuple(int(row[k]) for k in keys): i for i, row in enumerate(inputs)}
    rows = [order[tuple(int(row[k.upper()]) for k in keys)] for row in catalogue]
    matched = inputs[rows]
    for column in ("ra", "dec", "ebv", "maskbits", "flux_g", "flux_w2", "mw_transmission_z"):
        np.testing.assert_array_equal(catalogue[column.upper()], matched[column])
    assert catalogue["TYPE"].tolist() == np.char.strip(matched["type"]).tolist()


def test_every_row_is_in_the_leaf_of_its_own_pixel(finished_run: Path) -> None:
    leaves = sorted(finished_run.glob("catalogue/photoz/dataset/Norder=5/Dir=*/Npix=*.parquet"))
    assert len(leaves) >= 2
    for path in leaves:
        rows = pq.read_table(path, columns=["RA", "DEC"]).to_pydict()
        pixels = radec_to_pixel(rows["RA"], rows["DEC"], 5)
        assert set(pixels.tolist()) == {int(path.stem.removeprefix("Npix="))}


def test_some_bricks_straddle_leaves(finished_run: Path) -> None:
    """Otherwise the routing of rows to their own pixel is not tested at all."""
    leaves_of: dict[int, set[str]] = {}
    for path in finished_run.glob("catalogue/photoz/dataset/*/*/*.parquet"):
        for brickid in pq.read_table(path, columns=["BRICKID"])["BRICKID"].to_pylist():
            leaves_of.setdefault(brickid, set()).add(path.name)
    assert max(len(leaves) for leaves in leaves_of.values()) >= 2


def test_each_image_file_was_decoded_once(
    engine: Engine, finished_run: Path, mock_survey: Path
) -> None:
    status = json.loads(engine("status", finished_run, "--json"))
    for band, count in status["decoded"].items():
        files = list(mock_survey.glob(f"south/coadd/*/*/*-image-{band}.fits.fz"))
        assert count == len(files), band
    assert status["decoded"]["i"] < status["decoded"]["g"]  # a brick lacks i
    assert status["num_rows_read"] == (
        status["num_sources"] + status["num_not_primary"] + status["num_dup"]
    )


def test_no_file_is_read_twice_at_any_nside(
    engine: Engine, mock_survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where files are read, not where the engine says so."""
    read, paths = dr10._read_verified, Counter[Path]()

    def count(layout: Any, path: Path, checksums: Any) -> Any:
        paths[path] += 1
        return read(layout, path, checksums)

    monkeypatch.setattr(dr10, "_read_verified", count)
    engine(
        "run",
        "--survey",
        mock_survey,
        "--output",
        tmp_path / "run",
        "--workers",
        0,
        "--healpix-nside",
        1024,
    )
    south = mock_survey / "south"
    files = {*south.glob("coadd/*/*/*-image-*.fits.fz"), *south.glob("tractor/*/tractor-*.fits")}
    assert paths == Counter(path.resolve() for path in files)


def test_hats_validator_accepts_it(finished_run: Path) -> None:
    assert hats.io.validation.is_valid_catalog(str(finished_run / "catalogue"), strict=True)


def test_lsdb_cone_search_equals_astropy_separations(finished_run: Path, catalogue: Table) -> None:
    opened = lsdb.open_catalog(str(finished_run / "catalogue"), columns="all")
    sky = SkyCoord(catalogue["RA"], catalogue["DEC"], unit="deg")
    rng = np.random.default_rng(4)
    for row in rng.choice(len(catalogue), 5, replace=False):
        centre, radius_arcsec = sky[row], float(rng.uniform(10, 60))
        inside = centre.separation(sky) <= radius_arcsec * units.arcsec
        found = opened.cone_search(centre.ra.deg, centre.dec.deg, radius_arcsec).compute()
        assert sorted(found["TARGETID"]) == sorted(catalogue["TARGETID"][inside])
        assert len(found) >= 1


def test_one_schema_in_every_leaf(finished_run: Path) -> None:
    path = finished_run / "catalogue/photoz/dataset/_common_metadata"
    common = without_votable(pq.read_schema(path))
    levels = json.loads(common.metadata[b"photoz_quantile_levels"])
    assert json.loads(common.metadata[b"photoz_flag_bits"]) == QUALITY_BITS
    assert common.equals(catalogue_schema(tuple(levels)), check_metadata=True)
    for path in finished_run.glob("catalogue/photoz/dataset/*/*/*.parquet"):
        assert pq.read_schema(path).equals(common, check_metadata=True)


def test_posteriors_are_finite_and_ordered(catalogue: Table) -> None:
    quantiles = np.stack(catalogue["Z_PHOT_QUANTILES"])
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= 0).all()
    limits = [catalogue[f"Z_PHOT_{name}"] for name in ("L95", "L68", "MEDIAN", "U68", "U95")]
    assert (np.diff(np.stack(limits), axis=0) >= 0).all()
    assert np.ptp(catalogue["Z_PHOT_MEDIAN"]) > 0.2  # it is no constant


def test_flags_follow_the_files(catalogue: Table, mock_survey: Path) -> None:
    without_i = {
        folder.name
        for folder in mock_survey.glob("south/coadd/*/*")
        if not list(folder.glob("*-image-i.fits.fz"))
    }
    bricks = Table.read(mock_survey / "survey-bricks.fits.gz")
    ids = [row["BRICKID"] for row in bricks if row["BRICKNAME"].strip() in without_i]
    flagged = (catalogue["Z_PHOT_FLAG"] >> QUALITY_BITS["MISSING_I"] & 1).astype(bool)
    lacks_i = np.isin(catalogue["BRICKID"], ids)
    assert lacks_i.any()
    assert flagged[lacks_i].all()
    present = ~lacks_i & (catalogue["FLUX_IVAR_I"] > 0)
    assert flagged[present].mean() < 0.2  # the rest lie in the strip without exposures
    point = (catalogue["Z_PHOT_FLAG"] >> QUALITY_BITS["POINT_SOURCE"] & 1).astype(bool)
    np.testing.assert_array_equal(point, catalogue["TYPE"] == "PSF")


def test_a_second_run_has_nothing_to_do(engine: Engine, run_copy: Path, mock_survey: Path) -> None:
    leaves = {
        p: p.stat().st_mtime_ns for p in run_copy.glob("catalogue/photoz/dataset/*/*/*.parquet")
    }
    text = engine("run", "--survey", mock_survey, "--output", run_copy, "--workers", 0)
    assert "partitions are done already" in text
    assert leaves == {p: p.stat().st_mtime_ns for p in leaves}


def test_region_and_brick_list_select_bricks(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    bricks = Table.read(mock_survey / "survey-bricks.fits.gz")
    brick = bricks[0]
    region = f"{brick['RA']},{brick['RA'] + 0.01},{brick['DEC']},{brick['DEC'] + 0.01}"
    plan = json.loads(engine("plan", "--survey", mock_survey, "--region", region, "--json"))
    assert plan["num_bricks"] == 1
    (tmp_path / "list.txt").write_text(f"# two bricks\n{brick['BRICKNAME']}\n\n{bricks[1][0]}\n")
    listed = engine("plan", "--survey", mock_survey, "--bricks", tmp_path / "list.txt", "--json")
    assert json.loads(listed)["num_bricks"] == 2


@pytest.mark.parametrize("nside", [1, 256])
def test_any_nside_gives_the_same_rows(
    engine: Engine, mock_survey: Path, tmp_path: Path, catalogue: Table, nside: int
) -> None:
    run = tmp_path / "run"
    engine(
        "run", "--survey", mock_survey, "--output", run, "--workers", 0, "--healpix-nside", nside
    )
    rows = (
        ds.dataset(run / "catalogue" / "photoz" / "dataset", format="parquet")
        .to_table()
        .to_pandas()
    )
    assert sorted(rows["TARGETID"]) == sorted(catalogue["TARGETID"])
    assert "passed" in engine("verify", run / "catalogue")
    status = json.loads(engine("status", run, "--json"))
    assert status["decoded"]["g"] == 8


@pytest.mark.parametrize("case", ["testcase4", "testcase9"])
def test_real_bricks_run_through_the_same_command(
    engine: Engine, real_bricks: Path, tmp_path: Path, case: str
) -> None:
    report = json.loads(
        engine(
            "run",
            "--survey",
            real_bricks / case,
            "--output",
            tmp_path / "run",
            "--workers",
            0,
            "--json",
        )
    )
    assert report["num_sources"] == 8
    rows = (
        ds.dataset(tmp_path / "run/catalogue/photoz/dataset", format="parquet")
        .to_table()
        .to_pandas()
    )
    points = rows[list(POINT_COLUMNS)].to_numpy()
    assert np.isfinite(points).all()
    assert np.isfinite(np.stack(rows["Z_PHOT_QUANTILES"])).all()
    present = {"testcase4": ("z", "W1", "W2"), "testcase9": ("g", "r", "z")}[case]
    for band in ("g", "r", "i", "z", "W1", "W2"):
        missing = rows["Z_PHOT_FLAG"].to_numpy() >> QUALITY_BITS[f"MISSING_{band.upper()}"] & 1
        assert missing.all() == (band not in present)
        assert missing.any() == (band not in present)
