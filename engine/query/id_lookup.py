"""TARGETID -> leaf by the catalogue's index, which is believed in nothing that is not proved.

That a source is in a leaf is proved by the leaf, whose TARGETIDs choose the row groups to read.
That the index has no such source is proved by the sha256 of the part that would hold it. So a wrong
index is refused and never makes half an answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.catalogue.index import IndexReader
from engine.catalogue.layout import INDEX, INDEX_COLUMN, MANIFEST, METADATA, index_path
from engine.catalogue.leaves import file_sha256, read_parquet
from engine.config import UserError
from engine.query.coverage import IntArray
from engine.query.leaf_files import LeafFile, damaged
from partitions.healpix import Pixel


@dataclass(frozen=True)
class IdLookup:
    """What the index says of the sources that are asked for."""

    ids_of_leaf: dict[Pixel, IntArray]
    """Leaf -> sorted TARGETIDs that the index has there."""
    num_row_groups: int
    """Row groups of the index that were read."""
    footer_bytes: int
    """The index's `_metadata`."""


def find_leaves(catalogue: Path, leaves: list[LeafFile], targetid: IntArray) -> IdLookup:
    """Look sources up in the index; `targetid` is sorted and unique, (N,).

    Raises
    ------
    UserError
        If what is read of the index is missing or damaged, or a source is not in it and the part
        that would hold it is not the one that was written.
    """
    written = _written_files(catalogue)
    _check_sha256(catalogue, METADATA.as_posix(), written)
    reader = _open(catalogue)
    npix = np.full(len(targetid), -1, dtype=np.int64)
    num_row_groups = 0
    files = set()
    for group, begin, end in reader.groups_of(targetid):
        known, pixels = _read_group(catalogue, reader, group)
        # Within the row group: its last TARGETID is its largest.
        place = np.searchsorted(known, targetid[begin:end])
        hit = known[place] == targetid[begin:end]
        npix[begin:end][hit] = pixels[place[hit]]
        num_row_groups += 1
        if not hit.all():
            files.add(reader.row_groups[group][0])
    for file in sorted(files):
        _check_sha256(catalogue, f"dataset/{file}", written)
    pixel_of = {leaf.pixel.number: leaf.pixel for leaf in leaves}
    numbers = np.unique(npix[npix != -1]).tolist()
    for number in numbers:
        if number not in pixel_of:
            raise _bad_index(catalogue, f"it names Npix={number}, which is no leaf")
    ids_of_leaf = {pixel_of[number]: targetid[npix == number] for number in numbers}
    size = (catalogue / INDEX / METADATA).stat().st_size
    return IdLookup(ids_of_leaf, num_row_groups, size)


def groups_with_ids(
    catalogue: Path, leaf: LeafFile, row_groups: list[int], targetid: IntArray
) -> set[int]:
    """Which of the row groups of a leaf hold the sources, (N,), that the index has there.

    Raises
    ------
    UserError
        If one of the sources is in none of them, or the leaf cannot be read.
    """
    wanted = pa.array(targetid)
    found: dict[int, IntArray] = {}
    try:
        with pq.ParquetFile(leaf.path) as file:
            for number in row_groups:
                column = file.read_row_group(number, columns=[INDEX_COLUMN]).column(0)
                # Hashed; numpy.isin would sort the row group.
                here = column.filter(pc.is_in(column, value_set=wanted))
                if len(here):
                    found[number] = here.to_numpy()
    except (OSError, pa.ArrowException) as error:
        raise damaged(catalogue, f"{leaf.path}: leaf cannot be read ({error})") from None
    lost = np.setdiff1d(targetid, np.concatenate([targetid[:0], *found.values()]))
    if len(lost):
        raise _bad_index(
            catalogue, f"it has TARGETID {lost[0]} in {leaf.path.name}, which has it not"
        )
    return set(found)


def _open(catalogue: Path) -> IndexReader:
    """The index, by its `_metadata`."""
    try:
        reader = IndexReader.open(catalogue / INDEX)
    except (OSError, pa.ArrowException, AttributeError) as error:
        raise _bad_index(catalogue, f"{METADATA}: cannot be read ({error})") from None
    if np.any(reader.largest[:-1] >= reader.least[1:]):
        raise _bad_index(catalogue, f"{METADATA}: two row groups share a TARGETID")
    return reader


def _read_group(catalogue: Path, reader: IndexReader, group: int) -> tuple[IntArray, IntArray]:
    """TARGETIDs of one row group, strictly ascending between its limits, and their Npix."""
    file, number = reader.row_groups[group]
    try:
        rows = read_parquet(
            reader.folder / "dataset" / file, [INDEX_COLUMN, "Npix"], row_group=number
        )
    except (OSError, pa.ArrowException) as error:
        raise _bad_index(catalogue, f"dataset/{file}: cannot be read ({error})") from None
    known = rows.column(INDEX_COLUMN).to_numpy()
    limits = (reader.least[group], reader.largest[group])
    if not len(known) or (known[0], known[-1]) != limits or np.any(np.diff(known) <= 0):
        raise _bad_index(
            catalogue,
            f"dataset/{file}: TARGETIDs of row group {number} do not ascend from "
            f"{limits[0]} to {limits[1]}",
        )
    return known, rows.column("Npix").to_numpy().astype(np.int64)


def _written_files(catalogue: Path) -> dict[str, str]:
    """File of the index -> sha256 that it was written with."""
    try:
        manifest = json.loads((catalogue / MANIFEST).read_text())
        files = {
            index_path(Path(), int(number)).as_posix(): str(facts["sha256"])
            for number, facts in manifest["index"].items()
        }
        metadata = METADATA.as_posix()
        files[metadata] = str(manifest["files"][f"{INDEX}/{metadata}"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad_index(
            catalogue, f"{MANIFEST} does not say what it was written with ({error!r})"
        ) from None
    return files


def _check_sha256(catalogue: Path, file: str, written: dict[str, str]) -> None:
    """Refuse a file of the index that is not the one that was written."""
    try:
        found = file_sha256(catalogue / INDEX / file)
    except OSError as error:
        raise _bad_index(catalogue, f"{file}: cannot be read ({error.strerror})") from None
    if found != written.get(file):
        expected = f"{written[file][:12]}..." if file in written else "nothing"
        raise _bad_index(catalogue, f"{file}: sha256 {found[:12]}..., written with {expected}")


def _bad_index(catalogue: Path, what: str) -> UserError:
    return UserError(
        f"{catalogue / INDEX}: {what}; nothing was answered: repeat `engine finish`, or leave the "
        "index out (--no-index)"
    )
