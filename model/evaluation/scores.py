"""What each row contributes to the metrics, computed once; all statistics follow from it.

Shapes: N rows, Z bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from model import metrics
from model.posterior import RedshiftGrid, summarise

FloatArray = npt.NDArray[np.float64]

# Rows scored at once: the float64 work arrays of 770 bins take some 30 MB each.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Statistic:
    """A number that follows from one column of the scores."""

    column: str
    """The column of `Scores` that it is made of."""
    of: Callable[[npt.NDArray[Any]], FloatArray]
    """(..., N) -> (...), over the last axis."""


STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        "bias": Statistic("dz", metrics.biases),
        "sigma_nmad": Statistic("dz", metrics.sigmas_nmad),
        **{
            f"eta_{threshold:.2f}": Statistic(
                "dz", partial(metrics.outlier_fractions, threshold=threshold)
            )
            for threshold in metrics.OUTLIER_THRESHOLDS
        },
        "crps": Statistic("crps", metrics.means),
        "cde_loss": Statistic("cde_loss", metrics.means),
        "nll": Statistic("nll", metrics.means),
        "pit_ks": Statistic("pit", metrics.uniform_distances),
        "coverage_68": Statistic("inside_68", metrics.means),
        "coverage_95": Statistic("inside_95", metrics.means),
    }
)
"""All metrics, in the order of the reports; each is defined in model.metrics."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One method on N rows with known redshifts."""

    columns: Mapping[str, npt.NDArray[Any]]
    """Arrays (N,): `dz`, and of posteriors `pit`, `crps`, `cde_loss`, `nll`, `inside_68`,
    `inside_95`."""

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if "dz" not in lengths or len(set(lengths.values())) != 1:
            raise ValueError(f"columns {lengths}: `dz` is needed, and all of one length")

    def __len__(self) -> int:
        return len(self.columns["dz"])

    @property
    def dz(self) -> FloatArray:
        """(N,) (z_phot - z_spec) / (1 + z_spec)."""
        return self.columns["dz"]

    @property
    def statistics(self) -> dict[str, Statistic]:
        """The metrics that can be told from these columns."""
        return {name: s for name, s in STATISTICS.items() if s.column in self.columns}

    def take(self, rows: npt.NDArray[Any]) -> Scores:
        """Some rows, by number or by mask."""
        return Scores({name: values[rows] for name, values in self.columns.items()})

    def pit_histogram(self) -> npt.NDArray[np.int64]:
        """(PIT_BINS,) number of PIT values in equal bins from 0 to 1; flat if calibrated.

        Raises
        ------
        KeyError
            If there are no posteriors.
        """
        return metrics.pit_histogram(self.columns["pit"])

    @classmethod
    def of_points(cls, z_phot: npt.ArrayLike, z_true: npt.ArrayLike) -> Scores:
        """Scores of point estimates (N,).

        Raises
        ------
        ValueError
            If shapes differ or a value is not finite.
        """
        return cls({"dz": metrics.normalised_error(z_phot, z_true)})

    @classmethod
    def of_pdf(
        cls,
        pdf_NZ: npt.ArrayLike,
        grid: RedshiftGrid,
        z_true: npt.ArrayLike,
        z_phot: npt.ArrayLike | None = None,
    ) -> Scores:
        """Scores of posteriors.

        Parameters
        ----------
        pdf_NZ
            (N, Z) probability of each bin; rows need not be normalised.
        z_true
            (N,) true redshifts.
        z_phot
            (N,) point estimates; the medians of the posteriors if not given.

        Raises
        ------
        ValueError
            If shapes differ, a redshift is not finite, or a posterior cannot be normalised.
        """
        pdf, z = np.asarray(pdf_NZ), np.asarray(z_true, np.float64)
        if len(pdf) != len(z):
            raise ValueError(f"{len(pdf)} posteriors for {len(z)} redshifts: they must agree")
        blocks = [
            _score_block(pdf[start : start + _BLOCK_ROWS], grid, z[start : start + _BLOCK_ROWS])
            # One empty block of no rows, so that the columns exist.
            for start in range(0, max(len(z), 1), _BLOCK_ROWS)
        ]
        columns = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        median = columns.pop("median")
        point = median if z_phot is None else z_phot
        return cls({"dz": metrics.normalised_error(point, z), **columns})


def _score_block(
    pdf: npt.NDArray[Any], grid: RedshiftGrid, z: FloatArray
) -> dict[str, npt.NDArray[Any]]:
    summary = summarise(pdf, grid, ())
    inside = {
        f"inside_{level}": metrics.inside_interval(summary[f"l{level}"], summary[f"u{level}"], z)
        for level in (68, 95)
    }
    return {
        "median": summary["median"],
        "pit": metrics.pit(pdf, grid, z),
        "crps": metrics.crps(pdf, grid, z),
        "cde_loss": metrics.cde_loss(pdf, grid, z),
        "nll": metrics.negative_log_likelihood(pdf, grid, z),
        **inside,
    }
