"""Columns of the catalogue: one Arrow schema for every leaf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.targets import encode_targetid
from partitions.healpix import radec_to_spatial_index
from partitions.schema import BANDS, QUALITY_BITS, SOURCE_TYPES
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS, release_to_photsys

SPATIAL_INDEX_COLUMN = "_healpix_29"
SORT_COLUMNS = (SPATIAL_INDEX_COLUMN, "RELEASE", "BRICKID", "OBJID")
"""Row order of a leaf: position first, identity to break ties, so the bytes are reproducible."""

POINT_COLUMNS = {
    "Z_PHOT_MEAN": "mean",
    "Z_PHOT_MEDIAN": "median",
    "Z_PHOT_MODE": "mode",
    "Z_PHOT_STD": "std",
    "Z_PHOT_L68": "l68",
    "Z_PHOT_U68": "u68",
    "Z_PHOT_L95": "l95",
    "Z_PHOT_U95": "u95",
    "Z_PHOT_ODDS": "odds",
}
"""Catalogue column -> name in the posterior summary."""

QUANTILE_COLUMN = "Z_PHOT_QUANTILES"
FLAG_COLUMN = "Z_PHOT_FLAG"

_BAND_COLUMNS = {"FLUX": "flux", "FLUX_IVAR": "flux_ivar", "MW_TRANSMISSION": "mw_transmission"}

Rows: TypeAlias = pa.Table
"""Catalogue rows in memory."""
RowSchema: TypeAlias = pa.Schema

Columns = Mapping[str, npt.NDArray[Any]]


def catalogue_schema(quantile_levels: tuple[float, ...]) -> pa.Schema:
    """The Arrow schema, with quantile levels, flag and target bits in its metadata."""
    fields = [
        (SPATIAL_INDEX_COLUMN, pa.int64()),
        ("RELEASE", pa.int16()),
        ("BRICKID", pa.int32()),
        ("OBJID", pa.int32()),
        ("TARGETID", pa.int64()),
        ("RA", pa.float64()),
        ("DEC", pa.float64()),
        ("TYPE", pa.string()),
        ("EBV", pa.float32()),
        ("MASKBITS", pa.int32()),
        ("PHOTSYS", pa.string()),
        ("DESI_TARGET", pa.int64()),
        ("BGS_TARGET", pa.int64()),
        *((f"{stem}_{band.upper()}", pa.float32()) for stem in _BAND_COLUMNS for band in BANDS),
        *((name, pa.float32()) for name in POINT_COLUMNS),
        # Parquet calls the values of a list `element`; another name would not survive a round trip.
        (QUANTILE_COLUMN, pa.list_(pa.field("element", pa.float32()), len(quantile_levels))),
        (FLAG_COLUMN, pa.int32()),
    ]
    metadata = {
        "photoz_quantile_levels": json.dumps(list(quantile_levels)),
        "photoz_flag_bits": json.dumps(QUALITY_BITS),
        "photoz_desi_target_bits": json.dumps(DESI_TARGET_BITS),
        "photoz_bgs_target_bits": json.dumps(BGS_TARGET_BITS),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields], metadata)


def schema_quantile_levels(schema: pa.Schema) -> tuple[float, ...]:
    """The quantile levels that a leaf's schema carries.

    Raises
    ------
    KeyError
        If the schema is not this catalogue's.
    """
    return tuple(json.loads(schema.metadata[b"photoz_quantile_levels"]))


def quantile_array(table: pa.Table) -> npt.NDArray[np.float32]:
    """(N, Q) quantiles of the posteriors."""
    lists = table.column(QUANTILE_COLUMN).combine_chunks()
    values: npt.NDArray[np.float32] = lists.flatten().to_numpy()
    return values.reshape(table.num_rows, lists.type.list_size)


def take_rows(
    table: pa.Table, keep: npt.NDArray[np.bool_], new: Columns, schema: pa.Schema
) -> pa.Table:
    """The rows where `keep` (N,) is true, as `schema`: columns of the table and new ones, (N,)."""
    kept = table.filter(pa.array(keep))
    columns = [
        pa.array(new[field.name][keep], type=field.type)
        if field.name in new
        else kept.column(field.name)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def schema_difference(found: pa.Schema, expected: pa.Schema) -> str:
    """The first difference between two schemas, in words."""
    for column in expected:
        index = found.get_field_index(column.name)
        if index < 0:
            return f"column {column.name} is missing"
        if found.field(index).type != column.type:
            return f"column {column.name} is {found.field(index).type}, expected {column.type}"
    extra = sorted(set(found.names) - set(expected.names))
    return f"unknown column {extra[0]}" if extra else "schema metadata or column order differs"


def rows_to_table(
    arrays: Columns, summary: Columns, quality: npt.NDArray[np.int32], schema: pa.Schema
) -> pa.Table:
    """Catalogue rows of N sources.

    Parameters
    ----------
    arrays
        The declared arrays of a brick (partitions.schema.ARRAY_SPECS).
    summary
        Posterior summary: the values of `POINT_COLUMNS`, each (N,), and `quantiles` (N, Q).
    quality
        (N,) QUALITY_BITS, the model's own included.
    """
    columns: dict[str, Any] = {
        SPATIAL_INDEX_COLUMN: radec_to_spatial_index(arrays["ra_deg"], arrays["dec_deg"]),
        "RELEASE": arrays["release"],
        "BRICKID": arrays["brickid"],
        "OBJID": arrays["objid"],
        "TARGETID": encode_targetid(arrays["release"], arrays["brickid"], arrays["objid"]),
        "RA": arrays["ra_deg"],
        "DEC": arrays["dec_deg"],
        "TYPE": np.array(SOURCE_TYPES)[arrays["type_code"]].tolist(),
        "EBV": arrays["ebv"],
        "MASKBITS": arrays["maskbits"],
        "PHOTSYS": release_to_photsys(arrays["release"]).tolist(),
        "DESI_TARGET": arrays["desi_target"],
        "BGS_TARGET": arrays["bgs_target"],
        FLAG_COLUMN: quality,
    }
    for stem, name in _BAND_COLUMNS.items():
        for index, band in enumerate(BANDS):
            columns[f"{stem}_{band.upper()}"] = np.ascontiguousarray(arrays[name][:, index])
    for column, name in POINT_COLUMNS.items():
        columns[column] = summary[name]
    quantiles = np.ascontiguousarray(summary["quantiles"], dtype=np.float32)
    columns[QUANTILE_COLUMN] = pa.FixedSizeListArray.from_arrays(
        pa.array(quantiles.reshape(-1)), type=schema.field(QUANTILE_COLUMN).type
    )
    return pa.table([pa.array(columns[f.name], type=f.type) for f in schema], schema=schema)
