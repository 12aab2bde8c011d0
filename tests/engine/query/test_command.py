"""`engine query` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from engine.query import query

Engine = Callable[..., str]


@pytest.fixture(scope="module")
def catalogue(finished_run: Path) -> Path:
    return finished_run / "catalogue"


@pytest.fixture(scope="module")
def ids(catalogue: Path) -> list[int]:
    with query(catalogue, columns=["TARGETID"], limit=30) as answer:
        return answer.read()["TARGETID"].to_pylist()


@pytest.fixture(scope="module")
def centre(catalogue: Path) -> tuple[float, float]:
    with query(catalogue, columns=["RA", "DEC"], limit=1) as answer:
        return tuple(answer.read().to_pylist()[0].values())


def test_a_table_says_what_it_leaves_out(engine: Engine, catalogue: Path) -> None:
    with query(catalogue) as answer:
        total = answer.count()
    lines = engine("query", catalogue).splitlines()
    assert lines[0].split()[:3] == ["TARGETID", "RA", "DEC"]
    assert len(lines) == 1 + 20 + 1
    assert len({line.index("  ", 20) for line in lines[1:21]}) == 1
    assert lines[-1] == (
        f"20 of {total:,} rows; {total - 20:,} left out: --limit N or --output FILE for more"
    )
    assert f"3 of {total:,} rows" in engine("query", catalogue, "--limit", 3, "--columns", "ra")
    assert engine("query", catalogue, "--where", "RA < -1").splitlines()[-1] == "0 of 0 rows"


def test_explain_says_what_is_read(
    engine: Engine, catalogue: Path, centre: tuple[float, float]
) -> None:
    cone = f"{centre[0]},{centre[1]},5"
    text = engine("query", catalogue, "--cone", cone, "--explain", "--columns", "TARGETID")
    assert "leaves      1 of " in text
    assert "row groups  1 of 1 in these leaves" in text
    assert "columns     DEC, RA, TARGETID\n" in text
    assert "Npix=" in text
    report = json.loads(engine("query", catalogue, "--cone", cone, "--json"))
    assert len(report["leaves"]) == report["num_row_groups"] == 1
    assert report["rows"][0]["RA"] == centre[0]
    assert report["num_matching"] == report["num_rows"] == len(report["rows"])
    if report["read_bytes"] is not None:
        assert report["read_bytes"] > report["planned_bytes"] > 0


def test_output_by_suffix(engine: Engine, catalogue: Path, tmp_path: Path) -> None:
    path = tmp_path / "far.fits"
    text = engine("query", catalogue, "--where", "Z_PHOT_MEDIAN > 1", "--limit", 4,
                  "--output", path)  # fmt: skip
    assert text.startswith(f"{path}: 4 of ")
    assert "left out" in text
    assert len(Table.read(path)) == 4
    engine("query", catalogue, "--output", tmp_path / "all.parquet")
    with query(catalogue) as answer:
        assert pq.read_metadata(tmp_path / "all.parquet").num_rows == answer.count()


def test_ids_by_list_text_and_table(
    engine: Engine, catalogue: Path, ids: list[int], tmp_path: Path
) -> None:
    wanted = ids[::3]
    files = {name: tmp_path / name for name in ("a.txt", "b.csv", "c.csv", "d.fits", "e.parquet")}
    files["a.txt"].write_text("# mine\n" + "\n".join(f"{i}  # x" for i in wanted) + "\n\n")
    table = Table({"TARGETID": wanted, "Z": [0.1] * len(wanted)})
    table.write(files["b.csv"])
    table["TARGETID",].write(files["c.csv"])
    table.write(files["d.fits"])
    table.write(files["e.parquet"])
    for source in (",".join(map(str, wanted)), *files.values()):
        report = json.loads(engine("query", catalogue, "--ids", source, "--json"))
        assert [row["TARGETID"] for row in report["rows"]] == wanted, source
        assert report["num_ids_missing"] == 0
    text = engine("query", catalogue, "--ids", f"{ids[0]},1,2")
    assert "1 of 1 rows" in text
    assert "2 ids are not in" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cone", "1,2"], ["--cone '1,2'", "RA,DEC,RADIUS_ARCSEC"]),
        (["--cone", "1,2,x"], ["--cone"]),
        (["--box", "1,2,3"], ["--box '1,2,3'", "RA1,RA2,DEC1,DEC2"]),
        (["--polygon", "1,2;3;4,5"], ["--polygon '3'"]),
        (["--pixels", "5"], ["--pixels '5'", "ORDER:N,N"]),
        (["--ids", "nowhere.txt"], ["nowhere.txt", "No such file"]),
        (["--ids", __file__], ["line 1", "expected one TARGETID"]),
        (["--output", "x.doc"], ["x.doc", ".parquet"]),
        (["--columns", "RA,DECC"], ["DECC", "did you mean DEC?"]),
        (["--sql", "COPY catalogue TO 'x'"], ["one SELECT statement, found COPY"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    engine: Engine, catalogue: Path, arguments: list[str], words: list[str]
) -> None:
    text = engine("query", catalogue, *arguments, expect=2)
    assert text.count("\n") == 1
    for word in words:
        assert word in text


def test_a_table_of_ids_must_hold_ids(engine: Engine, catalogue: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("ID,Z\n1,2\n")
    assert "no column TARGETID" in engine("query", catalogue, "--ids", path, expect=2)
    path.write_text("TARGETID,Z\n1.5,2\n")
    assert "holds float64" in engine("query", catalogue, "--ids", path, expect=2)
