"""Named parts of a sample: by magnitude or redshift, by class or TYPE, by missing bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Slices = Mapping[str, npt.NDArray[np.bool_]]
"""Masks (N,) by name; they may overlap and need not cover everything."""


def whole(num_rows: int) -> dict[str, npt.NDArray[np.bool_]]:
    """All rows, as the slice `all`."""
    return {"all": np.ones(num_rows, bool)}


def slices_by_value(
    name: str, values: npt.ArrayLike, edges: Sequence[float]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Bins lower <= value < upper, for example `r < 21.5`, `21.5 <= r < 22`, `r >= 22`.

    Rows outside the edges are in no slice: let the edges start and end with infinity to hold them.
    Rows without a finite value are in the slice `r missing`, which exists only if there are any.

    Parameters
    ----------
    values
        (N,) for example magnitudes or redshifts.
    edges
        At least two, strictly increasing; the first may be -inf, the last inf.

    Raises
    ------
    ValueError
        If the edges do not increase.
    """
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges {list(edges)} of {name} must be at least two and increase")
    value = np.asarray(values, np.float64)
    slices = {
        _range_name(name, low, high): (value >= low) & (value < high)
        for low, high in pairwise(edges)
    }
    missing = ~np.isfinite(value)
    if missing.any():
        slices = {key: mask & ~missing for key, mask in slices.items()}
        slices[f"{name} missing"] = missing
    return slices


def _range_name(name: str, low: float, high: float) -> str:
    if np.isinf(low) and np.isinf(high):
        return f"any {name}"
    if np.isinf(low):
        return f"{name} < {high:g}"
    return f"{name} >= {low:g}" if np.isinf(high) else f"{low:g} <= {name} < {high:g}"


def slices_by_label(name: str, labels: npt.ArrayLike) -> dict[str, npt.NDArray[np.bool_]]:
    """One slice a label (N,), for example `TYPE = PSF`, in order of the labels."""
    values = np.asarray(labels)
    return {f"{name} = {label}": np.asarray(values == label) for label in np.unique(values)}


def slices_by_missing_band(
    present_NB: npt.NDArray[np.bool_], bands: Sequence[str]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Rows with every band, and for each band the rows without it: `no i`.

    Raises
    ------
    ValueError
        If the array does not have one column a band.
    """
    if present_NB.ndim != 2 or present_NB.shape[1] != len(bands):
        raise ValueError(f"present has shape {present_NB.shape}, expected (N, {len(bands)})")
    missing = {f"no {band}": ~present_NB[:, index] for index, band in enumerate(bands)}
    return {"all bands": np.asarray(present_NB.all(axis=1)), **missing}


def rows_of(name: str, mask: npt.NDArray[Any], num_rows: int) -> npt.NDArray[np.int64]:
    """Numbers of the rows of a slice.

    Raises
    ------
    ValueError
        If the mask is not boolean with one value a row.
    """
    if mask.dtype != bool or mask.shape != (num_rows,):
        raise ValueError(
            f"slice {name!r} is {mask.dtype} of shape {mask.shape}, expected bool ({num_rows},)"
        )
    return np.flatnonzero(mask)
