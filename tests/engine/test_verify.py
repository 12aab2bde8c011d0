"""`verify` names the leaf and the row of each corruption that HATS's own validator misses."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import hats.io.validation
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

Engine = Callable[..., str]
Change = Callable[[pa.Table], pa.Table]


def leaves(run: Path) -> list[Path]:
    return sorted(
        (run / "catalogue/photoz/dataset").rglob("Npix=*.parquet"), key=lambda p: p.stat().st_size
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


def set_value(name: str, row: int, value: float) -> Change:
    return replace(name, set_row(row, value))


def shifted_quantiles(table: pa.Table) -> pa.Table:
    """All of row 0 beyond the grid, still increasing."""
    index = table.schema.get_field_index("Z_PHOT_QUANTILES")
    field = table.schema.field(index)
    values = table.column(index).combine_chunks().flatten().to_numpy().copy()
    values[: field.type.list_size] += 10
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=field.type)
    return table.set_column(index, field, column)


CORRUPTIONS: dict[str, tuple[Change, str]] = {
    "lost rows": (lambda t: t.slice(0, t.num_rows // 3), "written with"),
    "empty": (lambda t: t.slice(0, 0), "0 rows, written with"),
    "a row twice": (lambda t: pa.concat_tables([t, t.slice(t.num_rows - 1)]), "not unique"),
    "unsorted": (lambda t: t.take(list(range(t.num_rows))[::-1]), "row 1: order"),
    "index all zero": (replace("_healpix_29", lambda v: v.fill(0)), "row 0: _healpix_29"),
    "no position": (set_value("DEC", 4, np.nan), "row 4: position"),
    "moved row": (set_value("RA", 3, 200.0), "row 3: not in its own pixel"),
    "dtype": (cast, "column EBV is double, expected float"),
    "missing column": (lambda t: t.drop_columns(["MASKBITS"]), "column MASKBITS is missing"),
    "NaN": (set_value("Z_PHOT_MEAN", 2, np.nan), "row 2: Z_PHOT_MEAN: nan is not finite"),
    "infinite": (set_value("Z_PHOT_STD", 2, np.inf), "row 2: Z_PHOT_STD: inf is not finite"),
    "negative std": (set_value("Z_PHOT_STD", 5, -0.1), "row 5: Z_PHOT_STD: -0.1 is negative"),
    "limits": (set_value("Z_PHOT_L68", 1, 99.0), "row 1: limits"),
    "odds": (set_value("Z_PHOT_ODDS", 0, 1.5), "row 0: Z_PHOT_ODDS"),
    "mean off the grid": (set_value("Z_PHOT_MEAN", 6, 4.01), "row 6: Z_PHOT_MEAN: 4.01 is outside"),
    "mode off the grid": (set_value("Z_PHOT_MODE", 6, -0.01), "row 6: Z_PHOT_MODE: -0.01 is"),
    "quantiles off the grid": (shifted_quantiles, "row 0: Z_PHOT_QUANTILES: 1"),
    "median off its quantile": (
        replace("Z_PHOT_MEDIAN", lambda v: v.__setitem__(7, np.nextafter(v[7], np.float32(9)))),
        "row 7: Z_PHOT_MEDIAN: ",
    ),
    "limit off its quantile": (
        replace("Z_PHOT_U95", lambda v: v.__setitem__(8, v[8] + 1)),
        "row 8: Z_PHOT_U95: ",
    ),
    "quantiles": (decreasing_quantiles, "Z_PHOT_QUANTILES"),
    "identity": (set_value("OBJID", 1, 77777), "row 1: TARGETID"),
    "another source": (set_value("TARGETID", 9, 12345), "row 9: index: TARGETID 12345 is not in"),
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
    assert f"{path.name}: cannot be read" in engine("verify", run_copy / "catalogue", expect=1)


def test_another_pixels_rows(engine: Engine, run_copy: Path) -> None:
    small, large = leaves(run_copy)[0], leaves(run_copy)[-1]
    shutil.copy(small, large)
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert f"{large.name}: row 0: not in its own pixel" in text
    assert f"{large.name}: row 0: index: TARGETID" in text


def margin_file(run: Path) -> Path:
    files = (run / "catalogue/photoz_10arcs/dataset").rglob("Npix=*.parquet")
    return max(files, key=lambda path: path.stat().st_size)


def far_row(run: Path) -> pa.Table:
    """A row of the leaf beside the fullest margin that is not in that margin."""
    margin = pq.read_table(margin_file(run), partitioning=None)
    number = int(margin["_healpix_29"][0].as_py()) >> 48
    leaf = next((run / "catalogue/photoz/dataset").rglob(f"Npix={number}.parquet"))
    rows = pq.read_table(leaf, partitioning=None)
    known = margin["TARGETID"].to_pylist()
    others = [i for i, name in enumerate(rows["TARGETID"].to_pylist()) if name not in known]
    return rows.slice(others[0], 1)


def sort(table: pa.Table) -> pa.Table:
    names = ("_healpix_29", "RELEASE", "BRICKID", "OBJID")
    return table.sort_by([(name, "ascending") for name in names])


MARGIN_CORRUPTIONS: dict[str, tuple[Change, str]] = {
    "a row missing": (lambda t: t.slice(1), r": TARGETID \d+ is missing: row \d+ of photoz/"),
    "another value": (set_value("EBV", 1, 0.5), r": row 1: EBV differs from row \d+ of photoz/"),
    "another list": (decreasing_quantiles, r": row \d+: Z_PHOT_QUANTILES differs from row \d+ of"),
    "a row twice": (
        lambda t: pa.concat_tables([t, t.slice(t.num_rows - 1)]),
        r": row \d+: order: ",
    ),
    "unsorted": (lambda t: t.take(list(range(t.num_rows))[::-1]), ": row 1: order: "),
    "unknown source": (set_value("TARGETID", 0, 99), ": row 0: TARGETID 99 is no row of photoz/"),
    "a row from afar": (set_value("_healpix_29", 0, 5 << 48), ": row 0: of no leaf beside it: it"),
    "dtype": (cast, ": column EBV is double, expected float"),
}


@pytest.mark.parametrize("name", MARGIN_CORRUPTIONS)
def test_margin_corruption_is_named(engine: Engine, run_copy: Path, name: str) -> None:
    change, words = MARGIN_CORRUPTIONS[name]
    path = margin_file(run_copy)
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert re.search(f"photoz_10arcs/.*{path.name}{words}", text), text


def test_margin_row_too_far_or_inside(engine: Engine, run_copy: Path) -> None:
    path = margin_file(run_copy)
    table = pq.read_table(path, partitioning=None)
    far = far_row(run_copy)
    own_leaf = next((run_copy / "catalogue/photoz/dataset").rglob(path.name))
    inside = pq.read_table(own_leaf, partitioning=None).slice(0, 1)
    pq.write_table(sort(pa.concat_tables([table, far, inside])), path)
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    text = engine("verify", run_copy / "catalogue", expect=1)
    name = re.escape(path.name)
    targetid = far["TARGETID"][0].as_py()
    assert re.search(rf"{name}: row \d+: TARGETID {targetid} is not within 10 arcsec", text), text
    assert re.search(rf"{name}: row \d+: inside: it lies in Npix=\d+ itself", text), text


def test_a_margin_that_is_gone(engine: Engine, run_copy: Path) -> None:
    path = margin_file(run_copy)
    info = run_copy / "catalogue/photoz_10arcs/partition_info.csv"
    number = path.stem.removeprefix("Npix=")
    info.write_text(info.read_text().replace(f"5,{number}\n", ""))
    path.unlink()
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert re.search(rf"{re.escape(path.name)}: missing, though row \d+ of photoz/", text), text


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_index(path: Path, change: Change) -> None:
    pq.write_table(change(pq.read_table(path)), path)


INDEX_CORRUPTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another leaf": (
        lambda p: change_index(p, replace("Npix", set_row(1, 77))),
        r"photoz/.*Npix=\d+.parquet: row \d+: index: TARGETID \d+ is in Npix=77 by photoz_targetid",
    ),
    "a row missing": (
        lambda p: change_index(p, lambda t: t.slice(1)),
        r"photoz/.*: row \d+: index: TARGETID \d+ is not in photoz_targetid",
    ),
    "a row twice": (
        lambda p: change_index(p, lambda t: pa.concat_tables([t.slice(0, 1), t])),
        r"part.0.parquet: row 1: not unique: TARGETID \d+ in Npix=\d+ and Npix=",
    ),
    "unsorted": (
        lambda p: change_index(p, lambda t: t.take([1, 0, *range(2, t.num_rows)])),
        r"part.0.parquet: row 1: order: TARGETID",
    ),
    "another order": (
        lambda p: change_index(p, replace("Norder", set_row(2, 6))),
        "part.0.parquet: row 2: Norder=6, the leaves have 5",
    ),
    "truncated": (truncate, "part.0.parquet: cannot be read"),
}


@pytest.mark.parametrize("name", INDEX_CORRUPTIONS)
def test_index_corruption_is_named(engine: Engine, run_copy: Path, name: str) -> None:
    damage, words = INDEX_CORRUPTIONS[name]
    damage(run_copy / "catalogue/photoz_targetid/dataset/index/part.0.parquet")
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert re.search(words, text), text


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text))

    return change


def other_counts(path: Path) -> None:
    with fits.open(path, mode="update") as file:
        file[1].data["VALUE"][0] += 1


FILE_CORRUPTIONS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "nrows": (
        "photoz/hats.properties",
        edit(r"hats_nrows=\d+", "hats_nrows=1"),
        "photoz/hats.properties: hats_nrows=1, the files hold",
    ),
    "nrows of the margin": (
        "photoz_10arcs/hats.properties",
        edit(r"hats_nrows=\d+", "hats_nrows=1"),
        "photoz_10arcs/hats.properties: hats_nrows=1, the files hold",
    ),
    "one properties file": (
        "photoz/properties",
        edit("hats_version=v1.0", "hats_version=v0.1"),
        "photoz: properties and hats.properties are not the same",
    ),
    "no margin in the collection": (
        "collection.properties",
        edit("all_margins=.*\ndefault_margin=.*\n", ""),
        "collection.properties: all_margins=None, not photoz_10arcs",
    ),
    "sky map": (
        "photoz/point_map.fits",
        other_counts,
        "photoz/point_map.fits: pixel ",
    ),
    "meaning of columns": (
        "photoz/dataset/_common_metadata",
        lambda path: pq.write_metadata(
            pq.read_schema(path).with_metadata(
                {k: v for k, v in pq.read_schema(path).metadata.items() if b"IVOA" not in k}
            ),
            path,
        ),
        "photoz/dataset/_common_metadata: schema metadata",
    ),
}


@pytest.mark.parametrize("name", FILE_CORRUPTIONS)
def test_file_corruption_is_named(engine: Engine, run_copy: Path, name: str) -> None:
    file, damage, words = FILE_CORRUPTIONS[name]
    damage(run_copy / "catalogue" / file)
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    assert words in engine("verify", run_copy / "catalogue", expect=1)


def test_stale_metadata_is_named(engine: Engine, run_copy: Path) -> None:
    """Footers of one time, leaves of another, digests of neither told apart."""
    path = leaves(run_copy)[-1]
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table, path)
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert f"photoz/dataset/_metadata: row group 0 of Norder=5/Dir=0/{path.name} differs" in text


@pytest.mark.parametrize("stray", ["photoz/dataset/_tmp/a.parquet", ".x/y", "_old/journal.jsonl"])
def test_stray_folders(engine: Engine, run_copy: Path, stray: str) -> None:
    path = run_copy / "catalogue" / stray
    path.parent.mkdir(parents=True)
    shutil.copy(leaves(run_copy)[0], path)
    assert hats.io.validation.is_valid_catalog(str(run_copy / "catalogue"), strict=True)
    assert f"{stray}: not a file" in engine("verify", run_copy / "catalogue", expect=1)


def test_missing_and_stray_files(engine: Engine, run_copy: Path) -> None:
    leaf = leaves(run_copy)[0]
    (leaf.parent / "notes.txt").write_text("x")
    assert "notes.txt: not a file" in engine("verify", run_copy / "catalogue", expect=1)
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
    home = first.stem.removeprefix("Npix=")
    words = rf"{second.name}: row \d+: index: TARGETID \d+ is in Npix={home} by photoz_targetid"
    assert re.search(words, text), text


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
