"""The Zarr v3 group of one brick: declared arrays, written whole, renamed into place.

One writer per group and one rename at its end, so a group that exists is complete; an interrupted
write leaves a `wip-` folder beside it, never a half group.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from partitions.photometry import FEATURE_NAMES
from partitions.schema import (
    ARRAY_FORMAT_VERSION,
    ARRAY_SPECS,
    BANDS,
    OPTICAL_BANDS,
    QUALITY_BITS,
    SOURCE_TYPES,
    TRUTH_ARRAY_SPECS,
    WISE_BANDS,
    ArraySpec,
)

Arrays = dict[str, npt.NDArray[Any]]

# Stamps: 1,024 sources of one band (8.4 MB at 64 px) a chunk, so that a missing band, all zero,
# takes no space. Noise does not compress, so their pixels are stored as they are.
_IMAGE_CHUNK_SOURCES = 1024
_TABLE_CHUNK_SOURCES = 65536


class StoreError(Exception):
    """A Zarr group is not what the declared schema says."""


def check_arrays(arrays: Mapping[str, npt.NDArray[Any]], where: str) -> int:
    """Compare arrays with the declared schema; returns the number of sources.

    Raises
    ------
    StoreError
        If an array is missing or unknown, or its dtype or shape differs.
    """
    specs = _specs_of(arrays)
    declared = {spec.name for spec in specs}
    if declared != set(arrays):
        raise StoreError(
            f"{where}: arrays missing {sorted(declared - set(arrays))}, "
            f"unknown {sorted(set(arrays) - declared)}; expected format {ARRAY_FORMAT_VERSION}"
        )
    sizes = {"band": len(BANDS), "optical_band": len(OPTICAL_BANDS), "wise_band": len(WISE_BANDS)}
    sizes["feature"] = len(FEATURE_NAMES)
    for spec in specs:
        array = arrays[spec.name]
        if array.dtype != np.dtype(spec.dtype) or array.ndim != len(spec.dimensions):
            raise StoreError(
                f"{where}/{spec.name}: {array.dtype} {array.shape}, "
                f"expected {np.dtype(spec.dtype)} ({', '.join(spec.dimensions)})"
            )
        for dimension, size in zip(spec.dimensions, array.shape, strict=True):
            if sizes.setdefault(dimension, size) != size:
                raise StoreError(
                    f"{where}/{spec.name}: {dimension} has {size} entries, not {sizes[dimension]}"
                )
    return sizes["source"]


def _specs_of(names: Container[str]) -> tuple[ArraySpec, ...]:
    """The declared arrays of a group; those of known redshifts where it has any of them."""
    has_truth = any(spec.name in names for spec in TRUTH_ARRAY_SPECS)
    return ARRAY_SPECS + TRUTH_ARRAY_SPECS if has_truth else ARRAY_SPECS


def write_arrays(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]
) -> None:
    """Write one brick's group at `path`, replacing what is there; all or nothing.

    Parameters
    ----------
    arrays
        Every array of `ARRAY_SPECS`, and all or none of `TRUTH_ARRAY_SPECS`, N sources each (N may
        be 0).
    attributes
        JSON-ready facts about the brick, stored beside the schema's own.
    """
    check_arrays(arrays, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    wip = path.with_name(f"wip-{uuid.uuid4().hex[:8]}-{path.name}")
    aside = wip.with_name(f"{wip.name}-old")
    try:
        group = zarr.open_group(str(wip), mode="w", zarr_format=3)
        group.attrs.update({**_schema_attributes(), **attributes})
        for spec in _specs_of(arrays):
            _write_array(group, spec, arrays[spec.name])
        if path.exists():
            # Aside first: a removal that is interrupted must not leave half of the old group.
            os.replace(path, aside)
        os.replace(wip, path)
    finally:
        shutil.rmtree(wip, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _schema_attributes() -> dict[str, Any]:
    return {
        "format_version": ARRAY_FORMAT_VERSION,
        "bands": list(BANDS),
        "features": list(FEATURE_NAMES),
        "source_types": list(SOURCE_TYPES),
        "quality_bits": QUALITY_BITS,
    }


def _write_array(group: zarr.Group, spec: ArraySpec, array: npt.NDArray[Any]) -> None:
    if array.ndim == 4:
        chunks = (_IMAGE_CHUNK_SOURCES, 1, *array.shape[2:])
    else:
        chunks = (_TABLE_CHUNK_SOURCES, *array.shape[1:])
    target = group.create_array(
        spec.name,
        shape=array.shape,
        dtype=array.dtype,
        # Whole chunks of a small brick would be mostly padding.
        chunks=(max(1, min(chunks[0], array.shape[0])), *chunks[1:]),
        compressors=None if array.ndim == 4 else "auto",
        fill_value=0,
        dimension_names=spec.dimensions,
        attributes={"unit": spec.unit, "description": spec.description},
    )
    if len(array):
        target[...] = array


def read_arrays(path: Path, names: Iterable[str] | None = None) -> Arrays:
    """Read a brick's arrays into memory: all of them, checked, or only the named ones.

    Raises
    ------
    StoreError
        If there is no such group, or it is of another format version or schema.
    """
    group = _open(path)
    if names is not None:
        return {name: np.asarray(group[name][...]) for name in names}  # type: ignore[index]
    arrays = {
        spec.name: np.asarray(group[spec.name][...])  # type: ignore[index]
        for spec in _specs_of(group)
    }
    check_arrays(arrays, str(path))
    return arrays


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a brick's group: schema, brick, counts."""
    return dict(_open(path).attrs)


def _open(path: Path) -> zarr.Group:
    try:
        group = zarr.open_group(str(path), mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: no Zarr group of a brick ({error})") from error
    version = group.attrs.get("format_version")
    if version != ARRAY_FORMAT_VERSION:
        raise StoreError(f"{path}: array format {version}, expected {ARRAY_FORMAT_VERSION}")
    return group
