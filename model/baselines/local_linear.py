"""Linear regression in the neighbourhood of every row at once, leaving outliers out.

Shapes: N rows, K neighbours, D coordinates.

References
----------
* Beck et al. 2016, MNRAS 460, 1371: local linear regression for photo-z, the clipping of
  neighbours, and the rms of their residuals as the error of the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Eigenvalues of a correlation matrix below this are directions in which neighbours do not differ.
_SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class LocalFit:
    """Regressions in N neighbourhoods."""

    value: FloatArray
    """(N,) fitted value at the row itself."""
    error: FloatArray
    """(N,) rms of the residuals of the neighbours that were kept."""
    residuals: FloatArray
    """(N, K) target minus fit of all neighbours, the clipped ones too."""
    kept: npt.NDArray[np.bool_]
    """(N, K) neighbours that were not clipped."""


def _weighted_fit(
    offset_NKD: FloatArray, target_NK: FloatArray, kept_NK: npt.NDArray[np.bool_]
) -> LocalFit:
    """Least squares over the kept neighbours, by the normal equations of standardised offsets.

    Neighbours that do not differ in some direction leave its slope undetermined: it is then the
    smallest one, as from a singular value decomposition.
    """
    weight = kept_NK / kept_NK.sum(axis=1, keepdims=True)
    centre = np.einsum("nk,nkd->nd", weight, offset_NKD)
    spread = np.sqrt(np.einsum("nk,nkd->nd", weight, (offset_NKD - centre[:, None]) ** 2))
    spread[spread == 0] = 1.0
    x = (offset_NKD - centre[:, None]) / spread[:, None]
    mean = np.einsum("nk,nk->n", weight, target_NK)
    y = target_NK - mean[:, None]
    weighted = x * weight[:, :, None]
    correlation = np.matmul(weighted.transpose(0, 2, 1), x)
    inverse = np.linalg.pinv(correlation, rcond=_SINGULAR, hermitian=True)
    slope = np.einsum("nde,nke,nk->nd", inverse, weighted, y, optimize=True)
    residuals = y - np.einsum("nkd,nd->nk", x, slope)
    error = np.sqrt(np.einsum("nk,nk->n", weight, residuals**2))
    value = mean - np.einsum("nd,nd->n", centre / spread, slope)
    return LocalFit(value, error, residuals, kept_NK)


def local_linear(offset_NKD: FloatArray, target_NK: FloatArray, clip: float = 3.0) -> LocalFit:
    """Fit target = a + b . offset in each neighbourhood; the estimate is a.

    Parameters
    ----------
    offset_NKD
        Coordinates of the neighbours minus those of the row.
    target_NK
        Their redshifts.
    clip
        Neighbours with residuals beyond this many rms are left out of a second, final fit.
    """
    first = _weighted_fit(offset_NKD, target_NK, np.ones(target_NK.shape, bool))
    kept = np.abs(first.residuals) <= clip * first.error[:, None]
    # Exact fits: rounding alone must not clip every neighbour.
    kept |= (np.abs(first.residuals) < 1e-12) | ~kept.any(axis=1, keepdims=True)
    return _weighted_fit(offset_NKD, target_NK, kept)
