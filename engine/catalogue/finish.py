"""Fragments -> leaves -> margin and index -> metadata; collection.properties is the commit.

`finish` reads only what is on disk and can be repeated at any time: a file that is already right
is written again with the same bytes. Memory holds one leaf, one margin or one part of the index,
and the footers of one catalogue.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.atomic import produce_atomic, to_json, write_atomic
from engine.catalogue.coverage import coverage_to_json, sum_coverage
from engine.catalogue.index import INDEX_SCHEMA
from engine.catalogue.layout import (
    COLLECTION_PROPERTIES,
    COMMON_METADATA,
    COVERAGE_FILE,
    INDEX,
    MANIFEST,
    MARGIN,
    METADATA,
    PARTITION_INFO,
    PRIMARY,
    PROPERTIES_FILES,
    SKY_MAPS,
    index_path,
    leaf_path,
)
from engine.catalogue.leaves import (
    file_sha256,
    fragment_name,
    read_parquet,
    sort_rows,
    write_parquet,
)
from engine.catalogue.properties import (
    Properties,
    collection_properties,
    index_properties,
    margin_properties,
    primary_properties,
    properties_text,
)
from engine.catalogue.schema import SPATIAL_INDEX_COLUMN, catalogue_schema
from engine.catalogue.skymap import SkyMap
from engine.catalogue.spill import IndexSpill, MarginSpill
from engine.catalogue.votable import TABLE_DESCRIPTIONS, with_votable
from engine.config import UserError
from engine.journal import Journal, Receipt
from engine.plan import RunPlan
from partitions.healpix import Pixel

Facts = dict[str, dict[str, Any]]
"""Rows, bytes and sha256 of data files, by pixel or part number."""


def leaf_fragments(
    receipts: Iterable[tuple[Pixel, Receipt]], order: int
) -> dict[Pixel, dict[Pixel, int]]:
    """Leaf -> partition -> rows that the partition's receipt promises for it, in pixel order."""
    leaves: dict[Pixel, dict[Pixel, int]] = {}
    for partition, receipt in receipts:
        for number, facts in receipt["leaves"].items():
            leaves.setdefault(Pixel(order, int(number)), {})[partition] = facts["rows"]
    return dict(sorted(leaves.items()))


def finish_catalogue(
    journal: Journal,
    plan: RunPlan,
    allow_partial: bool = False,
    on_leaf: Callable[[Pixel, int], None] | None = None,
) -> Path:
    """Write the catalogue of a run; returns its folder.

    Raises
    ------
    UserError
        If partitions are not done yet (unless `allow_partial`), or a fragment is missing or
        does not hold the rows of its receipt.
    """
    remaining = journal.remaining(plan)
    if remaining and not allow_partial:
        raise UserError(
            f"{journal.folder}: {len(remaining)} of {len(plan.partitions)} partitions are not "
            f"done, for example {remaining[0].pixel}; repeat `engine run`, or add --partial"
        )
    leaves = leaf_fragments(journal.each_receipt(plan), plan.order)
    catalogue = journal.catalogue_folder
    schema = catalogue_schema(plan.quantile_levels)
    withdraw_catalogue(catalogue)
    spill = journal.wip_folder / f"wip-{uuid.uuid4().hex[:8]}-finish"
    try:
        margins = MarginSpill(spill / "margin")
        index = IndexSpill(spill / "index", plan.order)
        sky_map = SkyMap()
        primary_facts: Facts = {}
        for leaf, fragments in leaves.items():
            table = _merge_fragments(journal, leaf, fragments, schema)
            path = leaf_path(catalogue / PRIMARY, leaf)
            primary_facts[str(leaf.number)] = _write_data(table, path, journal)
            margins.add(table, leaf)
            index.add(table.column("TARGETID").to_numpy(), leaf)
            sky_map.add(table.column(SPATIAL_INDEX_COLUMN).to_numpy())
            if on_leaf is not None:
                on_leaf(leaf, table.num_rows)
        margin_facts = {
            str(pixel.number): _write_data(
                margins.read(pixel), leaf_path(catalogue / MARGIN, pixel), journal
            )
            for pixel in margins.pixels()
        }
        index_facts = {
            str(number): _write_data(
                index.read(part), index_path(catalogue / INDEX, number), journal
            )
            for number, part in enumerate(index.parts())
        }
    finally:
        shutil.rmtree(spill, ignore_errors=True)
    is_partial = bool(remaining)
    written = {PRIMARY: primary_facts, MARGIN: margin_facts, INDEX: index_facts}
    data_paths = data_files(catalogue, plan.order, written)
    for name, paths in data_paths.items():
        leaf_schema = INDEX_SCHEMA if name == INDEX else schema
        _remove_others(catalogue / name / "dataset", set(paths))
        _write_schema_files(catalogue / name, leaf_schema, paths, journal)
        if name != INDEX:
            _write_partition_info(catalogue / name, plan.order, written[name], journal)
    for file in SKY_MAPS:
        produce_atomic(catalogue / PRIMARY / file, sky_map.write, journal.wip_folder)
    receipts = (receipt for _, receipt in journal.each_receipt(plan))
    coverage = to_json(coverage_to_json(sum_coverage(receipts)))
    write_atomic(catalogue / COVERAGE_FILE, coverage, journal.wip_folder)
    content = {"plan_digest": plan.digest, "partial": is_partial, **_manifest(catalogue, written)}
    write_atomic(catalogue / MANIFEST, to_json(content), journal.wip_folder)
    fraction = sky_map.sky_fraction
    _write_properties(
        journal,
        {
            PRIMARY: primary_properties(plan, primary_facts, fraction, is_partial),
            MARGIN: margin_properties(plan, margin_facts, is_partial),
            INDEX: index_properties(plan, index_facts, is_partial),
        },
        collection_properties(plan, is_partial),
    )
    return catalogue


def withdraw_catalogue(catalogue: Path) -> None:
    """Remove the properties files: what is there is no catalogue until `finish` is through."""
    (catalogue / COLLECTION_PROPERTIES).unlink(missing_ok=True)
    # At the top there should be none: readers would take them for those of a single catalogue.
    for folder in (catalogue, *(catalogue / name for name in (PRIMARY, MARGIN, INDEX))):
        for name in PROPERTIES_FILES:
            (folder / name).unlink(missing_ok=True)


def data_files(catalogue: Path, order: int, written: dict[str, Facts]) -> dict[str, list[Path]]:
    """Catalogue of the collection -> its Parquet files, in order."""
    files = {
        name: [leaf_path(catalogue / name, Pixel(order, int(number))) for number in written[name]]
        for name in (PRIMARY, MARGIN)
    }
    files[INDEX] = [index_path(catalogue / INDEX, int(number)) for number in written[INDEX]]
    return files


def is_finished(journal: Journal, plan: RunPlan, promised: Mapping[str, int]) -> bool:
    """Whether the published catalogue is whole: of this plan, of all its receipts.

    Parameters
    ----------
    promised
        Number of a leaf -> its rows, over the receipts of all partitions.
    """
    catalogue = journal.catalogue_folder
    try:
        published = json.loads((catalogue / MANIFEST).read_text())
        rows = {number: leaf["rows"] for number, leaf in published["leaves"].items()}
        is_whole = published["plan_digest"] == plan.digest and not published["partial"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    is_published = (catalogue / COLLECTION_PROPERTIES).exists()
    return is_published and is_whole and rows == promised


def _merge_fragments(
    journal: Journal, leaf: Pixel, fragments: dict[Pixel, int], schema: pa.Schema
) -> pa.Table:
    """The rows of one leaf from all partitions that have some, sorted."""
    tables = []
    for partition, rows in fragments.items():
        path = journal.fragments_folder / str(partition) / fragment_name(leaf)
        try:
            table = read_parquet(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{path}: fragment cannot be read ({error}); remove "
                f"{journal.receipts_folder / f'{partition}.json'} and repeat `engine run`"
            ) from None
        if table.num_rows != rows or not table.schema.equals(schema, check_metadata=True):
            raise UserError(
                f"{path}: {table.num_rows} rows, its receipt says {rows} (or another schema); "
                f"remove {journal.receipts_folder / f'{partition}.json'} and repeat `engine run`"
            )
        tables.append(table)
    return sort_rows(pa.concat_tables(tables))


def _write_data(table: pa.Table, path: Path, journal: Journal) -> dict[str, Any]:
    """Write one Parquet file; returns its rows, bytes and sha256."""
    produce_atomic(path, partial(write_parquet, table), journal.wip_folder)
    return {"rows": table.num_rows, **_file_facts(path)}


def _file_facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _remove_others(dataset: Path, wanted: set[Path]) -> None:
    """Data files of an earlier finish that no receipt vouches for any more."""
    for path in dataset.rglob("*.parquet"):
        if path not in wanted:
            path.unlink()


def _write_schema_files(
    folder: Path, schema: pa.Schema, paths: Iterable[Path], journal: Journal
) -> None:
    """`_metadata`: the footers, with statistics; `_common_metadata`: the schema, with meanings."""

    def footers() -> Iterator[pq.FileMetaData]:
        for path in paths:
            footer = pq.read_metadata(path)
            footer.set_file_path(path.relative_to(folder / "dataset").as_posix())
            yield footer

    produce_atomic(
        folder / METADATA,
        # One at a time: all of them in a list would take three times the memory of their sum.
        lambda wip: pq.write_metadata(schema, wip, metadata_collector=footers()),
        journal.wip_folder,
    )
    described = with_votable(schema, folder.name, TABLE_DESCRIPTIONS[folder.name])
    produce_atomic(
        folder / COMMON_METADATA,
        lambda wip: pq.write_metadata(described, wip),
        journal.wip_folder,
    )


def _write_partition_info(folder: Path, order: int, facts: Facts, journal: Journal) -> None:
    lines = ["Norder,Npix", *(f"{order},{number}" for number in facts)]
    text = ("\n".join(lines) + "\n").encode()
    write_atomic(folder / PARTITION_INFO, text, journal.wip_folder)


def _manifest(catalogue: Path, written: dict[str, Facts]) -> dict[str, Any]:
    """What `verify` compares the files with."""
    names = [f"{name}/{file}" for name in written for file in (METADATA, COMMON_METADATA)]
    names += [f"{name}/{PARTITION_INFO}" for name in (PRIMARY, MARGIN)]
    names += [f"{PRIMARY}/{file}" for file in SKY_MAPS]
    names.append(str(COVERAGE_FILE))
    return {
        "leaves": written[PRIMARY],
        "margin": written[MARGIN],
        "index": written[INDEX],
        "files": {name: _file_facts(catalogue / name) for name in names},
    }


def _write_properties(
    journal: Journal, properties: dict[str, Properties], collection: Properties
) -> None:
    """The files that make a catalogue of the folders, the collection's last of all."""
    catalogue, wip_folder = journal.catalogue_folder, journal.wip_folder
    for name, content in properties.items():
        for file in PROPERTIES_FILES:
            write_atomic(catalogue / name / file, properties_text(content), wip_folder)
    write_atomic(catalogue / COLLECTION_PROPERTIES, properties_text(collection), wip_folder)
