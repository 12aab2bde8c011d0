"""The properties files of a collection and of its three catalogues.

No date of creation: the same run gives the same bytes whenever it is finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from engine.catalogue.layout import (
    INDEX,
    INDEX_COLUMN,
    MARGIN,
    MARGIN_RADIUS_ARCSEC,
    PRIMARY,
)
from engine.catalogue.schema import SORT_COLUMNS, SPATIAL_INDEX_COLUMN
from engine.catalogue.skymap import SKYMAP_ORDER
from engine.plan import RunPlan
from partitions.healpix import SPATIAL_INDEX_ORDER

DEFAULT_COLUMNS = "TARGETID RA DEC TYPE Z_PHOT_MEDIAN Z_PHOT_STD Z_PHOT_L68 Z_PHOT_U68 Z_PHOT_FLAG"

Properties = dict[str, object]
FileFacts = Mapping[str, Mapping[str, Any]]
"""Rows, bytes and sha256 of the data files of one catalogue."""


def primary_properties(
    plan: RunPlan, leaves: FileFacts, sky_fraction: float, is_partial: bool
) -> Properties:
    """Of the catalogue that holds every source once."""
    return {
        "obs_collection": PRIMARY,
        "dataproduct_type": "object",
        **_spatial(plan, leaves),
        "hats_skymap_order": SKYMAP_ORDER,
        "moc_sky_fraction": f"{sky_fraction:.8f}",
        **provenance(plan, is_partial),
    }


def margin_properties(plan: RunPlan, leaves: FileFacts, is_partial: bool) -> Properties:
    """Of the rows just outside each pixel."""
    return {
        "obs_collection": MARGIN,
        "dataproduct_type": "margin",
        "hats_primary_table_url": PRIMARY,
        "hats_margin_threshold": MARGIN_RADIUS_ARCSEC,
        **_spatial(plan, leaves),
        **provenance(plan, is_partial),
    }


def index_properties(plan: RunPlan, parts: FileFacts, is_partial: bool) -> Properties:
    """Of the table TARGETID -> leaf."""
    return {
        "obs_collection": INDEX,
        "dataproduct_type": "index",
        "hats_primary_table_url": PRIMARY,
        "hats_index_column": INDEX_COLUMN,
        **_size(parts),
        **provenance(plan, is_partial),
    }


COLLECTION_PARTS = {
    "obs_collection": PRIMARY,
    "hats_primary_table_url": PRIMARY,
    "all_margins": MARGIN,
    "default_margin": MARGIN,
    "all_indexes": f"{INDEX_COLUMN} {INDEX}",
    "default_index": INDEX_COLUMN,
}


def collection_properties(plan: RunPlan, is_partial: bool) -> Properties:
    """Of the whole: what its parts are."""
    return {
        **COLLECTION_PARTS,
        **provenance(plan, is_partial),
    }


def properties_text(properties: Properties) -> bytes:
    """One `key=value` a line."""
    return "".join(f"{key}={value}\n" for key, value in properties.items()).encode()


def _size(files: FileFacts) -> Properties:
    return {
        "hats_nrows": sum(facts["rows"] for facts in files.values()),
        "hats_max_rows": max((facts["rows"] for facts in files.values()), default=0),
        "hats_estsize": sum(facts["bytes"] for facts in files.values()) // 1024,
    }


def _spatial(plan: RunPlan, leaves: FileFacts) -> Properties:
    return {
        "hats_col_ra": "RA",
        "hats_col_dec": "DEC",
        "hats_cols_default": DEFAULT_COLUMNS,
        "hats_cols_sort": " ".join(SORT_COLUMNS[1:]),
        "hats_cols_survey_id": "TARGETID",
        "hats_col_healpix": SPATIAL_INDEX_COLUMN,
        "hats_col_healpix_order": SPATIAL_INDEX_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_order": plan.order,
        **_size(leaves),
    }


def provenance(plan: RunPlan, is_partial: bool) -> Properties:
    """Where the numbers come from: survey, weights, plan and versions."""
    z_min, z_max = plan.redshift_range
    return {
        "hats_builder": f"photoz-engine v{version('photoz-engine')}, pyarrow v{version('pyarrow')}",
        "hats_version": "v1.0",
        "hats_release_date": "2025-08-22",  # Of that version of the standard.
        "prov_progenitor": plan.survey.root.name,
        "engine_version": plan.engine_version,
        "engine_num_bricks": plan.num_bricks,
        "engine_plan_digest": plan.digest,
        "engine_weights_digest": plan.weights_digest,
        "engine_network": plan.network,
        "engine_quantile_levels": " ".join(f"{level:g}" for level in plan.quantile_levels),
        "engine_redshift_min": z_min,
        "engine_redshift_max": z_max,
        "engine_partial": str(is_partial).lower(),
    }
