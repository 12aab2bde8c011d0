"""`verify` names the leaf and the row of each corruption that HATS's own validator misses."""

from __future__ import annotations

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
    """A catalogue that agrees with itself, but not with what the partitions read."""
    receipt = sorted((run_copy / "receipts").iterdir())[0]
    content = json.loads(receipt.read_text())
    content["num_sources"] += 1
    receipt.write_text(json.dumps(content))
    assert "primary, non-DUP rows read" in engine("verify", run_copy / "catalogue", expect=1)


def test_json_lists_the_failures(engine: Engine, run_copy: Path) -> None:
    assert json.loads(engine("verify", run_copy / "catalogue", "--json"))["passed"] is True
    leaves(run_copy)[0].unlink()
    result = json.loads(engine("verify", run_copy / "catalogue", "--json", expect=1))
    assert result["passed"] is False
    assert result["failures"]
