"""docs/data-model.md is what its script writes, and what a finished catalogue holds."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """Names of docs/make_data_model.py, which is no package."""
    return runpy.run_path(str(DOCS / "make_data_model.py"))


def test_the_page_is_what_the_code_makes(script: dict[str, Any]) -> None:
    made = script["data_model"]()
    assert (DOCS / "data-model.md").read_text() == made, "run: python docs/make_data_model.py"


def test_every_file_of_a_catalogue_is_listed(script: dict[str, Any], finished_run: Path) -> None:
    catalogue = finished_run / "catalogue"
    found = {
        re.sub(
            r"Norder=\d+/Dir=\d+/Npix=\d+|part\.\d+",
            lambda match: "part.P" if match[0][0] == "p" else "Norder=K/Dir=D/Npix=N",
            path.relative_to(catalogue).as_posix(),
        )
        for path in catalogue.rglob("*")
        if path.is_file()
    }
    assert found == set(script["FILE_MEANINGS"])


def test_every_property_of_a_catalogue_is_listed(
    script: dict[str, Any], finished_run: Path
) -> None:
    files = [
        path
        for path in (finished_run / "catalogue").rglob("*")
        if path.name in ("properties", "hats.properties", "collection.properties")
    ]
    assert len(files) == 7
    keys = {line.split("=")[0] for path in files for line in path.read_text().splitlines()}
    assert keys == set(script["PROPERTY_MEANINGS"])


@pytest.mark.parametrize(
    ("title", "part"),
    [
        ("Columns of the catalogue and its margin", "photoz"),
        ("Columns of the catalogue and its margin", "photoz_10arcs"),
        ("Columns of the index", "photoz_targetid"),
    ],
)
def test_columns_are_those_of_the_files(title: str, part: str, finished_run: Path) -> None:
    section = (DOCS / "data-model.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (\w+)", section, flags=re.MULTILINE)
    for path in sorted((finished_run / "catalogue" / part / "dataset").rglob("*.parquet")):
        schema = pq.read_schema(path)
        kinds = [
            str(field.type.value_type if hasattr(field.type, "value_type") else field.type)
            for field in schema
        ]
        assert listed == list(zip(schema.names, kinds, strict=True))
