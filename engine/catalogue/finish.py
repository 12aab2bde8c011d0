"""Fragments -> leaves -> metadata; the properties file comes last and is the commit.

`finish` reads only what is on disk and can be repeated at any time: a leaf that is already right
is written again with the same bytes.

References
----------
HATS layout and properties: hats 0.11 (astronomy-commons/hats), hats/io/paths.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.atomic import produce_atomic, to_json, write_atomic
from engine.catalogue.coverage import COVERAGE_FILE, coverage_to_json, sum_coverage
from engine.catalogue.leaves import (
    MANIFEST,
    file_sha256,
    fragment_name,
    leaf_path,
    read_parquet,
    sort_rows,
    write_parquet,
)
from engine.catalogue.schema import SPATIAL_INDEX_COLUMN, catalogue_schema
from engine.config import UserError
from engine.journal import Journal, Receipt
from engine.plan import RunPlan
from partitions.healpix import SPATIAL_INDEX_ORDER, Pixel

_DEFAULT_COLUMNS = "TARGETID RA DEC TYPE Z_PHOT_MEDIAN Z_PHOT_STD Z_PHOT_L68 Z_PHOT_U68 Z_PHOT_FLAG"
_PROPERTIES_FILES = ("properties", "hats.properties")


def leaf_fragments(receipts: dict[Pixel, Receipt], order: int) -> dict[Pixel, dict[Pixel, int]]:
    """Leaf -> partition -> rows that the partition's receipt promises for it, in pixel order."""
    leaves: dict[Pixel, dict[Pixel, int]] = {}
    for partition, receipt in receipts.items():
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
    receipts = journal.receipts(plan)
    leaves = leaf_fragments(receipts, plan.order)
    catalogue = journal.catalogue_folder
    schema = catalogue_schema(plan.quantile_levels)
    withdraw_catalogue(catalogue)
    manifest: dict[str, dict[str, Any]] = {}
    for leaf, fragments in leaves.items():
        path = leaf_path(catalogue, leaf)
        table = _merge_fragments(journal, leaf, fragments, schema)
        produce_atomic(path, partial(write_parquet, table), journal.wip_folder)
        manifest[str(leaf.number)] = {
            "rows": table.num_rows,
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        if on_leaf is not None:
            on_leaf(leaf, table.num_rows)
    _remove_other_leaves(catalogue, set(leaves))
    coverage = to_json(coverage_to_json(sum_coverage(receipts.values())))
    write_atomic(catalogue / COVERAGE_FILE, coverage, journal.wip_folder)
    write_metadata(journal, plan, schema, manifest, is_partial=bool(remaining))
    return catalogue


def withdraw_catalogue(catalogue: Path) -> None:
    """Remove the properties files: what is there is no catalogue until `finish` is through."""
    for name in _PROPERTIES_FILES:
        (catalogue / name).unlink(missing_ok=True)


def is_finished(journal: Journal, plan: RunPlan) -> bool:
    """Whether the published catalogue is whole: of this plan, of all its receipts."""
    catalogue = journal.catalogue_folder
    receipts = journal.receipts(plan)
    if len(receipts) < len(plan.partitions):
        return False
    try:
        published = json.loads((catalogue / MANIFEST).read_text())
        rows = {number: leaf["rows"] for number, leaf in published["leaves"].items()}
        is_whole = published["plan_digest"] == plan.digest and not published["partial"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    promised = {
        str(leaf.number): sum(fragments.values())
        for leaf, fragments in leaf_fragments(receipts, plan.order).items()
    }
    is_published = all((catalogue / name).exists() for name in _PROPERTIES_FILES)
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


def _remove_other_leaves(catalogue: Path, leaves: set[Pixel]) -> None:
    """Leaves of an earlier finish that no receipt vouches for any more."""
    wanted = {leaf_path(catalogue, leaf) for leaf in leaves}
    for path in (catalogue / "dataset").glob("Norder=*/Dir=*/Npix=*.parquet"):
        if path not in wanted:
            path.unlink()


def write_metadata(
    journal: Journal,
    plan: RunPlan,
    schema: pa.Schema,
    manifest: dict[str, dict[str, Any]],
    is_partial: bool,
) -> None:
    """All that is beside the leaves: schema, list of leaves, manifest, and last the properties."""
    catalogue, wip_folder = journal.catalogue_folder, journal.wip_folder
    produce_atomic(
        catalogue / "dataset" / "_common_metadata",
        lambda wip: pq.write_metadata(schema, wip),
        wip_folder,
    )
    lines = ["Norder,Npix", *(f"{plan.order},{number}" for number in manifest)]
    partition_info = ("\n".join(lines) + "\n").encode()
    write_atomic(catalogue / "partition_info.csv", partition_info, wip_folder)
    write_atomic(
        catalogue / MANIFEST,
        to_json({"plan_digest": plan.digest, "partial": is_partial, "leaves": manifest}),
        wip_folder,
    )
    properties = _properties(plan, manifest, is_partial)
    text = "".join(f"{key}={value}\n" for key, value in properties.items()).encode()
    for name in _PROPERTIES_FILES:
        write_atomic(catalogue / name, text, wip_folder)


def _properties(
    plan: RunPlan, manifest: dict[str, dict[str, Any]], is_partial: bool
) -> dict[str, object]:
    return {
        "obs_collection": "photoz",
        "dataproduct_type": "object",
        "hats_nrows": sum(leaf["rows"] for leaf in manifest.values()),
        "hats_col_ra": "RA",
        "hats_col_dec": "DEC",
        "hats_cols_default": _DEFAULT_COLUMNS,
        "hats_col_healpix": SPATIAL_INDEX_COLUMN,
        "hats_col_healpix_order": SPATIAL_INDEX_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_order": plan.order,
        "hats_max_rows": max((leaf["rows"] for leaf in manifest.values()), default=0),
        "hats_estsize": sum(leaf["bytes"] for leaf in manifest.values()) // 1024,
        "hats_builder": f"photoz-engine v{version('photoz-engine')}",
        "hats_version": "v1.0",
        "engine_version": version("photoz-engine"),
        "engine_plan_digest": plan.digest,
        "engine_weights_digest": plan.weights_digest,
        "engine_network": plan.network,
        "engine_quantile_levels": " ".join(f"{level:g}" for level in plan.quantile_levels),
        "engine_partial": str(is_partial).lower(),
    }
