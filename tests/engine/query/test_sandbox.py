"""Hostile statements: nothing outside of the catalogue is read, nothing anywhere is written."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from engine.catalogue.leaves import file_sha256
from engine.catalogue.read import read_schema
from engine.config import UserError
from engine.query import query
from engine.query.pruning import Run
from engine.query.sandbox import Sandbox

HOSTILE = [
    "COPY catalogue TO '{out}'",
    "COPY (SELECT 1) TO '{leaf}'",
    "WITH a AS (COPY (SELECT 1 AS x) TO '{out}') SELECT 1",
    "WITH a AS (COPY (SELECT 1 AS x) TO '{leaf}' (FORMAT parquet)) SELECT 1",
    "SELECT * FROM (WITH a AS (COPY (SELECT 1 AS x) TO '{leaf}') SELECT 1)",
    "SELECT (WITH a AS (COPY (SELECT 1 AS x) TO '{leaf}') SELECT 1)",
    "SELECT * FROM query('COPY (SELECT 1 AS x) TO ''{leaf}''')",
    "SELECT * FROM main.query('WITH a AS (COPY (SELECT 1 AS x) TO ''{leaf}'') SELECT 1')",
    "SELECT * FROM query_table('catalogue')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "WITH a AS (INSERT INTO wanted_targetids VALUES (1) RETURNING *) SELECT * FROM a",
    "WITH a AS (DELETE FROM wanted_targetids RETURNING *) SELECT * FROM a",
    "ATTACH '{out}' AS other",
    "ATTACH '{secret}' AS other (READ_ONLY)",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{out}'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{secret}'",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/']",
    "RESET lock_configuration",
    "PRAGMA enable_external_access",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW catalogue",
    "CREATE OR REPLACE VIEW catalogue AS SELECT * FROM '{secret}'",
    "EXPLAIN SELECT * FROM '{secret}'",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "BEGIN",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM READ_CSV_AUTO('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM read_parquet('{leaf}')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'http://localhost:1/x.parquet'",
    "SELECT (SELECT count(*) FROM read_text('{secret}'))",
    "SELECT * FROM catalogue, LATERAL (SELECT * FROM read_text('{secret}'))",
    "SELECT RA FROM catalogue UNION ALL SELECT 1 FROM read_text('{secret}')",
    "FROM read_text('{secret}')",
    "DESCRIBE SELECT * FROM read_text('{secret}')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM python_map_function()",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM hidden_frame",
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("word\nxyzzy\n")
    return path


@pytest.fixture
def names(run_copy: Path, secret: Path, tmp_path: Path) -> dict[str, str]:
    leaf = min(run_copy.rglob("Npix=*.parquet"))
    return {"leaf": str(leaf), "secret": str(secret), "out": str(tmp_path / "out")}


def every_file(folder: Path) -> dict[str, str]:
    return {str(path): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_hostile_statements_are_refused_and_change_nothing(
    run_copy: Path, names: dict[str, str], tmp_path: Path
) -> None:
    hidden_frame = read_schema(run_copy / "catalogue").empty_table()
    assert hidden_frame.num_rows == 0  # A Python object that DuckDB would find by its name.
    before = every_file(tmp_path)
    for text in HOSTILE:
        statement = text.format(**names)
        with (
            pytest.raises(UserError) as error,
            query(run_copy / "catalogue", sql=statement) as answer,
        ):
            pytest.fail(f"{statement}: {answer.read()}")
        assert "\n" not in str(error.value)
        assert "xyzzy" not in str(error.value)
    assert every_file(tmp_path) == before


def test_conditions_are_no_way_around(run_copy: Path, names: dict[str, str]) -> None:
    for text in (
        "RA > (SELECT count(*) FROM read_text('{secret}'))",
        "TYPE IN (SELECT word FROM '{secret}')",
        "RA > (WITH a AS (COPY (SELECT 1 AS x) TO '{leaf}') SELECT 1)",
        "true) UNION SELECT * FROM read_text('{secret}') WHERE (true",
        "true; COPY (SELECT 1) TO '{out}'",
    ):
        with pytest.raises(UserError):
            query(run_copy / "catalogue", where=text.format(**names))


def test_duckdb_itself_is_locked(run_copy: Path, names: dict[str, str]) -> None:
    """The first wall alone, without ours: the connection refuses files, settings, extensions."""
    catalogue = run_copy / "catalogue"
    leaf = Path(names["leaf"])
    sandbox = Sandbox(catalogue, read_schema(catalogue), [Run([leaf], 0, 1 << 62)], [])
    for text in (
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('/etc/*')",
        "COPY (SELECT 1) TO '{out}'",
        "ATTACH '{out}' AS other",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/']",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "LOAD httpfs",
    ):
        with pytest.raises(duckdb.Error):
            sandbox._connection.execute(text.format(**names)).fetchall()
    other = max(run_copy.rglob("Npix=*.parquet"))
    assert other != leaf
    with pytest.raises(duckdb.PermissionException):
        sandbox._connection.execute(f"SELECT * FROM read_parquet('{other}')").fetchall()
    sandbox.close()


def test_honest_statements_pass(run_copy: Path) -> None:
    for statement, num_rows in {
        "SELECT count(*) FROM catalogue": 1,
        "WITH a AS (FROM catalogue) SELECT max(RA) FROM a UNION ALL SELECT min(RA) FROM a": 2,
        "SELECT * FROM range(3) r, (VALUES (1), (2)) v": 6,
        "SELECT unnest(Z_PHOT_QUANTILES) FROM catalogue LIMIT 5": 5,
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 4) FROM t": 4,
        "FROM catalogue SELECT TYPE LIMIT 1; -- a comment": 1,
        "SELECT row_number() OVER (ORDER BY RA) FROM catalogue QUALIFY row_number() OVER () < 3": 2,
    }.items():
        with query(run_copy / "catalogue", sql=statement) as answer:
            assert answer.read().num_rows == answer.count() == num_rows, statement
