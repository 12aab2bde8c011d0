"""A damaged catalogue is refused with the leaf's name; it never answers with what is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.config import UserError
from engine.query import Cone, query

MANIFEST = Path("_engine") / "leaves.json"


def largest_leaf(catalogue: Path) -> Path:
    return max(catalogue.rglob("Npix=*.parquet"), key=lambda path: path.stat().st_size)


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def rewrite_manifest(catalogue: Path, leaf: Path) -> None:
    """As if the leaf had been written like this."""
    path = catalogue / MANIFEST
    manifest = json.loads(path.read_text())
    number = leaf.stem.split("=")[1]
    manifest["leaves"][number]["bytes"] = leaf.stat().st_size
    path.write_text(json.dumps(manifest))


def missing(catalogue: Path, leaf: Path) -> None:
    leaf.unlink()


def truncated(catalogue: Path, leaf: Path) -> None:
    cut(leaf, leaf.stat().st_size // 2)


def no_footer(catalogue: Path, leaf: Path) -> None:
    cut(leaf, leaf.stat().st_size // 2)
    rewrite_manifest(catalogue, leaf)


def fewer_rows(catalogue: Path, leaf: Path) -> None:
    pq.write_table(pq.ParquetFile(leaf).read().slice(0, 5), leaf)
    rewrite_manifest(catalogue, leaf)


def another_column(catalogue: Path, leaf: Path) -> None:
    pq.write_table(pq.ParquetFile(leaf).read().drop(["EBV"]), leaf)
    rewrite_manifest(catalogue, leaf)


def zeros_inside(catalogue: Path, leaf: Path) -> None:
    """Size and footer are right, the data are not."""
    with leaf.open("r+b") as file:
        file.seek(4)
        file.write(bytes(leaf.stat().st_size // 2))


DAMAGES: dict[Callable[[Path, Path], None], str] = {
    missing: "leaf is missing",
    truncated: "written with",
    no_footer: "footer cannot be read",
    fewer_rows: "5 rows, written with",
    another_column: "its columns are not those of the catalogue",
    zeros_inside: "",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_refused_with_the_leaf(
    run_copy: Path, damage: Callable[[Path, Path], None], tmp_path: Path, engine: Callable[..., str]
) -> None:
    catalogue = run_copy / "catalogue"
    leaf = largest_leaf(catalogue)
    damage(catalogue, leaf)
    output = tmp_path / "out" / "all.csv"
    text = engine("query", catalogue, "--output", output, expect=2)
    for word in (leaf.name, "engine verify", DAMAGES[damage]):
        assert word in text
    assert text.count("\n") == 1
    assert list(output.parent.iterdir()) == []


def test_a_missing_leaf_elsewhere_is_refused_too(run_copy: Path) -> None:
    catalogue = run_copy / "catalogue"
    largest_leaf(catalogue).unlink()
    with pytest.raises(UserError, match="leaf is missing"):
        query(catalogue, Cone(200, -80, 1))


def test_what_is_no_catalogue_is_refused(run_copy: Path, tmp_path: Path) -> None:
    catalogue = run_copy / "catalogue"
    with pytest.raises(UserError, match="no finished catalogue"):
        query(run_copy)
    copy = tmp_path / "copy"
    shutil.copytree(catalogue, copy)
    lines = (copy / "photoz" / "partition_info.csv").read_text().splitlines()
    (copy / "photoz" / "partition_info.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match=r"Npix=\d+ is in one of them only"):
        query(copy)
    (catalogue / MANIFEST).unlink()
    with pytest.raises(UserError, match=r"leaves\.json: cannot be read"):
        query(catalogue)
