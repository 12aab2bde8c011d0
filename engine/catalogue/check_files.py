"""Whether the files around the leaves say what the leaves hold: footers, maps, digests, strays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
)
from engine.catalogue.leaves import file_sha256
from engine.catalogue.skymap import SkyMap, read_skymap


def bad_footers(folder: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Data files whose footer is not the one in the catalogue's `_metadata`."""
    name = f"{folder.name}/{METADATA}"
    try:
        combined = pq.read_metadata(folder / METADATA)
    except (OSError, pa.ArrowInvalid) as error:
        yield f"{name}: cannot be read ({error})"
        return
    groups: dict[str, list[int]] = {}
    for number in range(combined.num_row_groups):
        groups.setdefault(combined.row_group(number).column(0).file_path, []).append(number)
    for path in paths:
        file = path.relative_to(folder / "dataset").as_posix()
        numbers = groups.pop(file, [])
        try:
            footer = pq.read_metadata(path)
        except (OSError, pa.ArrowInvalid):
            continue  # Who reads its rows complains of it.
        if footer.num_row_groups != len(numbers):
            yield f"{name}: {len(numbers)} row groups of {file}, which has {footer.num_row_groups}"
            continue
        for own, number in enumerate(numbers):
            if _facts(footer.row_group(own)) != _facts(combined.row_group(number)):
                yield f"{name}: row group {own} of {file} differs from the file's own footer"
                break
    for file in groups:
        yield f"{name}: lists {file}, which is no file of this catalogue"


def _facts(row_group: Any) -> dict[str, Any]:
    """Rows, sizes, offsets and statistics, without the path that only `_metadata` has."""
    facts: dict[str, Any] = row_group.to_dict()
    for column in facts["columns"]:
        del column["file_path"]
    return facts


def bad_skymaps(folder: Path, counted: SkyMap) -> Iterator[str]:
    """Sky maps that do not hold the counts of the leaves."""
    for file in SKY_MAPS:
        try:
            counts = read_skymap(folder / file)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            yield f"{folder.name}/{file}: cannot be read ({error})"
            continue
        for pixel in np.flatnonzero(counts != counted.counts)[:1]:
            yield (
                f"{folder.name}/{file}: pixel {pixel}: {counts[pixel]} sources, "
                f"the leaves hold {counted.counts[pixel]}"
            )


def bad_digests(catalogue: Path, files: dict[str, Any]) -> Iterator[str]:
    """Files that are not those that were written: name -> bytes and sha256."""
    for name, facts in files.items():
        try:
            found = file_sha256(catalogue / name)
        except OSError as error:
            yield f"{name}: cannot be read ({error})"
            continue
        if found != facts["sha256"]:
            yield f"{name}: sha256 {found[:12]}..., written with {facts['sha256'][:12]}..."


def strays(catalogue: Path, data_paths: Iterable[Path]) -> Iterator[str]:
    """Files that belong to no part of the collection."""
    inside = (MANIFEST, COVERAGE_FILE, COLLECTION_PROPERTIES)
    expected = {*data_paths, *(catalogue / file for file in inside)}
    for name in (PRIMARY, MARGIN, INDEX):
        around: list[str | Path] = [*PROPERTIES_FILES, METADATA, COMMON_METADATA]
        around += [] if name == INDEX else [PARTITION_INFO]
        around += SKY_MAPS if name == PRIMARY else []
        expected |= {catalogue / name / file for file in around}
    for path in sorted(catalogue.rglob("*")):
        if path.is_file() and path not in expected:
            yield f"{path.relative_to(catalogue)}: not a file of this catalogue"
