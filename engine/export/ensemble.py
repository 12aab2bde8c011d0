"""The posteriors as a qp ensemble: the HDF5 file that RAIL and qp read.

Three groups: `meta` (one row: the parameterisation and the levels), `data` (the redshifts at those
levels), `ancil` (one row a source). Written with h5py alone, leaf by leaf: qp itself would want
the whole catalogue in memory.

References
----------
LSSTDESC/qp 1.1, parameterisation `quant`, version 0; RAIL takes the point estimates `zmode`,
`zmean`, `zmedian` from `ancil` (LSSTDESC/rail_base, rail/estimation).

Shapes: N sources of one leaf, Q stored levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.atomic import produce_atomic
from engine.catalogue.read import read_properties
from engine.catalogue.schema import FLAG_COLUMN, POINT_COLUMNS, QUANTILE_COLUMN
from engine.config import UserError
from engine.leaf_columns import catalogue_columns, iterate_leaves, quantile_levels

_POINT_NAMES = {
    "object_id": "TARGETID",
    "zmean": "Z_PHOT_MEAN",
    "zmedian": "Z_PHOT_MEDIAN",
    "zmode": "Z_PHOT_MODE",
}
"""Name that RAIL looks for -> catalogue column; the others keep their names."""

_OTHER_COLUMNS = (
    *("RELEASE", "BRICKID", "OBJID", "RA", "DEC", "TYPE", "EBV", "MASKBITS"),
    *(name for name in POINT_COLUMNS if name not in _POINT_NAMES.values()),
    FLAG_COLUMN,
)

# TYPE is text of three letters; HDF5 tables want a fixed width.
_TEXT_WIDTH = "S4"

# Rows of one HDF5 chunk: RAIL reads 10,000 at a time by default.
_CHUNK_ROWS = 10_000


@dataclass(frozen=True)
class EnsembleCounts:
    """What was written."""

    output: str
    num_rows: int
    num_levels: int
    """Levels in the file, both ends included."""


def check_h5py() -> None:
    """Refuse before work is spent.

    Raises
    ------
    UserError
        If h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise UserError("--qp: needs h5py; install it with: pip install 'photoz-engine[qp]'")


def export_ensemble(
    catalogue: Path, output: Path, on_leaf: Callable[[int], None] | None = None
) -> EnsembleCounts:
    """Write all posteriors of a catalogue as one file; `on_leaf` hears the rows of each leaf.

    Raises
    ------
    UserError
        If this is no finished catalogue, it carries no quantiles, or a leaf is damaged.
    """
    read_properties(catalogue)  # Refuses what is no finished catalogue.
    levels = quantile_levels(catalogue)
    names = set(catalogue_columns(catalogue))
    ancillary = {new: old for new, old in _POINT_NAMES.items() if old in names}
    ancillary |= {name: name for name in _OTHER_COLUMNS if name in names}
    num_rows = 0

    def write(wip: Path) -> None:
        nonlocal num_rows
        num_rows = _write_file(catalogue, wip, levels, ancillary, on_leaf)

    produce_atomic(output, write)
    return EnsembleCounts(str(output), num_rows, len(extended_levels(levels)))


def _write_file(
    catalogue: Path,
    path: Path,
    levels: npt.NDArray[np.float64],
    ancillary: dict[str, str],
    on_leaf: Callable[[int], None] | None,
) -> int:
    import h5py

    wanted = list(dict.fromkeys([*ancillary.values(), QUANTILE_COLUMN]))
    with h5py.File(path, "w") as file:
        for name, value in _meta(levels).items():
            file.create_dataset(f"meta/{name}", data=value)
        # Created before the first leaf: a catalogue without rows has them too.
        data: dict[str, Any] = {}
        create = partial(_create_growing, file)
        data["data/locs"] = create("data/locs", np.dtype("f4"), len(extended_levels(levels)))
        for _, leaf in iterate_leaves(catalogue, wanted):
            rows = {f"ancil/{new}": _storable(leaf[old]) for new, old in ancillary.items()}
            rows["data/locs"] = extended_redshifts(leaf[QUANTILE_COLUMN], levels)
            for name, values in rows.items():
                if name not in data:
                    data[name] = create(name, values.dtype)
                _append(data[name], values)
            if on_leaf is not None:
                on_leaf(len(rows["data/locs"]))
        return len(data["data/locs"])


def _create_growing(file: Any, name: str, kind: np.dtype[Any], width: int | None = None) -> Any:
    """A data set of no rows that can grow."""
    rest = () if width is None else (width,)
    return file.create_dataset(
        name, (0, *rest), maxshape=(None, *rest), chunks=(_CHUNK_ROWS, *rest), dtype=kind
    )


def _append(dataset: Any, values: npt.NDArray[Any]) -> None:
    begin = len(dataset)
    dataset.resize(begin + len(values), axis=0)
    dataset[begin:] = values


def _storable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(_TEXT_WIDTH) if values.dtype.kind in "OU" else values


def _meta(levels: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[Any]]:
    """The table of one row that says what the numbers are.

    `piecewise_linear`, qp's default, draws the density through the middle of every step between
    two levels. The quantiles stay exact; qp's density does not integrate to 1 where a posterior
    has several peaks (qp issue 147), so means taken from it are looser than `zmean`.
    """
    return {
        "pdf_name": np.array([b"quant"]),
        "pdf_version": np.array([0]),
        "pdf_constructor_name": np.array([b"piecewise_linear"]),
        "ensure_extent": np.array([False]),
        "quants": extended_levels(levels)[None, :],
    }


def extended_levels(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(Q + 2,) the levels with 0 and 1 at the ends."""
    return np.concatenate([[0.0], levels, [1.0]])


def extended_redshifts(
    quantiles_NQ: npt.NDArray[np.floating], levels: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N, Q + 2) redshifts at `extended_levels`.

    The ends are not stored. As qp does, they go on with the density between the last two levels;
    unlike qp's, the lower end stays at or above z = 0 where the lowest quantile does.
    """
    quantiles = np.asarray(quantiles_NQ, dtype=np.float64)
    low, high = quantiles[:, :2], quantiles[:, -2:]
    below = levels[0] / (levels[1] - levels[0]) * (low[:, 1] - low[:, 0])
    above = (1 - levels[-1]) / (levels[-1] - levels[-2]) * (high[:, 1] - high[:, 0])
    first = np.maximum(low[:, 0] - below, np.minimum(low[:, 0], 0.0))
    return np.concatenate([first[:, None], quantiles, (high[:, 1] + above)[:, None]], axis=1)
