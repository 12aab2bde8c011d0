"""Every survey's public column layout, in every format, through its cuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from partitions.bricks import SurveyError
from partitions.truth.spectra import SPEED_OF_LIGHT_KMS, read_spectra
from partitions.truth.surveys import find_survey, survey_table

Write = Callable[..., Path]
SURVEYS = list(survey_table().surveys)


@pytest.mark.parametrize("suffix", ["fits", "csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("key", SURVEYS)
def test_published_layouts(
    tmp_path: Path, rows_of: Callable[..., tuple], write_rows: Write, key: str, suffix: str
) -> None:
    rows, expected = rows_of(key)
    delimiter = "|" if key == "lamost" else ","
    path = write_rows(tmp_path / f"{key}.{suffix}", rows, delimiter)
    read = read_spectra(path, find_survey(key))
    spectra = read.spectra
    assert read.num_rows == len(rows)
    assert {reason: count for reason, count in read.drops.items() if count} == expected
    assert read.num_rows == len(spectra) + sum(read.drops.values())
    assert spectra.row.tolist() == [0, len(rows) - 1]
    np.testing.assert_allclose(spectra.ra_deg, 10.5, atol=1e-12)
    np.testing.assert_allclose(spectra.dec_deg, 1.25, atol=1e-12)
    assert np.all((spectra.z > 0) & (spectra.z < 4))
    assert np.all(spectra.survey_id != "")
    assert np.all(spectra.spectype == "GALAXY")


def test_velocities_become_redshifts(
    tmp_path: Path, good_row: Callable[..., dict], write_rows: Write
) -> None:
    path = write_rows(tmp_path / "6dfgs.csv", [good_row("6dfgs")])
    spectra = read_spectra(path, find_survey("6dfgs")).spectra
    assert spectra.z[0] == pytest.approx(32977 / SPEED_OF_LIGHT_KMS)
    assert spectra.z_err[0] == pytest.approx(60 / SPEED_OF_LIGHT_KMS)


@pytest.mark.parametrize(
    ("own_class", "subclass", "spectype", "elg_class"),
    [
        ("GALAXY", "STARFORMING", "GALAXY", "STARFORMING"),
        ("GALAXY", "STARBURST BROADLINE", "GALAXY", "STARBURST BROADLINE"),
        ("GALAXY", "AGN", "GALAXY", "AGN"),
        ("QSO", "BROADLINE", "QSO", "BROADLINE"),
        ("GALAXY", "", "GALAXY", ""),
        ("galaxy ", "starforming", "GALAXY", "STARFORMING"),
    ],
)
def test_classes_of_sdss(
    tmp_path: Path,
    good_row: Callable[..., dict],
    write_rows: Write,
    own_class: str,
    subclass: str,
    spectype: str,
    elg_class: str,
) -> None:
    row = good_row("sdss") | {"CLASS": own_class, "SUBCLASS": subclass}
    spectra = read_spectra(write_rows(tmp_path / "s.csv", [row]), find_survey("sdss")).spectra
    assert spectra.spectype.tolist() == [spectype]
    assert spectra.elg_class.tolist() == [elg_class]


def test_only_some_classes(
    tmp_path: Path, good_row: Callable[..., dict], write_rows: Write
) -> None:
    subclasses = ["STARFORMING", "AGN BROADLINE", "", "STARBURST"]
    rows = [good_row("sdss") | {"SUBCLASS": subclass} for subclass in subclasses]
    path = write_rows(tmp_path / "s.fits", rows)
    read = read_spectra(path, find_survey("sdss"), ["BROADLINE", "STARBURST"])
    assert read.spectra.row.tolist() == [1, 3]
    assert read.drops["none of the chosen classes"] == 2


def test_a_star_is_counted_as_one_whatever_its_redshift(
    tmp_path: Path, good_row: Callable[..., dict], write_rows: Write
) -> None:
    rows = [good_row("desi") | {"SPECTYPE": "STAR", "Z": z} for z in (-0.001, 0.0, 0.001)]
    read = read_spectra(write_rows(tmp_path / "d.fits", rows), find_survey("desi"))
    assert read.drops["star"] == 3
    assert read.drops["redshift <= 0"] == 0
    assert len(read.spectra) == 0


def test_optional_cuts_are_left_out_and_named(
    tmp_path: Path, good_row: Callable[..., dict], write_rows: Write
) -> None:
    row = good_row("desi")
    del row["ZCAT_PRIMARY"]
    read = read_spectra(write_rows(tmp_path / "d.fits", [row]), find_survey("desi"))
    assert read.cuts_left_out == ("ZCAT_PRIMARY = True",)
    assert len(read.spectra) == 1


def test_identifiers_all_three_or_none(
    tmp_path: Path, good_row: Callable[..., dict], write_rows: Write
) -> None:
    row = good_row("generic") | {"RELEASE": 10000, "BRICKID": 7}
    spectra = read_spectra(write_rows(tmp_path / "two.csv", [row]), find_survey("generic")).spectra
    assert not spectra.has_identifiers.any()
    row |= {"OBJID": 3}
    del row["ra"], row["dec"]
    spectra = read_spectra(write_rows(tmp_path / "all.csv", [row]), find_survey("generic")).spectra
    assert spectra.has_identifiers.all()
    assert not spectra.has_position.any()


def test_positions_that_are_none(
    tmp_path: Path, good_row: Callable[..., dict], write_rows: Write
) -> None:
    rows = [
        good_row("fcosmos") | {"RA": ra, "DEC": dec}
        for ra, dec in [(-99.9, -99.9), (10.0, 90.5), (np.nan, 2.0), (361.0, 0.0), (360.0, 0.0)]
    ]
    spectra = read_spectra(write_rows(tmp_path / "f.fits", rows), find_survey("fcosmos")).spectra
    assert spectra.has_position.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("key", "removed", "words"),
    [
        ("sdss", "ZWARNING", "the cut ZWARNING = 0 of SDSS"),
        ("deep2", "ZBEST", None),  # Z is there
        ("vipers", "zspec", "the redshift of VIPERS; looked for zspec"),
        ("gama", "RA", "the position of GAMA"),
    ],
)
def test_a_missing_column(
    tmp_path: Path,
    good_row: Callable[..., dict],
    write_rows: Write,
    key: str,
    removed: str,
    words: str | None,
) -> None:
    row = good_row(key)
    row[f"{removed}_"] = row.pop(removed)
    path = write_rows(tmp_path / "t.csv", [row])
    if words is None:
        assert len(read_spectra(path, find_survey(key)).spectra) == 1
        return
    with pytest.raises(SurveyError) as caught:
        read_spectra(path, find_survey(key))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert f"{removed}_" in str(caught.value)


def test_a_table_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("ra,dec,z\n")
    with pytest.raises(SurveyError, match="has no rows"):
        read_spectra(path, find_survey("generic"))
