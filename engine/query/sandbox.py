"""DuckDB with nothing in reach but the leaves of one catalogue: the only home of duckdb.

Two walls. DuckDB's own: no files but the leaves, no extensions, no Python objects, a locked
configuration. And ours, on the parsed statement: one SELECT, nothing that writes, no table
function but harmless ones. The second is needed because in DuckDB 2 a SELECT may hold a COPY in a
WITH clause, and could overwrite the very leaves that it may read.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.layout import COMMON_METADATA
from engine.catalogue.read import primary_folder
from engine.config import UserError
from engine.query.leaf_files import damaged
from engine.query.pruning import Run
from engine.query.selection import IDS_TABLE

VIEW = "catalogue"
"""The table that a statement reads."""

_READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLE_FUNCTIONS = {"generate_series", "range", "repeat", "unnest"}
_LOCKS = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "python_enable_replacements = false",
    "enable_external_access = false",
    "lock_configuration = true",
)

# What is wrong with a statement, not with a file.
_QUESTION_ERRORS = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.InterruptException,
    duckdb.OutOfMemoryException,
    duckdb.ParserException,
)

# Great-circle distance for statements; exact for small distances.
_MACRO = """CREATE MACRO separation_arcsec(ra1, dec1, ra2, dec2) AS 3600 * degrees(2 * asin(sqrt(
    least(1, sin(radians(dec2 - dec1) / 2) * sin(radians(dec2 - dec1) / 2)
    + cos(radians(dec1)) * cos(radians(dec2))
    * sin(radians(ra2 - ra1) / 2) * sin(radians(ra2 - ra1) / 2)))))"""


class Sandbox:
    """A DuckDB that knows one view, `catalogue`: the chosen rows of chosen leaves."""

    def __init__(
        self,
        catalogue: Path,
        schema: pa.Schema,
        runs: list[Run],
        conditions: list[str],
        target_ids: list[int] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._schema = schema
        # Where DuckDB puts what does not fit into memory; by default it is the user's folder.
        self._spill = TemporaryDirectory(prefix="photoz-query-")
        self._connection = duckdb.connect(":memory:")
        # Without runs the catalogue's schema file: a Parquet file of no rows.
        empty = (primary_folder(catalogue) / COMMON_METADATA).resolve()
        paths = list(dict.fromkeys(path.resolve() for run in runs for path in run.paths))
        self._paths = paths
        for statement in (
            f"SET temp_directory = {_text(self._spill.name)}",
            f"SET allowed_paths = {_list([*paths, empty])}",
            f"CREATE TABLE {IDS_TABLE} (TARGETID BIGINT)",
            _MACRO,
        ):
            self._connection.execute(statement)
        if target_ids:
            self._connection.execute(f"INSERT INTO {IDS_TABLE} SELECT unnest(?)", [target_ids])
        terms = [_term(schema, run.paths, run, conditions) for run in runs]
        view = " UNION ALL ".join(terms or [_term(schema, [empty], None, [])])
        self._connection.execute(f"CREATE VIEW {VIEW} AS {view}")
        for lock in _LOCKS:
            self._connection.execute(f"SET {lock}")

    def close(self) -> None:
        """Let go of files and memory."""
        self._connection.close()
        self._spill.cleanup()

    def check_select(self, statement: str) -> tuple[str, set[str]]:
        """Refuse all but one SELECT that only reads.

        Returns
        -------
        The statement without its semicolon, and the columns that it may read.

        Raises
        ------
        UserError
            If it is anything else.
        """
        try:
            statements = self._connection.extract_statements(statement)
        except duckdb.Error as error:
            raise self._user_error(error) from None
        kinds = [each.type.name for each in statements]
        if kinds != ["SELECT"]:
            raise UserError(
                f"query: expected one SELECT statement, found {', '.join(kinds) or 'none'}; "
                f"for example SELECT count(*) FROM {VIEW}"
            )
        text = _without_end(statements[0].query)
        tree = json.loads(self._one("SELECT json_serialize_sql($1)", [text]))
        if tree["error"]:
            raise UserError(f"query: {tree['error_message']}; give one SELECT statement")
        names = {name.lower(): name for name in self._schema.names}
        columns: set[str] = set()
        for node in _walk(tree["statements"]):
            kind = str(node.get("type", ""))
            if kind.endswith("_NODE") and kind not in _READING_NODES:
                raise UserError(
                    f"query: a statement here may only read; remove {kind.split('_')[0]}"
                )
            if kind == "TABLE_FUNCTION":
                function = node["function"]["function_name"].lower()
                if function not in _TABLE_FUNCTIONS:
                    raise UserError(
                        f"query: {function}() is not allowed; read the catalogue by its name, "
                        f"FROM {VIEW}"
                    )
            if node.get("class") == "STAR":
                columns |= set(self._schema.names)
            if node.get("class") == "COLUMN_REF":
                columns |= {names[word] for part in node["column_names"]
                            if (word := part.lower()) in names}  # fmt: skip
        return text, columns

    def check_condition(self, condition: str) -> None:
        """Refuse what is not one expression.

        Raises
        ------
        UserError
            If it is anything else.
        """
        try:
            duckdb.SQLExpression(condition)
        except duckdb.Error as error:
            raise UserError(
                f"--where {condition!r}: not one condition ({_first_line(error)}); "
                "for example \"Z_PHOT_MEDIAN > 0.5 AND TYPE != 'PSF'\""
            ) from None

    def count(self, statement: str) -> int:
        """Rows that a statement gives."""
        return int(self._one(f"SELECT count(*) FROM ({statement}\n)"))

    def count_missing_ids(self) -> int:
        """TARGETIDs asked for that no row of the view has."""
        return int(
            self._one(
                f"SELECT count(*) FROM {IDS_TABLE} "
                f"WHERE TARGETID NOT IN (SELECT TARGETID FROM {VIEW})"
            )
        )

    def columns(self, statement: str) -> pa.Schema:
        """The columns that a statement gives; computes no row."""
        try:
            with self._connection.cursor() as cursor:
                result: pa.Schema = cursor.sql(f"FROM ({statement}\n) LIMIT 0").to_arrow_table()
        except duckdb.Error as error:
            raise self._user_error(error) from None
        return result.schema

    def batches(self, statement: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Rows of a statement, a batch at a time.

        Raises
        ------
        UserError
            If it names what is not there, cannot be computed, or a leaf cannot be read.
        """
        cursor = self._connection.cursor()
        try:
            yield from cursor.sql(statement).to_arrow_reader(batch_rows)
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            raise self._user_error(error) from None
        finally:
            cursor.close()

    def _one(self, statement: str, parameters: list[Any] | None = None) -> Any:
        try:
            with self._connection.cursor() as cursor:
                row = cursor.execute(statement, parameters or []).fetchall()[0]
        except duckdb.Error as error:
            raise self._user_error(error) from None
        return row[0]

    def _user_error(self, error: Exception) -> UserError:
        """What DuckDB refuses, in one line that says what to do."""
        text = str(error)
        if isinstance(error, duckdb.PermissionException):
            return UserError(
                f"{_first_line(error)}; a statement reads the catalogue and no other file"
            )
        named = re.search(r'column(?: named)? "([^"]+)"', text)
        if isinstance(error, duckdb.BinderException) and named is not None:
            return unknown_column(named[1], self._schema.names)
        if not isinstance(error, _QUESTION_ERRORS):
            # DuckDB does not always say which file it could not read.
            for path in self._paths:
                if not _is_readable(path):
                    return damaged(
                        self._catalogue, f"{path}: leaf cannot be read ({_first_line(error)})"
                    )
        return UserError(f"query: {_first_line(error)}")


def unknown_column(name: str, names: list[str]) -> UserError:
    """A refusal that suggests the nearest name."""
    near = difflib.get_close_matches(name.upper(), names, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
    return UserError(f"the catalogue has no column {name}; {advice}")


def _term(schema: pa.Schema, paths: list[Path], run: Run | None, conditions: list[str]) -> str:
    """SELECT of one run. Norder and Dir in a path are no columns of the catalogue."""
    columns = ", ".join(f'"{name}"' for name in schema.names)
    where = list(conditions)
    if run is not None and run.is_cut:
        where.insert(0, f"_healpix_29 BETWEEN {run.first} AND {run.last}")
    files = _list([path.resolve() for path in paths])
    return (
        f"SELECT {columns} FROM read_parquet({files}, hive_partitioning = false)"
        f"{' WHERE ' if where else ''}{' AND '.join(where)}"
    )


def _without_end(statement: str) -> str:
    """A statement without the semicolon and comments after it, so that it fits into another."""
    for offset, kind in reversed(duckdb.tokenize(statement)):
        if kind != duckdb.token_type.comment and statement[offset] != ";":
            break
        statement = statement[:offset]
    return statement.strip()


def _is_readable(path: Path) -> bool:
    try:
        leaf = pq.ParquetFile(path)
        for number in range(leaf.num_row_groups):
            leaf.read_row_group(number)
    except (OSError, pa.ArrowException):
        return False
    return True


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    """All objects of a parsed statement."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _list(paths: list[Path]) -> str:
    return "[" + ", ".join(_text(path) for path in paths) + "]"


def _first_line(error: Exception) -> str:
    """The message before the picture of the statement."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())
