"""The leaves of a catalogue before they are read: each there, of its size, with a whole footer.

A query over a damaged catalogue is refused: half an answer looks like a whole one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.catalogue.layout import MANIFEST, leaf_path
from engine.catalogue.read import primary_folder, read_leaf_pixels
from engine.config import UserError
from partitions.healpix import Pixel


@dataclass(frozen=True)
class LeafFile:
    """One leaf and what it was written with."""

    pixel: Pixel
    path: Path
    num_rows: int
    num_bytes: int


def check_leaf_files(catalogue: Path) -> list[LeafFile]:
    """All leaves, in pixel order, after a look at each file's size.

    Raises
    ------
    UserError
        If this is no finished catalogue, its lists of leaves differ, or a leaf is missing or
        has not the size that it was written with.
    """
    primary = primary_folder(catalogue)  # Refuses what is no finished catalogue.
    pixels = sorted(read_leaf_pixels(catalogue))
    path = catalogue / MANIFEST
    try:
        facts = {
            int(number): (int(leaf["rows"]), int(leaf["bytes"]))
            for number, leaf in json.loads(path.read_text())["leaves"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); repeat `engine finish`") from None
    listed = {pixel.number for pixel in pixels}
    if facts.keys() != listed:
        odd = min(facts.keys() ^ listed)
        raise UserError(
            f"{catalogue}: {MANIFEST} lists {len(facts)} leaves and partition_info.csv "
            f"{len(listed)}; Npix={odd} is in one of them only; repeat `engine finish`"
        )
    leaves = [LeafFile(p, leaf_path(primary, p), *facts[p.number]) for p in pixels]
    for leaf in leaves:
        try:
            found = leaf.path.stat().st_size
        except OSError as error:
            raise damaged(catalogue, f"{leaf.path}: leaf is missing ({error.strerror})") from None
        if found != leaf.num_bytes:
            raise damaged(
                catalogue, f"{leaf.path}: {found} bytes, written with {leaf.num_bytes} bytes"
            )
    return leaves


def read_footer(catalogue: Path, leaf: LeafFile, schema: pa.Schema) -> pq.FileMetaData:
    """Parquet metadata of a leaf.

    Raises
    ------
    UserError
        If it cannot be read, or has not the rows and columns that it was written with.
    """
    try:
        footer = pq.read_metadata(leaf.path)
        found = footer.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise damaged(catalogue, f"{leaf.path}: footer cannot be read ({error})") from None
    if footer.num_rows != leaf.num_rows:
        raise damaged(
            catalogue, f"{leaf.path}: {footer.num_rows} rows, written with {leaf.num_rows}"
        )
    if not found.equals(schema):
        raise damaged(catalogue, f"{leaf.path}: its columns are not those of the catalogue")
    return footer


def damaged(catalogue: Path, what: str) -> UserError:
    """The refusal of a damaged catalogue."""
    return UserError(
        f"{what}; the catalogue is damaged and no part of it was answered: see "
        f"`engine verify {catalogue}`, then repeat `engine finish`"
    )
