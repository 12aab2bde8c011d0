"""FITS, CSV and Parquet give the same columns; what is no table is said to be none."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from partitions.bricks import SurveyError
from partitions.truth.tables import open_table

ROWS = [
    {"name": "a", "id": 39627646350558848, "z": 0.5, "good": True},
    {"name": "bcd", "id": 39627646350558849, "z": 1.5, "good": False},
]


@pytest.mark.parametrize(
    "name", ["t.fits", "t.fits.gz", "t.csv", "t.csv.gz", "t.parquet", "no_suffix_is_csv"]
)
def test_every_format_gives_the_same(
    tmp_path: Path, write_rows: Callable[..., Path], name: str
) -> None:
    table = open_table(write_rows(tmp_path / name, ROWS))
    assert table.columns == ("name", "id", "z", "good")
    columns = table.read(["z", "id", "name"])
    assert columns["id"].tolist() == [row["id"] for row in ROWS]  # float64 would not hold them
    assert columns["z"].tolist() == [0.5, 1.5]
    assert columns["name"].tolist() == ["a", "bcd"]
    assert all(values.dtype.isnative for values in columns.values())


def test_delimiters_comments_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "lamost.csv"
    path.write_text("# General catalogue\nobsid|z|class\n1|0.1|STAR\n2||GALAXY\n3|NULL|\n")
    columns = open_table(path).read(["z", "class"])
    np.testing.assert_array_equal(columns["z"], [0.1, np.nan, np.nan])
    assert columns["class"].tolist() == ["STAR", "GALAXY", ""]
    path.write_text("#Table1\n#id,z\n1,0.1\n")
    assert open_table(path).read(["z", "id"])["z"].tolist() == [0.1]
    assert open_table(path).columns == ("id", "z")


def test_a_csv_column_whose_type_changes_late(tmp_path: Path) -> None:
    # A reader that guesses types from the first megabyte stops here.
    path = tmp_path / "late.csv"
    path.write_text("q,z\n" + "4,0\n" * 300_000 + "3.5,0.25\n")
    columns = open_table(path).read(["q", "z"])
    assert len(columns["q"]) == 300_001
    assert columns["q"][-1] == 3.5


def test_nulls_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "nulls.parquet"
    table = {
        "q": pa.array([4, None]),
        "id": pa.array([39627646350558849, None]),
        "z": pa.array([0.5, None]),
        "name": pa.array(["a", None]),
        "good": pa.array([True, None]),
        "pair": pa.array([[1, 2], [3, 4]]),
    }
    pq.write_table(pa.table(table), path)
    columns = open_table(path).read(["q", "id", "z", "name", "good"])
    np.testing.assert_array_equal(columns["q"], [4, np.nan])
    assert columns["id"].tolist() == [39627646350558849, -1]
    assert columns["name"].tolist() == ["a", ""]
    assert columns["good"].tolist() == [True, False]
    with pytest.raises(SurveyError, match="expected one value"):
        open_table(path).read(["pair"])


def test_the_first_table_of_a_fits_file(tmp_path: Path) -> None:
    path = tmp_path / "second.fits"
    image = fits.ImageHDU(np.zeros((2, 2)))
    fits.HDUList([fits.PrimaryHDU(), image, fits.table_to_hdu(Table({"z": [0.5]}))]).writeto(path)
    assert open_table(path).read(["z"])["z"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02", "is empty or no FITS"),
        (b"%PDF-1.4 words\n", "one field"),
        (b"0.1,0.2\n0.3,0.4\n", "holds numbers"),
        (b"PAR1garbage", "cannot be read"),
        (gzip.compress(b"a,b\n" * 100)[:20], "cannot be read"),
        (b"ra,z\n1,2\n3\n", "Expected 2 columns, got 1"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "strange.csv"
    path.write_bytes(content)
    with pytest.raises(SurveyError, match=r"strange\.csv") as caught:
        open_table(path).read(["z"])
    assert words in str(caught.value)


def test_fits_files_that_cannot_be_used(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(path)
    with pytest.raises(SurveyError, match="none of its 1 HDUs holds a table"):
        open_table(path)
    whole = write_rows(tmp_path / "cut.fits", ROWS * 1000).read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SurveyError, match="truncated"):
        open_table(tmp_path / "cut.fits")
    with pytest.raises(SurveyError, match="no such file"):
        open_table(tmp_path / "none.fits")
