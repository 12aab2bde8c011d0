"""Ids by way of the index: the same rows as without it and as lsdb, or a refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import lsdb
import numpy as np
import pyarrow as pa
import pytest

import engine.catalogue.leaves as leaves_module
from engine.catalogue.layout import INDEX, MANIFEST, METADATA
from engine.catalogue.leaves import file_sha256, read_parquet, write_parquet
from engine.config import UserError
from engine.query import Box, TargetIds, query
from engine.query.search import Answer

if TYPE_CHECKING:
    from tests.engine.query.conftest import AllSky

NUM_LEAVES = 48
POLE_CLUMP = slice(-8010, -7010)
"""Rows around the north pole: in a few leaves."""
ABSENT = (12, -5, (1 << 63) - 1)


def ask(catalogue: Path, *selections: TargetIds | Box) -> tuple[list[int], int, Answer]:
    with query(catalogue, *selections, columns=["TARGETID"]) as answer:
        found = answer.read()["TARGETID"].to_pylist()
        return sorted(found), answer.count_missing_ids(), answer


@pytest.mark.parametrize(
    ("rows", "number"), [(slice(None), 1), (slice(None), 3000), (POLE_CLUMP, 900)], ids=str
)
def test_same_rows_as_without_index_and_as_lsdb(all_sky: AllSky, rows: slice, number: int) -> None:
    rng = np.random.default_rng(number)
    chosen = rng.choice(all_sky.targetid[rows], number, replace=False).tolist()
    gap = (int(all_sky.targetid.max()) >> 22) + 1 << 22  # Of a brick that no source has.
    between = chosen[0] | 0x3FFFFF  # Of a brick that has sources, another OBJID.
    ids = TargetIds((*chosen, *ABSENT, gap, between, chosen[0]))
    found, num_missing, answer = ask(all_sky.path, ids)
    assert found == sorted(chosen)
    assert num_missing == len(ABSENT) + 2
    assert answer.plan.num_index_groups
    assert (len(answer.plan.kept) < NUM_LEAVES / 2) == (number < 3000)
    without = ask(all_sky.path, replace(ids, use_index=False))
    assert without[:2] == (found, num_missing)
    assert without[2].plan.num_index_groups is None
    opened = lsdb.open_catalog(str(all_sky.path), columns=["TARGETID"])
    with dask.config.set(scheduler="synchronous"):
        by_lsdb = opened.id_search(values={"TARGETID": chosen}).compute()
    assert sorted(by_lsdb["TARGETID"].tolist()) == found


def test_one_id_reads_one_row_group_of_one_leaf(all_sky: AllSky) -> None:
    wanted = TargetIds((int(all_sky.targetid[777]),))
    found, _, answer = ask(all_sky.path, wanted)
    assert found == list(wanted.values)
    assert (len(answer.plan.kept), answer.plan.num_row_groups) == (1, 1)
    assert answer.plan.num_index_groups == 1
    _, _, without = ask(all_sky.path, replace(wanted, use_index=False))
    assert without.plan.footer_bytes > 5 * answer.plan.footer_bytes


def test_no_ids_and_only_absent_ids(all_sky: AllSky) -> None:
    assert ask(all_sky.path, TargetIds(()))[:2] == ([], 0)
    assert ask(all_sky.path, TargetIds(ABSENT))[:2] == ([], len(ABSENT))


def test_with_a_region_the_leaves_decide(all_sky: AllSky) -> None:
    ids = TargetIds(tuple(all_sky.targetid[::5].tolist()))
    found, _, answer = ask(all_sky.path, ids, Box(0, 360, -3, 3))
    near = np.abs(all_sky.dec_deg[::5]) <= 3
    assert found == sorted(all_sky.targetid[::5][near].tolist())
    assert answer.plan.num_index_groups is None


def test_command(engine: Callable[..., str], all_sky: AllSky) -> None:
    ids = ",".join(map(str, all_sky.targetid[:2]))
    arguments = ["query", all_sky.path, "--ids", ids, "--columns", "TARGETID", "--explain"]
    assert "index       1 row groups" in engine(*arguments)
    assert "index" not in engine(*arguments, "--no-index")
    assert "--no-index: is about --ids" in engine("query", all_sky.path, "--no-index", expect=2)


# --- damage --------------------------------------------------------------------------------------


def part_of(catalogue: Path) -> Path:
    return catalogue / INDEX / "dataset" / "index" / "part.0.parquet"


def missing_metadata(catalogue: Path) -> None:
    (catalogue / INDEX / METADATA).unlink()


def other_metadata(catalogue: Path) -> None:
    with (catalogue / INDEX / METADATA).open("ab") as file:
        file.write(b"\0")


def missing_part(catalogue: Path) -> None:
    part_of(catalogue).unlink()


def blank_data(path: Path) -> None:
    """Zeros for all but the magic number and the footer of a Parquet file."""
    content = bytearray(path.read_bytes())
    footer = 8 + int.from_bytes(content[-8:-4], "little")
    content[4:-footer] = bytes(len(content) - footer - 4)
    path.write_bytes(content)


def zeros_inside(catalogue: Path) -> None:
    blank_data(part_of(catalogue))


def _rewrite(catalogue: Path, change: Callable[[np.ndarray, np.ndarray], None]) -> None:
    """The part with other values, the same rows, row groups and limits."""
    table = read_parquet(part_of(catalogue))
    ids, npix = (table.column(name).to_numpy().copy() for name in ("TARGETID", "Npix"))
    change(ids, npix)
    columns = [pa.array(ids), table["Norder"], pa.array(npix)]
    write_parquet(pa.table(columns, schema=table.schema), part_of(catalogue))


def another_leaf(catalogue: Path) -> None:
    _rewrite(catalogue, lambda _, npix: np.copyto(npix, npix ^ np.uint64(1)))


def no_leaf(catalogue: Path) -> None:
    _rewrite(catalogue, lambda _, npix: npix.fill(999))


def other_ids(catalogue: Path) -> None:
    """Every third id inside of a row group is another, still in order: they seem absent."""

    def change(ids: np.ndarray, _: np.ndarray) -> None:
        ids[1:-1:3] += (np.diff(ids)[1:] > 1)[::3]

    _rewrite(catalogue, change)


def an_id_twice(catalogue: Path) -> None:
    """In every row group, inside of its limits."""

    def change(ids: np.ndarray, _: np.ndarray) -> None:
        inside = np.arange(30, len(ids) - 1, 60)
        ids[inside] = ids[inside + 1]

    _rewrite(catalogue, change)


def no_manifest_entry(catalogue: Path) -> None:
    manifest = json.loads((catalogue / MANIFEST).read_text())
    del manifest["files"][f"{INDEX}/{METADATA.as_posix()}"]
    (catalogue / MANIFEST).write_text(json.dumps(manifest))


DAMAGES: dict[Callable[[Path], None], str] = {
    missing_metadata: "No such file",
    other_metadata: "written with",
    missing_part: "part.0.parquet: cannot be read",
    zeros_inside: "part.0.parquet",
    another_leaf: "which has it not",
    no_leaf: "Npix=999, which is no leaf",
    other_ids: "written with",
    an_id_twice: "do not ascend",
    no_manifest_entry: "does not say what it was written with",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_is_refused_and_can_be_left_out(
    all_sky: AllSky, damage: Callable[[Path], None], tmp_path: Path, engine: Callable[..., str]
) -> None:
    catalogue = tmp_path / "catalogue"
    shutil.copytree(all_sky.path, catalogue)
    digest = file_sha256(part_of(catalogue))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves_module, "_ROW_GROUP_ROWS", 120)
        damage(catalogue)
    if damage.__name__ in ("another_leaf", "no_leaf", "other_ids", "an_id_twice"):
        assert file_sha256(part_of(catalogue)) != digest
    path = tmp_path / "ids.txt"
    ids = all_sky.targetid[POLE_CLUMP]
    path.write_text("\n".join(map(str, ids)))
    arguments = ["query", catalogue, "--ids", path, "--columns", "TARGETID", "--limit", "1"]
    text = engine(*arguments, expect=2)
    for word in (DAMAGES[damage], INDEX, "--no-index", "engine finish"):
        assert word in text
    assert text.count("\n") == 1
    assert f"1 of {len(ids):,} rows" in engine(*arguments, "--no-index")


def test_a_leaf_that_cannot_be_read_is_named(all_sky: AllSky, tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue"
    shutil.copytree(all_sky.path, catalogue)
    _, _, answer = ask(catalogue, TargetIds((int(all_sky.targetid[0]),)))
    (leaf,) = answer.plan.kept
    blank_data(leaf)
    with pytest.raises(UserError, match=rf"{leaf.name}: leaf cannot be read"):
        query(catalogue, TargetIds(tuple(all_sky.targetid[:1].tolist())))
