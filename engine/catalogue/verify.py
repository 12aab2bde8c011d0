"""What HATS's own validator does not check: rows, leaf by leaf, against all that vouches for them.

A truncated leaf, another pixel's rows, lost rows and a changed type all pass the official
validator; each is named here with its leaf and first bad row. Everything is read once, margins up
to nine times; memory holds one leaf, 32 margins, one part of the index and one `_metadata`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.check_files import bad_digests, bad_footers, bad_skymaps, strays
from engine.catalogue.check_index import IndexCheck
from engine.catalogue.check_margin import MarginCheck
from engine.catalogue.check_rows import PosteriorRules, bad_rows, is_on_sky
from engine.catalogue.index import INDEX_SCHEMA
from engine.catalogue.layout import (
    COLLECTION_PROPERTIES,
    COMMON_METADATA,
    INDEX,
    MANIFEST,
    MARGIN,
    PRIMARY,
    PROPERTIES_FILES,
    index_path,
    leaf_path,
)
from engine.catalogue.leaves import file_sha256, read_parquet
from engine.catalogue.properties import COLLECTION_PARTS
from engine.catalogue.read import read_leaf_pixels, read_properties_file
from engine.catalogue.schema import (
    SPATIAL_INDEX_COLUMN,
    catalogue_schema,
    schema_difference,
    schema_quantile_levels,
)
from engine.catalogue.skymap import SkyMap
from engine.catalogue.votable import TABLE_DESCRIPTIONS, with_votable
from engine.config import UserError
from engine.journal import Journal
from partitions.healpix import Pixel, spatial_index_to_pixel

_PARTS = {PRIMARY: "leaves", MARGIN: "margin", INDEX: "index"}
"""Catalogue of the collection -> its entry in the manifest."""


@dataclass
class Verification:
    """What was checked and what failed."""

    num_leaves: int = 0
    num_rows: int = 0
    num_margin_rows: int = 0
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

    Raises
    ------
    UserError
        If the folder is no finished catalogue at all.
    """
    if not (catalogue / COLLECTION_PROPERTIES).exists():
        raise UserError(
            f"{catalogue}: no finished catalogue (no {COLLECTION_PROPERTIES}); "
            "name the catalogue/ folder of a run, or repeat `engine finish`"
        )
    result = Verification()
    verifier = _Verifier(catalogue, result)
    if verifier.rules is not None:
        verifier.check_data(on_leaf)
        verifier.check_files()
        _verify_against_run(catalogue, result)
    return result


class _Verifier:
    """One verification under way; lines of `Verification.failures` come from here."""

    def __init__(self, catalogue: Path, result: Verification) -> None:
        self.catalogue = catalogue
        self.result = result
        self.fail = result.failures.append
        self.rules: PosteriorRules | None = None
        """None if the properties or the schema cannot be used."""
        try:
            self.properties = {
                name: read_properties_file(catalogue / name / PROPERTIES_FILES[1])
                for name in _PARTS
            }
            self.pixels = {name: read_leaf_pixels(catalogue / name) for name in (PRIMARY, MARGIN)}
            self.order = int(self.properties[PRIMARY]["hats_order"])
            ends = [self.properties[PRIMARY][f"engine_redshift_{end}"] for end in ("min", "max")]
            common = pq.read_schema(catalogue / PRIMARY / COMMON_METADATA)
            levels = schema_quantile_levels(common)
            self.schema = catalogue_schema(levels)
            self.rules = PosteriorRules(levels, (float(ends[0]), float(ends[1])))
        except UserError as error:
            self.fail(str(error))
        except (OSError, pa.ArrowInvalid) as error:
            self.fail(f"{PRIMARY}/{COMMON_METADATA}: cannot be read ({error})")
        except (KeyError, ValueError, TypeError) as error:
            self.fail(f"{PRIMARY}: properties or schema are not a photo-z catalogue's ({error!r})")

    def check_data(self, on_leaf: Callable[[Pixel, int], None] | None) -> None:
        """Every leaf, then the margins and the index by themselves."""
        result = self.result
        result.checks += ["schema", "own pixel", "order", "unique", "posterior", "margin", "index"]
        self.manifest = self._read_manifest()
        self.sky_map = SkyMap()
        self.index = IndexCheck(self.catalogue, self.order)
        if self.index.problem is not None:
            self.fail(self.index.problem)
        self.margin = MarginCheck(
            self.catalogue, self.pixels[PRIMARY], self.pixels[MARGIN], self.schema
        )
        for pixel in self.pixels[PRIMARY]:
            result.num_leaves += 1
            rows = self._check_leaf(pixel)
            result.num_rows += rows
            if on_leaf is not None:
                on_leaf(pixel, rows)
        result.failures += self.margin.files()
        self.num_parts = len(
            list((self.catalogue / INDEX / "dataset").glob("index/part.*.parquet"))
        )
        result.failures += self.index.parts(self.num_parts)

    def check_files(self) -> None:
        """Everything around the data."""
        paths = {
            name: [leaf_path(self.catalogue / name, pixel) for pixel in self.pixels[name]]
            for name in (PRIMARY, MARGIN)
        }
        folder = self.catalogue / INDEX
        paths[INDEX] = [index_path(folder, number) for number in range(self.num_parts)]
        result = self.result
        for name in _PARTS:
            result.failures += bad_footers(self.catalogue / name, paths[name])
        result.failures += bad_skymaps(self.catalogue / PRIMARY, self.sky_map)
        result.failures += strays(
            self.catalogue, [path for part in paths.values() for path in part]
        )
        self._check_schemas()
        self._check_margin_facts(paths)
        self._check_counts(paths)
        collection = read_properties_file(self.catalogue / COLLECTION_PROPERTIES)
        for key, value in COLLECTION_PARTS.items():
            if collection.get(key) != value:
                self.fail(f"{COLLECTION_PROPERTIES}: {key}={collection.get(key)}, not {value}")

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((self.catalogue / MANIFEST).read_text())
            parts = {key: manifest[key] for key in (*_PARTS.values(), "files")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.fail(
                f"{MANIFEST}: cannot be read ({error}), so no file can be compared with its sha256"
            )
            return {}
        self.result.checks.append("sha256")
        return parts

    def _check_leaf(self, pixel: Pixel) -> int:
        """Check one leaf; returns its number of rows."""
        path = leaf_path(self.catalogue / PRIMARY, pixel)
        name = str(path.relative_to(self.catalogue))
        try:
            table = read_parquet(path)
        except (OSError, pa.ArrowInvalid) as error:
            self.fail(f"{name}: cannot be read ({error})")
            return 0
        self._check_facts(name, path, table.num_rows, "leaves", pixel.number)
        if not table.schema.equals(self.schema, check_metadata=True):
            self.fail(f"{name}: {schema_difference(table.schema, self.schema)}")
            return int(table.num_rows)
        assert self.rules is not None
        for what, row, detail in bad_rows(table, pixel, self.rules):
            self.fail(f"{name}: row {row}: {what}: {detail}")
        for row, detail in self.index.leaf(table.column("TARGETID").to_numpy(), pixel):
            self.fail(f"{name}: row {row}: index: {detail}")
        index = table.column(SPATIAL_INDEX_COLUMN).to_numpy()
        if self._is_in_pixel(table, index, pixel):
            self.result.failures += self.margin.leaf(table, pixel)
            self.sky_map.add(index)
        brickids, counts = np.unique(table.column("BRICKID").to_numpy(), return_counts=True)
        self.result.rows_of_brick.update(dict(zip(brickids.tolist(), counts.tolist(), strict=True)))
        return int(table.num_rows)

    def _is_in_pixel(self, table: pa.Table, index: Any, pixel: Pixel) -> bool:
        """Whether positions are usable; if not, it has been said, and margins mean nothing."""
        ra_deg, dec_deg = (table.column(name).to_numpy() for name in ("RA", "DEC"))

        return bool(
            is_on_sky(ra_deg, dec_deg).all()
            and (spatial_index_to_pixel(index, pixel.order) == pixel.number).all()
        )

    def _check_facts(self, name: str, path: Path, rows: int, part: str, number: int) -> None:
        """Rows and sha256 of a data file against those it was written with."""
        facts = self.manifest.get(part, {}).get(str(number))
        if facts is None:
            if self.manifest:
                self.fail(f"{name}: not in {MANIFEST}")
            return
        if rows != facts["rows"]:
            self.fail(f"{name}: {rows} rows, written with {facts['rows']}")
        found = file_sha256(path)
        if found != facts["sha256"]:
            self.fail(f"{name}: sha256 {found[:12]}..., written with {facts['sha256'][:12]}...")

    def _check_schemas(self) -> None:
        """`_common_metadata` of all three: schema, units, UCDs and descriptions."""
        for name in _PARTS:
            schema = INDEX_SCHEMA if name == INDEX else self.schema
            expected = with_votable(schema, name, TABLE_DESCRIPTIONS[name])
            try:
                found = pq.read_schema(self.catalogue / name / COMMON_METADATA)
            except (OSError, pa.ArrowInvalid) as error:
                self.fail(f"{name}/{COMMON_METADATA}: cannot be read ({error})")
                continue
            if not found.equals(expected, check_metadata=True):
                difference = schema_difference(found, expected)
                self.fail(f"{name}/{COMMON_METADATA}: {difference}")

    def _check_margin_facts(self, paths: dict[str, list[Path]]) -> None:
        """Rows and sha256 of margins and index parts; digests of what lies around the data."""
        for name in (MARGIN, INDEX):
            for number, path in enumerate(paths[name]):
                key = number if name == INDEX else self.pixels[MARGIN][number].number
                try:
                    rows = pq.read_metadata(path).num_rows
                except (OSError, pa.ArrowInvalid):
                    continue  # It has been said.
                if name == MARGIN:
                    self.result.num_margin_rows += rows
                file = str(path.relative_to(self.catalogue))
                self._check_facts(file, path, rows, _PARTS[name], key)
        self.result.failures += bad_digests(self.catalogue, self.manifest.get("files", {}))

    def _check_counts(self, paths: dict[str, list[Path]]) -> None:
        """Numbers of files and rows: manifest, properties and what is there."""
        rows = {
            PRIMARY: self.result.num_rows,
            MARGIN: self.result.num_margin_rows,
            INDEX: self.index.num_rows,
        }
        for name, part in _PARTS.items():
            listed = len(self.manifest.get(part, paths[name]))
            if listed != len(paths[name]):
                self.fail(
                    f"{MANIFEST}: lists {listed} files of {name}, there are {len(paths[name])}"
                )
            said = self.properties[name].get("hats_nrows")
            if said != str(rows[name]):
                self.fail(
                    f"{name}/{PROPERTIES_FILES[1]}: hats_nrows={said}, the files hold {rows[name]}"
                )
            both = [(self.catalogue / name / file) for file in PROPERTIES_FILES]
            if not both[0].exists() or both[0].read_bytes() != both[1].read_bytes():
                self.fail(f"{name}: {' and '.join(PROPERTIES_FILES)} are not the same")
        if rows[INDEX] != rows[PRIMARY]:
            self.fail(f"{INDEX}: {rows[INDEX]} rows, the leaves hold {rows[PRIMARY]}")


def _verify_against_run(catalogue: Path, result: Verification) -> None:
    """Rows of every brick against the receipts, if the run directory is still around it."""
    journal = Journal(catalogue.resolve().parent)
    if not journal.exists():
        return
    result.checks.append("receipts")
    try:
        plan = journal.read_plan()
        num_receipts = num_quarantined = 0
        read: dict[str, int] = {}
        for _, receipt in journal.each_receipt(plan):
            num_receipts += 1
            num_quarantined += len(receipt["quarantined"])
            read |= {name: facts["num_sources"] for name, facts in receipt["bricks"].items()}
    except UserError as error:
        result.failures.append(str(error))
        return
    if num_receipts < len(plan.partitions):
        missing = len(plan.partitions) - num_receipts
        result.notes.append(f"{missing} of {len(plan.partitions)} partitions are not in it")
    if num_quarantined:
        result.notes.append(f"{num_quarantined} bricks were quarantined and are not in it")
    brickid_of = {planned.brick.name: planned.brick.brickid for planned in plan.bricks()}
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
