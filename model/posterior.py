"""Redshift grid and posteriors: from probabilities per bin to point estimates and intervals.

A posterior is a piecewise-constant density over the bins of a `RedshiftGrid`, stored as the
probability of each bin. Its cumulative distribution is then exactly piecewise linear, and every
number below (quantiles, intervals, odds, moments) follows from it without approximation.

Shapes: N objects, Z bins, Q quantile levels.

References
----------
* Odds: Benitez 2000, ApJ 536, 571, section 4.
* Bins of width 0.005 and at most 770 of them: Wei et al. 2025, PASA, arXiv:2505.24175.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

QUANTILE_LEVELS = (
    *(0.01, 0.025, 0.05, 0.1, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
    *(0.6, 0.65, 0.7, 0.75, 0.8, 0.84, 0.9, 0.95, 0.975, 0.99),
)
"""Cumulative probabilities of the 21 quantiles that stand for a posterior in the catalogue."""

ODDS_HALF_WIDTH = 0.06
"""Half-width of the odds interval around the mode, in units of 1 + mode."""

INTERVAL_LEVELS = {"l95": 0.025, "l68": 0.16, "median": 0.5, "u68": 0.84, "u95": 0.975}
"""Cumulative probabilities of the median and of the ends of the central intervals."""

SUMMARY_NAMES = ("mean", "median", "mode", "std", "l68", "u68", "l95", "u95", "odds")

# Rows handled at once: the float64 work arrays of 1,024 rows stay in a few MB of cache.
_BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class RedshiftGrid:
    """Bins of redshift; part of the weights, never derived from the data at hand."""

    edges: FloatArray
    """(Z + 1,) strictly increasing bin edges."""

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges, dtype=np.float64)
        if edges.ndim != 1 or len(edges) < 2:
            raise ValueError(f"grid edges have shape {edges.shape}, expected (Z + 1,) with Z >= 1")
        if not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise ValueError("grid edges must be finite and strictly increasing")
        if edges[0] <= -1:
            raise ValueError(f"grid starts at z={edges[0]}, expected more than -1")
        object.__setattr__(self, "edges", edges)

    @classmethod
    def uniform(
        cls, z_min: float, z_max: float, width: float = 0.005, max_bins: int = 770
    ) -> RedshiftGrid:
        """Bins of equal width in z, as in the source network; cut off after `max_bins`."""
        num_bins = min(int(np.ceil((z_max - z_min) / width - 1e-9)), max_bins)
        return cls(z_min + width * np.arange(num_bins + 1, dtype=np.float64))

    @classmethod
    def log_uniform(cls, z_min: float, z_max: float, num_bins: int) -> RedshiftGrid:
        """Bins of equal width in ln(1 + z): constant resolution in dz / (1 + z)."""
        log_edges = np.linspace(np.log1p(z_min), np.log1p(z_max), num_bins + 1)
        edges = np.expm1(log_edges)
        edges[0], edges[-1] = z_min, z_max
        return cls(edges)

    @property
    def num_bins(self) -> int:
        """Z."""
        return len(self.edges) - 1

    @property
    def widths(self) -> FloatArray:
        """(Z,) bin widths."""
        return np.diff(self.edges)

    @property
    def centres(self) -> FloatArray:
        """(Z,) bin centres."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def bin_of(self, z: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Bin that holds each redshift; those beyond the grid go to its first or last bin."""
        found = np.searchsorted(self.edges, np.asarray(z, dtype=np.float64), side="right") - 1
        return np.clip(found, 0, self.num_bins - 1).astype(np.int64)


def normalise(pdf_NZ: npt.ArrayLike, grid: RedshiftGrid) -> FloatArray:
    """Probabilities per bin in float64, each row summing to 1.

    Raises
    ------
    ValueError
        If the shape does not fit the grid, or a row has a negative or non-finite value or no
        probability at all.
    """
    pdf = np.asarray(pdf_NZ, dtype=np.float64)
    if pdf.ndim != 2 or pdf.shape[1] != grid.num_bins:
        raise ValueError(f"pdf has shape {pdf.shape}, expected (N, {grid.num_bins}) as in the grid")
    total = pdf.sum(axis=1, keepdims=True)
    bad = ~(np.isfinite(total[:, 0]) & (total[:, 0] > 0) & (pdf >= 0).all(axis=1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"pdf row {row} sums to {total[row, 0]} with minimum {pdf[row].min()}: "
            "probabilities must be finite, non-negative and not all zero"
        )
    return np.asarray(pdf / total)


def cumulative(pdf_NZ: FloatArray) -> FloatArray:
    """(N, Z + 1) cumulative distribution at the bin edges; exactly 0 and 1 at its ends."""
    cdf = np.zeros((pdf_NZ.shape[0], pdf_NZ.shape[1] + 1))
    np.cumsum(pdf_NZ, axis=1, out=cdf[:, 1:])
    # The sum may overshoot by rounding: clip, so that the last edge is not below its neighbour.
    np.minimum(cdf, 1.0, out=cdf)
    cdf[:, -1] = 1.0
    return cdf


def _quantile(cdf: FloatArray, edges: FloatArray, level: float) -> FloatArray:
    """(N,) redshift at which the cumulative distribution reaches `level`, 0 < level < 1."""
    rows = np.arange(len(cdf))
    # The first bin whose upper edge reaches the level: it has probability, so no division by 0.
    k = np.count_nonzero(cdf[:, 1:] < level, axis=1)
    below, above = cdf[rows, k], cdf[rows, k + 1]
    fraction = np.clip((level - below) / (above - below), 0.0, 1.0)
    z = edges[k] + fraction * (edges[k + 1] - edges[k])
    return np.asarray(np.minimum(z, edges[k + 1]))


def _cdf_at(cdf: FloatArray, edges: FloatArray, z_N: FloatArray) -> FloatArray:
    """(N,) cumulative distribution of row n at z_N[n], linear inside bins."""
    rows = np.arange(len(cdf))
    z = np.clip(z_N, edges[0], edges[-1])
    k = np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)
    fraction = (z - edges[k]) / (edges[k + 1] - edges[k])
    return np.asarray(cdf[rows, k] + fraction * (cdf[rows, k + 1] - cdf[rows, k]))


def cdf_at(pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z: npt.ArrayLike) -> FloatArray:
    """Cumulative probability of each posterior at a redshift.

    Parameters
    ----------
    pdf_NZ
        (N, Z) probability of each bin; rows need not be normalised.
    z
        One redshift, or (N,) one per row.
    """
    cdf = cumulative(normalise(pdf_NZ, grid))
    return _cdf_at(cdf, grid.edges, np.broadcast_to(np.asarray(z, np.float64), (len(cdf),)))


def interval_probability(
    pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z1: npt.ArrayLike, z2: npt.ArrayLike
) -> FloatArray:
    """(N,) probability that z1 < z < z2; each bound is one redshift or (N,)."""
    lower, upper = np.asarray(z1, np.float64), np.asarray(z2, np.float64)
    if (lower > upper).any():
        raise ValueError(f"interval z1={z1!r} to z2={z2!r} is reversed: z1 must not exceed z2")
    return np.clip(cdf_at(pdf_NZ, grid, upper) - cdf_at(pdf_NZ, grid, lower), 0.0, 1.0)


def _summarise_block(
    pdf: FloatArray, grid: RedshiftGrid, quantile_levels: tuple[float, ...]
) -> dict[str, FloatArray]:
    cdf = cumulative(pdf)
    centres, widths = grid.centres, grid.widths
    # Sums along a row, never a matrix product: BLAS rounds a row differently by its neighbours.
    mean = (pdf * centres).sum(axis=1)
    # Second moment of a piecewise-constant density: spread of the bins plus width^2/12 inside.
    variance = (pdf * ((centres - mean[:, None]) ** 2 + widths**2 / 12)).sum(axis=1)
    mode = centres[np.argmax(pdf / widths, axis=1)]
    half = ODDS_HALF_WIDTH * (1 + mode)
    inside = _cdf_at(cdf, grid.edges, mode + half) - _cdf_at(cdf, grid.edges, mode - half)
    summary = {"mean": mean, "mode": mode, "std": np.sqrt(variance)}
    summary |= {name: _quantile(cdf, grid.edges, q) for name, q in INTERVAL_LEVELS.items()}
    summary["odds"] = np.clip(inside, 0.0, 1.0)
    columns = [_quantile(cdf, grid.edges, level) for level in quantile_levels]
    summary["quantiles"] = np.stack(columns, axis=1) if columns else np.empty((len(pdf), 0))
    return summary


def summarise(
    pdf_NZ: npt.ArrayLike,
    grid: RedshiftGrid,
    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS,
) -> dict[str, npt.NDArray[np.float32]]:
    """Point estimates and intervals of posteriors.

    Parameters
    ----------
    pdf_NZ
        (N, Z) probability of each bin; rows need not be normalised.
    quantile_levels
        Strictly increasing cumulative probabilities in (0, 1).

    Returns
    -------
    dict of float32 arrays
        `mean`, `median`, `mode` (centre of the densest bin), `std`, `l68`, `u68`, `l95`, `u95`
        (central intervals, 16-84 % and 2.5-97.5 %), `odds` (probability within
        ODDS_HALF_WIDTH (1 + mode) of the mode; Benitez 2000), each (N,), and `quantiles` (N, Q).
        All are finite; quantiles never decrease; l95 <= l68 <= median <= u68 <= u95.
    """
    levels = np.asarray(quantile_levels, dtype=np.float64)
    if levels.size and not (levels.min() > 0 and levels.max() < 1 and (np.diff(levels) > 0).all()):
        raise ValueError(f"quantile levels {quantile_levels} must increase strictly within (0, 1)")
    pdf = normalise(pdf_NZ, grid)
    result = {name: np.empty(len(pdf), np.float32) for name in SUMMARY_NAMES}
    result["quantiles"] = np.empty((len(pdf), levels.size), np.float32)
    for start in range(0, len(pdf), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        for name, values in _summarise_block(pdf[block], grid, tuple(quantile_levels)).items():
            result[name][block] = values
    return result
