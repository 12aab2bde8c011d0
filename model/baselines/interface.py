"""What every baseline can do, so that all are judged in the same way."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from model.baselines.photometry import Arrays
from model.posterior import RedshiftGrid


@runtime_checkable
class Baseline(Protocol):
    """A method that learns redshifts from photometry. Shapes: N rows, Z bins of the grid."""

    def fit(self, arrays: Arrays, z_true: npt.ArrayLike, grid: RedshiftGrid | None = None) -> Self:
        """Learn from rows with known redshifts.

        Parameters
        ----------
        arrays
            The arrays that the method's `Photometry` reads, N rows.
        z_true
            (N,) redshifts.
        grid
            Bins of the posteriors; without it there are point estimates only, at less cost.

        Raises
        ------
        ValueError
            If there are no rows, the lengths differ or a redshift is not finite and above -1.
        """
        ...

    def predict(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N,) redshifts: the method's own point estimate, as its paper defines it.

        Raises
        ------
        RuntimeError
            Before `fit`.
        """
        ...

    def predict_pdf(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N, Z) probability of each bin of the grid; rows sum to 1 and no bin is empty.

        Raises
        ------
        RuntimeError
            Before `fit`, or if it was given no grid.
        """
        ...


def checked_redshifts(z_true: npt.ArrayLike, num_rows: int) -> npt.NDArray[np.float64]:
    """(N,) true redshifts in float64.

    Raises
    ------
    ValueError
        If there are none, not one a row, or a value is not finite and above -1.
    """
    z = np.asarray(z_true, np.float64)
    if z.shape != (num_rows,):
        raise ValueError(f"{z.size} redshifts for {num_rows} rows: they must agree")
    if not num_rows:
        raise ValueError("no rows to learn from")
    good = np.isfinite(z) & (z > -1)
    if not good.all():
        raise ValueError(
            f"{np.count_nonzero(~good)} of {num_rows} redshifts are not finite and above -1"
        )
    return z
