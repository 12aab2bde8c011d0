"""The HATS collection on disk: the names of its parts.

    catalogue/collection.properties         what the parts are; written last, it is the commit
    catalogue/photoz/                       the primary catalogue: every source once
    catalogue/photoz_10arcs/                its margin: for each pixel the rows just outside it
    catalogue/photoz_targetid/              its index: TARGETID -> Norder, Npix
    catalogue/_engine/leaves.json           rows, bytes and sha256 of every file
    catalogue/_engine/coverage.json         the area behind the rows

References
----------
HATS layout and properties: hats 0.11 (astronomy-commons/hats), hats/io/paths.py and
hats/catalog/dataset/{table,collection}_properties.py.
"""

from __future__ import annotations

from pathlib import Path

from partitions.healpix import Pixel

PRIMARY = "photoz"
MARGIN_RADIUS_ARCSEC = 10.0
"""A cross-match may use any radius up to this one."""
MARGIN = f"{PRIMARY}_{MARGIN_RADIUS_ARCSEC:g}arcs"
INDEX_COLUMN = "TARGETID"
INDEX = f"{PRIMARY}_{INDEX_COLUMN.lower()}"

COLLECTION_PROPERTIES = "collection.properties"
PROPERTIES_FILES = ("properties", "hats.properties")
"""The same text twice: HATS reads either name."""

MANIFEST = Path("_engine") / "leaves.json"
"""Rows, bytes and sha256 of every leaf, inside the collection."""

COVERAGE_FILE = Path("_engine") / "coverage.json"
"""The area behind the rows, and where target cuts could not be made, inside the collection."""

COMMON_METADATA = Path("dataset") / "_common_metadata"
METADATA = Path("dataset") / "_metadata"
PARTITION_INFO = "partition_info.csv"
SKY_MAPS = ("skymap.fits", "point_map.fits")
"""The same map twice: HATS reads coverage from the older name only."""


def leaf_path(folder: Path, pixel: Pixel) -> Path:
    """Path of one leaf of the primary or of the margin catalogue in `folder`.

    dataset/Norder=<k>/Dir=<10000 * (npix // 10000)>/Npix=<npix>.parquet
    """
    directory = f"Norder={pixel.order}/Dir={pixel.number // 10000 * 10000}"
    return folder / "dataset" / directory / f"Npix={pixel.number}.parquet"


def index_path(folder: Path, number: int) -> Path:
    """Path of one part of the index catalogue in `folder`; parts are in order of TARGETID."""
    return folder / "dataset" / "index" / f"part.{number}.parquet"
