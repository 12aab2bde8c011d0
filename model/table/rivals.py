"""The baselines of model.baselines on the rows of a table.

They get the table as its authors would give it: magnitudes as they are, asinh magnitudes where the
table has fluxes, for a flux below zero has no other. Trees also get the extra columns.

Shapes: N rows, Z bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.baselines import (
    MISSING_VALUE,
    Baseline,
    BoostedTrees,
    NearestNeighboursLinear,
    Photometry,
    RandomForest,
    fluxes_to_table,
    table_photometry,
)
from model.posterior import RedshiftGrid
from model.table.rows import ZERO_POINT_MAG, TableLayout, TableRows

Arrays = dict[str, npt.NDArray[Any]]

RIVALS: dict[str, Callable[..., Baseline]] = {
    "random forest": RandomForest,
    "nearest neighbours": NearestNeighboursLinear,
    "boosted trees": BoostedTrees,
}
"""By name; each takes `seed` and `photometry`."""


@dataclass(frozen=True, eq=False)
class RivalPrediction:
    """What one rival says of N rows."""

    z_phot: npt.NDArray[np.float32]
    """(N,) the method's own point estimate."""
    pdf: npt.NDArray[np.float32]
    """(N, Z) posteriors."""


def rival_photometry(layout: TableLayout) -> Photometry:
    """How the rivals read the arrays of `rival_arrays`."""
    plain = table_photometry(layout.bands, layout.reference)
    if not layout.extra:
        return plain

    def matrix(arrays: Any) -> npt.NDArray[np.float32]:
        extra = np.nan_to_num(arrays["extra"], nan=MISSING_VALUE).astype(np.float32)
        return np.concatenate([plain.matrix(arrays), extra], axis=1)

    return Photometry(plain.bands, plain.reference, matrix, plain.magnitudes)


def rival_arrays(
    rows: TableRows, layout: TableLayout, softening: npt.NDArray[np.float64]
) -> Arrays:
    """`magnitude`, `magnitude_error` (N, B) and `extra` (N, E), NaN where missing.

    Parameters
    ----------
    softening
        (B,) nanomaggy, of the asinh magnitudes; as in the weights' standardisation.
    """
    error = np.where(rows.present, rows.flux_error, np.inf)
    arrays: Arrays = dict(fluxes_to_table(np.nan_to_num(rows.flux), error**-2, softening))
    if layout.units == "mag":
        arrays = {
            "magnitude": ZERO_POINT_MAG - 2.5 * np.log10(rows.flux),
            "magnitude_error": 2.5 / np.log(10) * rows.flux_error / rows.flux,
        }
    return arrays | {"extra": rows.extra}


def predict_rival(
    name: str,
    layout: TableLayout,
    training: tuple[Arrays, npt.NDArray[np.float64]],
    judged: Arrays,
    grid: RedshiftGrid,
    seed: int,
) -> RivalPrediction:
    """Fit one rival on arrays and redshifts, and let it judge other rows.

    Raises
    ------
    ValueError
        If there are too few training rows for it.
    ImportError
        If it needs scikit-learn, which is not installed.
    """
    rival = RIVALS[name](seed=seed, photometry=rival_photometry(layout))
    rival.fit(*training, grid)
    return RivalPrediction(rival.predict(judged), rival.predict_pdf(judged))
