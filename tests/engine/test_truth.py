"""`engine truth` end to end on a small survey: the table, the counts, the errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table, vstack

from engine.targets import encode_targetid
from partitions.dr10 import catalogue_rows, open_survey, read_bricks, read_tractor
from partitions.truth import read_truth

Engine = Callable[..., str]


@pytest.fixture(scope="module")
def known(mock_survey: Path) -> Table:
    """Galaxies and quasars of the mock survey."""
    table = Table.read(mock_survey / "truth.fits")
    return table[table["SPECTYPE"] != "STAR"]


@pytest.fixture(scope="module")
def sources(mock_survey: Path) -> SkyCoord:
    """Catalogue positions of the mock survey's primary sources."""
    layout = open_survey(mock_survey)
    tables = [read_tractor(layout, brick) for brick in read_bricks(layout).values()]
    tables = [table.select(catalogue_rows(table)) for table in tables]
    return SkyCoord(
        np.concatenate([table.ra_deg for table in tables]),
        np.concatenate([table.dec_deg for table in tables]),
        unit="deg",
    )


def sdss_table(known: Table, **changes: Any) -> Table:
    """The mock's galaxies as the SDSS would list them."""
    num = len(known)
    columns = {
        "SPECOBJID": [str(299489677444933632 + row) for row in range(num)],
        "PLUG_RA": known["RA"],
        "PLUG_DEC": known["DEC"],
        "Z": known["Z"].astype("f4"),
        "Z_ERR": np.full(num, 1e-4, "f4"),
        "ZWARNING": np.zeros(num, "i4"),
        "CLASS": known["SPECTYPE"],
        "SUBCLASS": np.resize(["STARFORMING", "", "AGN BROADLINE", "STARBURST"], num),
    }
    return Table({**columns, **changes})


def run(engine: Engine, survey: Path, output: Path, *arguments: object) -> dict[str, Any]:
    text = engine("truth", "--survey", survey, "--output", output, "--json", *arguments)
    report: dict[str, Any] = json.loads(text)
    for table in report["tables"]:
        assert table["num_rows"] == table["num_kept"] + sum(table["drops"].values())
    assert report["num_kept"] == sum(table["num_kept"] for table in report["tables"])
    return report


@pytest.mark.parametrize("method", ["auto", "position", "identifiers"])
def test_identifiers_and_positions_give_the_same(
    engine: Engine, mock_survey: Path, known: Table, tmp_path: Path, method: str
) -> None:
    output = tmp_path / "new" / "truth.fits"
    argument = f"generic={mock_survey / 'truth.fits'}"
    report = run(engine, mock_survey, output, "--survey-table", argument, "--match", method)
    truth = read_truth(output)
    assert report["num_kept"] == len(truth) == len(known)
    order = np.lexsort((known["OBJID"], known["BRICKID"]))
    for name in ("RELEASE", "BRICKID", "OBJID", "Z", "SPECTYPE"):
        np.testing.assert_array_equal(getattr(truth, name.lower()), known[name][order])
    assert truth.extragalactic.all()


def test_the_table_and_where_it_came_from(
    engine: Engine, mock_survey: Path, known: Table, sources: SkyCoord, tmp_path: Path
) -> None:
    table = sdss_table(known)
    table["ZWARNING"][:7] = 4
    table["Z"][7:9] = np.nan
    table["Z"][9] = -0.001
    table["CLASS"][10:13] = "STAR"
    far = table[13:15].copy()
    far["PLUG_DEC"] += 5 / 3600
    far["PLUG_RA"] += 60  # nowhere near
    again = table[15:18].copy()
    again["Z_ERR"] = 1e-5
    again["Z"] = 0.777
    path = tmp_path / "specObj.fits"
    vstack([table, far, again]).write(path)
    output = tmp_path / "truth.fits"
    report = run(engine, mock_survey, output, "--survey-table", f"SDSS={path}")

    (made,) = report["tables"]
    assert made["survey"] == "sdss"
    assert made["num_rows"] == len(known) + 5
    assert {reason: count for reason, count in made["drops"].items() if count} == {
        "ZWARNING = 0": 7,
        "no finite redshift": 2,
        "star": 3,
        "redshift <= 0": 1,
        "no source within the radius": 2,
        "a better spectrum of the same source": 3,
    }
    with fits.open(output) as hdus:
        rows, header, drops = hdus["TRUTH"].data, hdus["TRUTH"].header, hdus["DROPS"].data
        assert header["FILE1"] == str(path)
        assert header["SHA1"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (header["RADIUS"], header["ROWS1"], header["KEPT1"]) == (
            1.0,
            made["num_rows"],
            made["num_kept"],
        )
        assert dict(zip(drops["REASON"], drops["ROWS"].tolist(), strict=True)) == made["drops"]
        assert np.count_nonzero(np.isclose(rows["Z"], 0.777)) == 3
        assert set(rows["SURVEY"]) == {"sdss"}
        assert set(rows["ELG_CLASS"]) == {"STARFORMING", "", "AGN BROADLINE", "STARBURST"}
        assert set(rows["TARGETID"].tolist()) == {-1}
        own = SkyCoord(rows["RA"], rows["DEC"], unit="deg")
        assert own.match_to_catalog_sky(sources)[1].arcsec.max() < 1e-6
        _, separation, _ = own.match_to_catalog_sky(SkyCoord(known["RA"], known["DEC"], unit="deg"))
        np.testing.assert_allclose(rows["SEPARATION_ARCSEC"], separation.arcsec, atol=1e-3)
    before = output.read_bytes()
    run(engine, mock_survey, output, "--survey-table", f"SDSS={path}")
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["specObj.fits", "truth.fits"]


def test_the_survey_listed_first_wins(
    engine: Engine, mock_survey: Path, known: Table, tmp_path: Path
) -> None:
    sdss_table(known[:50]).write(tmp_path / "sdss.fits")
    gama = Table({"RA": known["RA"], "DEC": known["DEC"], "Z": known["Z"]})
    gama["SPECID"], gama["NQ"] = "G1", 4
    gama.write(tmp_path / "gama.csv")
    tables = ("--survey-table", f"gama={tmp_path / 'gama.csv'}")
    tables += ("--survey-table", f"sdss={tmp_path / 'sdss.fits'}")
    report = run(engine, mock_survey, tmp_path / "t.fits", *tables)
    gama_report, sdss_report = report["tables"]
    assert sdss_report["num_kept"] == 50
    assert gama_report["num_kept"] == len(known) - 50
    assert gama_report["drops"]["a better spectrum of the same source"] == 50
    assert sorted(set(Table.read(tmp_path / "t.fits", hdu=1)["SURVEY"])) == ["gama", "sdss"]


def test_only_chosen_classes(
    engine: Engine, mock_survey: Path, known: Table, tmp_path: Path
) -> None:
    sdss_table(known).write(tmp_path / "s.fits")
    arguments = ("--survey-table", f"sdss={tmp_path / 's.fits'}", "--class", "agn")
    report = run(engine, mock_survey, tmp_path / "t.fits", *arguments, "--class", "STARBURST")
    num_chosen = sum(row % 4 in (2, 3) for row in range(len(known)))
    assert report["num_kept"] == num_chosen
    assert report["tables"][0]["drops"]["none of the chosen classes"] == len(known) - num_chosen


@pytest.mark.parametrize(("release", "by_identifiers"), [(None, True), (9010, False)])
def test_targetids(
    engine: Engine,
    mock_survey: Path,
    known: Table,
    tmp_path: Path,
    release: int | None,
    by_identifiers: bool,
) -> None:
    own_release = known["RELEASE"] if release is None else np.full(len(known), release)
    # Another release's numbers name other sources: rolled by one, they would mismatch everything.
    objid = known["OBJID"] if release is None else np.roll(known["OBJID"], 1)
    targetid = encode_targetid(own_release, known["BRICKID"], objid)
    num = len(known)
    desi = {"TARGETID": targetid, "Z": known["Z"], "ZERR": np.full(num, 1e-4)}
    desi |= {"ZWARN": np.zeros(num, int), "SPECTYPE": known["SPECTYPE"]}
    desi |= {"DELTACHI2": np.full(num, 100.0), "ZCAT_PRIMARY": np.ones(num, bool)}
    if not by_identifiers:
        desi |= {"TARGET_RA": known["RA"], "TARGET_DEC": known["DEC"]}
    path = tmp_path / "zall.fits"
    Table(desi).write(path)
    run(engine, mock_survey, tmp_path / "t.fits", "--survey-table", f"desi={path}")
    rows = Table.read(tmp_path / "t.fits", hdu=1, mask_invalid=False)
    order = np.lexsort((known["OBJID"], known["BRICKID"]))
    np.testing.assert_array_equal(rows["OBJID"], known["OBJID"][order])
    np.testing.assert_array_equal(rows["Z"], known["Z"][order])
    np.testing.assert_array_equal(rows["TARGETID"], targetid[order])
    assert np.isnan(rows["SEPARATION_ARCSEC"]).all() == by_identifiers


def test_what_a_person_sees(
    engine: Engine, mock_survey: Path, known: Table, tmp_path: Path
) -> None:
    path = mock_survey / "truth.fits"
    text = engine(
        "truth", "--survey", mock_survey, "--survey-table", f"generic={path}", "--output",
        tmp_path / "t.fits",
    )  # fmt: skip
    num_rows = len(Table.read(path))
    assert f"{num_rows}  rows read" in text
    assert f"-  {num_rows - len(known)}  star" in text
    assert f"{len(known)}  kept" in text
    listed = engine("truth", "--list-surveys")
    assert "desi-sv3  (DESI SV3) zWarning = 0, ZERR < 0.01" in listed


def test_training_reads_it(engine: Engine, mock_survey: Path, known: Table, tmp_path: Path) -> None:
    sdss_table(known).write(tmp_path / "s.fits")
    truth = tmp_path / "truth.fits"
    run(engine, mock_survey, truth, "--survey-table", f"sdss={tmp_path / 's.fits'}")
    text = engine(
        "train", "--survey", mock_survey, "--truth", truth, "--output", tmp_path / "weights",
        "--epochs", 1, "--modality", "photometry",
    )  # fmt: skip
    assert f"{len(known)} of {len(known)} known redshifts matched" in text


def test_a_damaged_brick_is_quarantined(
    engine: Engine, tmp_path: Path, mock_survey: Path, known: Table
) -> None:
    survey = tmp_path / "survey"
    survey.mkdir()
    layout = open_survey(mock_survey)
    damaged = str(known["BRICKNAME"][0]).strip()
    for name in ("survey-bricks.fits.gz", "south"):
        (survey / name).symlink_to(mock_survey / name)
    (survey / "south").unlink()
    for path in layout.folder.rglob("*"):
        if path.is_file() and "coadd" not in path.parts:
            copy = survey / "south" / path.relative_to(layout.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            copy.write_bytes(content[:3000] if path.name == f"tractor-{damaged}.fits" else content)
    table = f"generic={mock_survey / 'truth.fits'}"
    text = engine(
        "truth", "--survey", survey, "--survey-table", table, "--output", tmp_path / "t.fits",
        expect=3,
    )  # fmt: skip
    assert f"quarantined: {survey}" in text
    lost = np.char.strip(known["BRICKNAME"].astype(str)) == damaged
    assert len(read_truth(tmp_path / "t.fits")) == len(known) - np.count_nonzero(lost)


@pytest.mark.parametrize(
    ("table", "arguments", "words"),
    [
        ("sdsss={tmp}/s.fits", (), "did you mean 'sdss'"),
        ("{tmp}/s.fits", (), "expected NAME=FILE"),
        ("sdss={tmp}/none.fits", (), "no such file"),
        ("sdss={tmp}/text.csv", (), "one field"),
        ("gama={tmp}/s.fits", (), "no column for the position of GAMA"),
        ("sdss={tmp}/far.fits", (), "no overlap"),
        ("sdss={tmp}/bad.fits", (), "none of 484 rows is left (484 ZWARNING = 0)"),
        ("sdss={tmp}/s.fits", ("--radius", "1e-6"), "(484 no source within the radius)"),
        ("sdss={tmp}/s.fits", ("--match", "identifiers"), "(484 no RELEASE, BRICKID, OBJID)"),
        ("sdss={tmp}/s.fits", ("--output", "{tmp}/s.fits"), "one of the tables to read"),
        ("sdss={tmp}/s.fits", ("--output", "{tmp}"), "is a folder"),
        ("sdss={tmp}/s.fits", ("--radius", "0"), "--radius"),
        ("sdss={tmp}/s.fits", ("--class", "SPIRAL"), "starforming"),
    ],
)
def test_errors_are_one_line(
    engine: Engine,
    mock_survey: Path,
    known: Table,
    tmp_path: Path,
    table: str,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    (tmp_path / "text.csv").write_text("not a table\n")
    sdss_table(known).write(tmp_path / "s.fits")
    sdss_table(known, PLUG_RA=(known["RA"] + 90) % 360).write(tmp_path / "far.fits")
    sdss_table(known, ZWARNING=np.ones(len(known), int)).write(tmp_path / "bad.fits")
    words = words.replace("484", str(len(known)))
    output = () if "--output" in arguments else ("--output", tmp_path / "t.fits")
    given = [text.format(tmp=tmp_path) for text in (table, *arguments)]
    text = engine("truth", "--survey", mock_survey, "--survey-table", *given, *output, expect=2)
    assert words in text
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if line.startswith(("engine:", "Error:"))]) == 1
    assert not (tmp_path / "t.fits").exists()
