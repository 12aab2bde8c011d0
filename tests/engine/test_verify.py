"""`verify` names the leaf and the row of each corruption that HATS's own validator misses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import hats.io.validation
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Engine = Callable[..., str]
Change = Callable[[pa.Table], pa.Table]


def leaves(run: Path) -> list[Path]:
    return sorted(
        (run / "catalogue/dataset").rglob("Npix=*.parquet"), key=lambda p: p.stat().st_size
    )


def replace(name: str, change: Callable[[np.ndarray], None]) -> Change:
    def apply(table: pa.Table) -> pa.Table:
        index = table.schema.get_field_index(name)
        values = table.column(name).to_numpy().copy()
        change(values)
        field = table.schema.field(index)
        return table.set_column(index, field, pa.array(values, type=field.type))

    return apply


def set_row(row: int, value: float) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[row] = value

    return change


def decreasing_quantiles(table: pa.Table) -> pa.Table:
    index = table.schema.get_field_index("Z_PHOT_QUANTILES")
    field = table.schema.field(index)
    values = table.column(index).combine_chunks().flatten().to_numpy().copy()
    values[-1] = -1
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=field.type)
    return table.set_column(index, field, column)


def cast(table: pa.Table) -> pa.Table:
    index = table.schema.get_field_index("EBV")
    field = pa.field("EBV", pa.float64(), nullable=False)
    return table.set_column(index, field, table.column("EBV").cast(pa.float64()))


CORRUPTIONS: dict[str, tuple[Change, str]] = {
    "lost rows": (lambda t: t.slice(0, t.num_rows // 3), "written with"),
    "empty": (lambda t: t.slice(0, 0), "0 rows, written with"),
    "a row twice": (lambda t: pa.concat_tables([t, t.slice(t.num_rows - 1)]), "not unique"),
    "unsorted": (lambda t: t.take(list(range(t.num_rows))[::-1]), "order"),
    "index all zero": (replace("_healpix_29", lambda v: v.fill(0)), "row 0: _healpix_29"),
    "no position": (replace("DEC", set_row(4, np.nan)), "row 4: position"),
    "moved row": (replace("RA", set_row(3, 200.0)), "row 3: not in its own pixel"),
    "dtype": (cast, "column EBV is double, expected float"),
    "missing column": (lambda t: t.drop_columns(["MASKBITS"]), "column MASKBITS is missing"),
    "NaN": (replace("Z_PHOT_MEAN", set_row(2, np.nan)), "row 2: Z_PHOT_MEAN: nan is not finite"),
    "limits": (replace("Z_PHOT_L68", set_row(1, 99.0)), "row 1: limits"),
    "odds": (replace("Z_PHOT_ODDS", set_row(0, 1.5)), "row 0: Z_PHOT_ODDS"),
    "quantiles": (decreasing_quantiles, "Z_PHOT_QUANTILES"),
    "identity": (replace("OBJID", set_row(1, 77777)), "row 1: TARGETID"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_named(engine: Engine, run_copy: Path, name: str) -> None:
    change, words = CORRUPTIONS[name]
    path = leaves(run_copy)[-1]
    table = change(pq.read_table(path, partitioning=None))
    pq.write_table(table, path)
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert any(words in line and path.name in line for line in text.splitlines()), text


def test_truncated_leaf_passes_hats_but_not_us(engine: Engine, run_copy: Path) -> None:
    path = leaves(run_copy)[-1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    assert path.name in engine("verify", run_copy / "catalogue", expect=1)


def test_another_pixels_rows(engine: Engine, run_copy: Path) -> None:
    small, large = leaves(run_copy)[0], leaves(run_copy)[-1]
    shutil.copy(small, large)
    assert "not in its own pixel" in engine("verify", run_copy / "catalogue", expect=1)


def test_missing_and_stray_files(engine: Engine, run_copy: Path) -> None:
    leaf = leaves(run_copy)[0]
    (leaf.parent / "notes.txt").write_text("x")
    assert "notes.txt: not a leaf" in engine("verify", run_copy / "catalogue", expect=1)
    leaf.unlink()
    assert f"{leaf.name}: cannot be read" in engine("verify", run_copy / "catalogue", expect=1)


def test_counts_against_the_receipts(engine: Engine, run_copy: Path) -> None:
    """A catalogue that agrees with itself, but not with what was read of a brick."""
    for receipt in sorted((run_copy / "receipts").iterdir()):
        content = json.loads(receipt.read_text())
        name = next((n for n, facts in content["bricks"].items() if facts["num_sources"]), None)
        if name is not None:
            content["bricks"][name]["num_sources"] += 1
            receipt.write_text(json.dumps(content))
            break
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert f"brick {name}: " in text
    assert "primary, non-DUP rows read" in text


def test_a_row_in_two_leaves(engine: Engine, run_copy: Path) -> None:
    """The same source again, in the leaf of another position: each leaf alone is sound."""
    first, second = leaves(run_copy)[-2:]
    rows, other = pq.read_table(first, partitioning=None), pq.read_table(second, partitioning=None)
    copied = rows.slice(0, 1)
    for column in ("_healpix_29", "RA", "DEC"):
        index = copied.schema.get_field_index(column)
        value = other.column(column).slice(0, 1)
        copied = copied.set_column(index, copied.schema.field(index), value)
    order = [("_healpix_29", "ascending"), ("RELEASE", "ascending"), ("BRICKID", "ascending")]
    joined = pa.concat_tables([other, copied]).sort_by([*order, ("OBJID", "ascending")])
    pq.write_table(joined, second)
    manifest = run_copy / "catalogue" / "_engine" / "leaves.json"
    content = json.loads(manifest.read_text())
    number = second.stem.removeprefix("Npix=")
    digest = hashlib.sha256(second.read_bytes()).hexdigest()
    content["leaves"][number].update(rows=joined.num_rows, sha256=digest)
    manifest.write_text(json.dumps(content))
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert "not unique" not in text
    assert "primary, non-DUP rows read" in text


def test_a_partial_catalogue_says_so(engine: Engine, run_copy: Path) -> None:
    sorted((run_copy / "receipts").iterdir())[0].unlink()
    engine("finish", run_copy, "--partial")
    assert "note: 1 of" in engine("verify", run_copy / "catalogue")


def test_json_lists_the_failures(engine: Engine, run_copy: Path) -> None:
    assert json.loads(engine("verify", run_copy / "catalogue", "--json"))["passed"] is True
    leaves(run_copy)[0].unlink()
    result = json.loads(engine("verify", run_copy / "catalogue", "--json", expect=1))
    assert result["passed"] is False
    assert result["failures"]
