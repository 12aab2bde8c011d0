"""Files hold what the answer holds: every column, type, unit, missing value; memory stays flat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.table import Table

from engine.config import UserError
from engine.query import query
from engine.query.output import check_output, write_answer

if TYPE_CHECKING:
    from tests.engine.query.conftest import AllSky

ODD = """SELECT 1 AS a, NULL AS b, NULL::INT AS c, 'é' AS d, DATE '2020-01-01' AS e,
         sum(OBJID) AS f, true AS g, 1::TINYINT AS h, 7::UBIGINT AS i, 0.5::FLOAT AS j
         FROM catalogue
         UNION ALL SELECT 2, NULL, 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""


def write(catalogue: Path, path: Path, **question: Any) -> int:
    check_output(path)
    with query(catalogue, **question) as answer:
        return write_answer(answer, path)


@pytest.fixture(scope="module")
def expected(finished_run: Path) -> pa.Table:
    with query(finished_run / "catalogue") as answer:
        return answer.read()


def test_parquet_is_the_answer(finished_run: Path, tmp_path: Path, expected: pa.Table) -> None:
    path = tmp_path / "all.parquet"
    assert write(finished_run / "catalogue", path) == expected.num_rows
    found = pq.ParquetFile(path).read()
    assert found.equals(expected)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert list(tmp_path.iterdir()) == [path]


def test_csv_reads_back_the_same(finished_run: Path, tmp_path: Path, expected: pa.Table) -> None:
    path = tmp_path / "all.csv"
    assert write(finished_run / "catalogue", path) == expected.num_rows
    found = pyarrow.csv.read_csv(path)
    for name in ("TARGETID", "RA", "DEC", "TYPE"):
        assert found[name].to_pylist() == expected[name].to_pylist()
    flux = found["FLUX_G"].to_numpy().astype(np.float32)
    assert np.array_equal(flux, expected["FLUX_G"].to_numpy())
    quantiles = np.stack(expected["Z_PHOT_QUANTILES"].to_numpy())
    for number in (0, 9, 20):
        column = found[f"Z_PHOT_QUANTILES_{number:02}"].to_numpy().astype(np.float32)
        assert np.array_equal(column, quantiles[:, number])


@pytest.mark.parametrize("suffix", [".fits", ".vot"])
def test_fits_and_votable_read_back_the_same(
    finished_run: Path, tmp_path: Path, expected: pa.Table, suffix: str
) -> None:
    path = tmp_path / f"all{suffix}"
    assert write(finished_run / "catalogue", path) == expected.num_rows
    found = Table.read(path)
    assert found.colnames == expected.column_names
    for name in expected.column_names:
        values = expected[name].to_pylist()
        assert np.array_equal(np.array(found[name]), np.array(values, found[name].dtype)), name
    assert found["RA"].unit == "deg"
    assert found["Z_PHOT_QUANTILES"].dtype.str[1:] == "f4"


def test_units(finished_run: Path, tmp_path: Path) -> None:
    columns = ["EBV", "FLUX_W1", "FLUX_IVAR_W1", "Z_PHOT_MEDIAN"]
    for suffix in ("fits", "vot"):
        write(finished_run / "catalogue", tmp_path / f"some.{suffix}", columns=columns)
    with fits.open(tmp_path / "some.fits") as hdus:
        assert hdus[1].columns.units == ["mag", "nanomaggy", "1/nanomaggy^2", ""]
    fields = votable.parse_single_table(tmp_path / "some.vot").fields
    assert [str(field.unit) for field in fields] == ["mag", "None", "None", "None"]
    assert fields[1].description == "nanomaggy"


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits", ".vot"])
def test_missing_values_stay_missing(finished_run: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"odd{suffix}"
    assert write(finished_run / "catalogue", path, sql=ODD) == 2
    if suffix == ".csv":
        assert path.read_text(encoding="utf-8").splitlines()[2] == "2,,3,,,,,,,"
        return
    table = Table.read(path) if suffix != ".parquet" else None
    if table is None:
        last = pq.read_table(path).to_pylist()[1]
        assert last == {"a": 2, "c": 3, **dict.fromkeys("bdefghij")}
        return
    assert list(table["a"]) == [1, 2]
    assert np.ma.is_masked(table["c"][0])
    assert table["c"][1] == 3
    for name in "ghi":
        assert np.ma.is_masked(table[name][1]), name
    assert np.isnan(np.ma.filled(table["j"], np.nan)[1])
    assert [table["g"][0], table["h"][0], table["i"][0]] == [1, 1, 7]
    assert table["f"][0] > 1000


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits", ".vot"])
def test_no_rows_are_a_whole_file(finished_run: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"none{suffix}"
    assert write(finished_run / "catalogue", path, where="RA < -1") == 0
    if suffix == ".csv":
        assert path.read_text().startswith('"_healpix_29","RELEASE"')
        assert path.read_text().count("\n") == 1
    else:
        found = pq.read_table(path).to_pandas() if suffix == ".parquet" else Table.read(path)
        assert len(found) == 0
        assert "Z_PHOT_FLAG" in list(found.keys())


def test_what_a_format_cannot_hold_is_refused(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "lists.fits"
    path.write_text("an earlier file")
    with pytest.raises(UserError, match=r"column j holds list<.*write \.parquet"):
        write(finished_run / "catalogue", path, sql="SELECT [1, 2] AS j FROM catalogue")
    assert path.read_text() == "an earlier file"
    assert list(tmp_path.iterdir()) == [path]
    for name in ("x.txt", "x"):
        with pytest.raises(UserError, match=r"\.csv, \.parquet, \.fits, \.vot"):
            check_output(tmp_path / name)


_MEMORY = """
import sys
from pathlib import Path
from engine.query import query
from engine.query.output import write_answer
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
many = "SELECT c.* FROM catalogue c, range({copies})"
with query(sys.argv[1], sql=many.format(copies=1)) as answer:
    write_answer(answer, Path(sys.argv[2]))
before = peak()
with query(sys.argv[1], sql=many.format(copies=int(sys.argv[3]))) as answer:
    print(write_answer(answer, Path(sys.argv[2])), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_memory_stays_flat(all_sky: AllSky, tmp_path: Path, suffix: str) -> None:
    """8 times the rows: the whole answer in memory would be 60 MB or more."""
    path = tmp_path / f"many{suffix}"
    command = [sys.executable, "-c", _MEMORY, str(all_sky.path), str(path), "8"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    num_rows, growth_bytes = (int(word) for word in done.stdout.split())
    assert num_rows == 240_000
    assert growth_bytes < 45e6
