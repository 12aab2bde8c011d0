"""What HATS's own validator does not check: rows, leaf by leaf, against all that vouches for them.

A truncated leaf, another pixel's rows, lost rows and a changed type all pass the official
validator; each is named here with its leaf and first bad row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.leaves import MANIFEST, file_sha256, leaf_path, read_parquet, table_columns
from engine.catalogue.read import read_leaf_pixels, read_properties
from engine.catalogue.schema import (
    FLAG_COLUMN,
    POINT_COLUMNS,
    QUANTILE_COLUMN,
    SORT_COLUMNS,
    SPATIAL_INDEX_COLUMN,
    catalogue_schema,
    quantile_array,
    schema_quantile_levels,
)
from engine.config import UserError
from engine.journal import Journal
from engine.targets import encode_targetid
from partitions.healpix import Pixel, radec_to_spatial_index, spatial_index_to_pixel
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS, release_to_photsys


@dataclass
class Verification:
    """What was checked and what failed."""

    num_leaves: int = 0
    num_rows: int = 0
    checks: list[str] = field(default_factory=list)
    """What was compared, in words."""
    failures: list[str] = field(default_factory=list)
    """One line each: leaf, row, both values."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know though nothing is wrong: a partial catalogue, bricks left out."""

    rows_of_brick: Counter[int] = field(default_factory=Counter, repr=False)
    """BRICKID -> rows in all leaves."""

    @property
    def passed(self) -> bool:
        return not self.failures


def verify_catalogue(
    catalogue: Path,
    on_leaf: Callable[[Pixel, int], None] | None = None,
) -> Verification:
    """Check every row of a finished catalogue, and its counts against the run it came from.

    Rows are unique if no leaf holds one twice (checked by TARGETID) and no brick has more rows
    in all leaves together than its Tractor table had (checked against the receipts).

    Raises
    ------
    UserError
        If the folder is no finished catalogue at all.
    """
    properties = read_properties(catalogue)
    pixels = read_leaf_pixels(catalogue)
    result = Verification(checks=["schema", "own pixel", "order", "unique", "targets", "posterior"])
    fail = result.failures.append
    try:
        schema = pq.read_schema(catalogue / "dataset" / "_common_metadata")
        expected = catalogue_schema(schema_quantile_levels(schema))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        fail(f"dataset/_common_metadata: cannot be read ({error})")
        return result
    if not schema.equals(expected, check_metadata=True):
        fail("dataset/_common_metadata: schema is not that of a photo-z catalogue")
    manifest = _read_manifest(catalogue, fail)
    if manifest is not None:
        result.checks.append("sha256")
    for pixel in pixels:
        result.num_leaves += 1
        rows = _verify_leaf(catalogue, pixel, expected, manifest, result)
        result.num_rows += rows
        if on_leaf is not None:
            on_leaf(pixel, rows)
    _verify_files(catalogue, pixels, fail)
    if manifest is not None and set(manifest) != {str(pixel.number) for pixel in pixels}:
        fail(f"{MANIFEST}: lists {len(manifest)} leaves, partition_info.csv {len(pixels)}")
    if int(properties.get("hats_nrows", -1)) != result.num_rows:
        fail(
            f"hats.properties: hats_nrows={properties.get('hats_nrows')}, "
            f"the leaves hold {result.num_rows}"
        )
    _verify_against_run(catalogue, result)
    return result


def _read_manifest(catalogue: Path, fail: Callable[[str], None]) -> dict[str, Any] | None:
    try:
        leaves: dict[str, Any] = json.loads((catalogue / MANIFEST).read_text())["leaves"]
    except (OSError, ValueError, KeyError) as error:
        fail(f"{MANIFEST}: cannot be read ({error}), so no leaf can be compared with its sha256")
        return None
    return leaves


def _verify_leaf(
    catalogue: Path,
    pixel: Pixel,
    expected: pa.Schema,
    manifest: dict[str, Any] | None,
    result: Verification,
) -> int:
    """Check one leaf; returns its number of rows."""
    fail = result.failures.append
    path = leaf_path(catalogue, pixel)
    name = str(path.relative_to(catalogue))
    try:
        table = read_parquet(path)
    except (OSError, pa.ArrowInvalid) as error:
        fail(f"{name}: cannot be read ({error})")
        return 0
    facts = (manifest or {}).get(str(pixel.number))
    if facts is not None:
        if table.num_rows != facts["rows"]:
            fail(f"{name}: {table.num_rows} rows, written with {facts['rows']}")
        found = file_sha256(path)
        if found != facts["sha256"]:
            fail(f"{name}: sha256 {found[:12]}..., written with {facts['sha256'][:12]}...")
    if not table.schema.equals(expected, check_metadata=True):
        fail(f"{name}: {_schema_difference(table.schema, expected)}")
        return int(table.num_rows)
    for what, row, detail in _bad_rows(table, pixel):
        fail(f"{name}: row {row}: {what}: {detail}")
    brickids, counts = np.unique(table.column("BRICKID").to_numpy(), return_counts=True)
    result.rows_of_brick.update(dict(zip(brickids.tolist(), counts.tolist(), strict=True)))
    return int(table.num_rows)


def _schema_difference(found: pa.Schema, expected: pa.Schema) -> str:
    for column in expected:
        index = found.get_field_index(column.name)
        if index < 0:
            return f"column {column.name} is missing"
        if found.field(index).type != column.type:
            return f"column {column.name} is {found.field(index).type}, expected {column.type}"
    extra = sorted(set(found.names) - set(expected.names))
    return f"unknown column {extra[0]}" if extra else "schema metadata or column order differs"


def _bad_rows(table: pa.Table, pixel: Pixel) -> Iterator[tuple[str, int, str]]:
    """The first bad row of each kind: what, row, both values."""
    points = list(POINT_COLUMNS)
    scalar = ["RA", "DEC", "TARGETID", "PHOTSYS", *SORT_COLUMNS, *points, FLAG_COLUMN]
    scalar += ["DESI_TARGET", "BGS_TARGET"]
    columns = table_columns(table, scalar)
    index = columns[SPATIAL_INDEX_COLUMN]

    def first(bad: npt.NDArray[np.bool_]) -> int | None:
        rows = np.flatnonzero(bad)
        return int(rows[0]) if len(rows) else None

    on_sky = (np.abs(columns["DEC"]) <= 90) & (columns["RA"] >= 0) & (columns["RA"] <= 360)
    row = first(~on_sky)
    if row is not None:
        yield "position", row, f"RA={columns['RA'][row]}, DEC={columns['DEC'][row]}"
        return  # Nothing that is computed from positions would mean anything.
    recomputed = radec_to_spatial_index(columns["RA"], columns["DEC"])
    row = first(recomputed != index)
    if row is not None:
        yield "_healpix_29", row, f"{index[row]}, but RA, DEC give {recomputed[row]}"
    own = spatial_index_to_pixel(recomputed, pixel.order)
    row = first(own != pixel.number)
    if row is not None:
        yield "not in its own pixel", row, f"it lies in Npix={own[row]}"
    row = first(_not_after_predecessor([columns[name] for name in SORT_COLUMNS]))
    if row is not None:
        yield "order", row, f"not after the row before it by {', '.join(SORT_COLUMNS)}"
    targetid = columns["TARGETID"]
    try:
        parts = [columns[name] for name in ("RELEASE", "BRICKID", "OBJID")]
        expected_id = encode_targetid(*parts)
    except ValueError as error:
        yield "identity", 0, str(error)
    else:
        row = first(targetid != expected_id)
        if row is not None:
            yield "TARGETID", row, f"{targetid[row]}, its parts give {expected_id[row]}"
    photsys = release_to_photsys(columns["RELEASE"])
    row = first(columns["PHOTSYS"] != photsys)
    if row is not None:
        yield "PHOTSYS", row, f"{columns['PHOTSYS'][row]!r}, RELEASE gives {str(photsys[row])!r}"
    yield from _bad_target_bits(columns, photsys, first)
    unique, counts = np.unique(targetid, return_counts=True)
    if np.any(counts > 1):
        twice = unique[counts > 1][0]
        yield "not unique", int(np.flatnonzero(targetid == twice)[1]), f"TARGETID {twice} again"
    yield from _bad_posteriors(table, columns, first)


def _bad_target_bits(
    columns: dict[str, npt.NDArray[Any]],
    photsys: npt.NDArray[np.str_],
    first: Callable[[npt.NDArray[np.bool_]], int | None],
) -> Iterator[tuple[str, int, str]]:
    """Bits that no cut sets, or those of the other photometric system."""
    for name, bits in (("DESI_TARGET", DESI_TARGET_BITS), ("BGS_TARGET", BGS_TARGET_BITS)):
        allowed = np.zeros(len(photsys), np.int64)
        for system, other in (("N", "_SOUTH"), ("S", "_NORTH")):
            own = sum(1 << bit for bit_name, bit in bits.items() if not bit_name.endswith(other))
            allowed[photsys == system] = own
        row = first((columns[name] & ~allowed) != 0)
        if row is not None:
            yield (
                name,
                row,
                f"{columns[name][row]} has bits that PHOTSYS {str(photsys[row])!r} lacks",
            )
    is_bgs = (columns["DESI_TARGET"] >> DESI_TARGET_BITS["BGS_ANY"] & 1).astype(bool)
    row = first(is_bgs != (columns["BGS_TARGET"] != 0))
    if row is not None:
        yield (
            "BGS_TARGET",
            row,
            f"{columns['BGS_TARGET'][row]}, DESI_TARGET says BGS_ANY {is_bgs[row]}",
        )


def _not_after_predecessor(keys: list[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """(N,) whether a row does not come strictly after the one before it, lexicographically."""
    bad = np.zeros(len(keys[0]), dtype=bool)
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in keys:
        bad[1:] |= tied & (key[1:] < key[:-1])
        tied &= key[1:] == key[:-1]
    bad[1:] |= tied
    return bad


def _bad_posteriors(
    table: pa.Table,
    columns: dict[str, npt.NDArray[Any]],
    first: Callable[[npt.NDArray[np.bool_]], int | None],
) -> Iterator[tuple[str, int, str]]:
    for name in POINT_COLUMNS:
        row = first(~np.isfinite(columns[name]))
        if row is not None:
            yield name, row, f"{columns[name][row]} is not finite"
    limits = ("Z_PHOT_L95", "Z_PHOT_L68", "Z_PHOT_MEDIAN", "Z_PHOT_U68", "Z_PHOT_U95")
    for lower, upper in pairwise(limits):
        row = first(columns[lower] > columns[upper])
        if row is not None:
            yield (
                "limits",
                row,
                (f"{lower}={columns[lower][row]:g} > {upper}={columns[upper][row]:g}"),
            )
    row = first((columns["Z_PHOT_ODDS"] < 0) | (columns["Z_PHOT_ODDS"] > 1))
    if row is not None:
        yield "Z_PHOT_ODDS", row, f"{columns['Z_PHOT_ODDS'][row]:g} is no probability"
    quantiles = quantile_array(table)
    row = first(~np.all(np.isfinite(quantiles), axis=1) | np.any(np.diff(quantiles) < 0, axis=1))
    if row is not None:
        yield QUANTILE_COLUMN, row, "not finite or not increasing"


def _verify_files(catalogue: Path, pixels: list[Pixel], fail: Callable[[str], None]) -> None:
    """No file in dataset/ but the leaves and the schema."""
    dataset = catalogue / "dataset"
    expected = {leaf_path(catalogue, pixel) for pixel in pixels}
    expected |= {dataset / "_common_metadata", dataset / "_metadata"}
    for path in sorted(dataset.rglob("*")):
        if path.is_file() and path not in expected:
            fail(f"{path.relative_to(catalogue)}: not a leaf of this catalogue")


def _verify_against_run(catalogue: Path, result: Verification) -> None:
    """Rows of every brick against the receipts, if the run directory is still around it."""
    journal = Journal(catalogue.resolve().parent)
    if not journal.exists():
        return
    result.checks.append("receipts")
    try:
        plan = journal.read_plan()
        receipts = journal.receipts(plan)
    except UserError as error:
        result.failures.append(str(error))
        return
    if len(receipts) < len(plan.partitions):
        missing = len(plan.partitions) - len(receipts)
        result.notes.append(f"{missing} of {len(plan.partitions)} partitions are not in it")
    quarantined = sum(len(receipt["quarantined"]) for receipt in receipts.values())
    if quarantined:
        result.notes.append(f"{quarantined} bricks were quarantined and are not in it")
    brickid_of = {planned.brick.name: planned.brick.brickid for planned in plan.bricks()}
    read = {
        name: facts["num_sources"]
        for receipt in receipts.values()
        for name, facts in receipt["bricks"].items()
    }
    for name, num_sources in read.items():
        found = result.rows_of_brick[brickid_of[name]]
        if found != num_sources:
            result.failures.append(
                f"brick {name}: {num_sources} primary, non-DUP rows read, "
                f"{found} rows in the leaves"
            )
    if sum(read.values()) != result.num_rows:
        result.failures.append(
            f"receipts: {sum(read.values())} primary, non-DUP rows read, "
            f"the leaves hold {result.num_rows}"
        )
