"""CITATION.cff says what pyproject.toml says, in the fields that CFF 1.2.0 asks for.

References
----------
Citation File Format 1.2.0, schema-guide.md (citation-file-format/citation-file-format).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
REQUIRED = {"authors", "cff-version", "message", "title"}
REFERENCE_REQUIRED = {"authors", "title", "type"}


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    data = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert isinstance(data, dict)
    return data


def test_it_agrees_with_the_package(citation: dict[str, Any]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for key, name in (("title", "name"), ("version", "version"), ("license", "license")):
        assert citation[key] == project[name]


def test_required_fields(citation: dict[str, Any]) -> None:
    assert set(citation) >= REQUIRED
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    for reference in citation["references"]:
        assert set(reference) >= REFERENCE_REQUIRED
    people = [*citation["authors"], *(a for r in citation["references"] for a in r["authors"])]
    for author in people:
        # An entity has a name, a person the two others; the schema allows no mixture.
        assert set(author) in ({"name"}, {"family-names", "given-names"})


def test_the_paper_is_named(citation: dict[str, Any]) -> None:
    identifiers = [i["value"] for r in citation["references"] for i in r["identifiers"]]
    assert "arXiv:2505.24175" in identifiers


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert f"\n## [{version}]" in (REPOSITORY / "CHANGELOG.md").read_text()
