"""How good redshift estimates are: exact functions, and sums that merge across workers.

dz = (z_phot - z_spec) / (1 + z_spec); bias = median dz; sigma_NMAD = 1.48 median|dz - bias|;
eta(t) = fraction with |dz| > t. These are the definitions of the source, so its tables compare.

Shapes: N objects, Z bins.

References
----------
* Definitions of bias, sigma_NMAD and eta: Wei et al. 2025, PASA, arXiv:2505.24175.
* PIT: Dawid 1984, J. R. Stat. Soc. A 147, 278. CRPS: Gneiting & Raftery 2007, JASA 102, 359.
* CDE loss: Izbicki & Lee 2017, Electron. J. Stat. 11, 2800.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from model.posterior import RedshiftGrid, cdf_at, cumulative, normalise

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NMAD_FACTOR = 1.48
OUTLIER_THRESHOLDS = (0.15, 0.10)

# The mergeable histogram of dz: bins of 1e-4 from -1 to 1, plus one for each side beyond.
DZ_LIMIT = 1.0
DZ_BIN_WIDTH = 1e-4
_DZ_BINS = round(2 * DZ_LIMIT / DZ_BIN_WIDTH)
PIT_BINS = 20


def normalised_error(z_phot: npt.ArrayLike, z_spec: npt.ArrayLike) -> FloatArray:
    """(N,) dz = (z_phot - z_spec) / (1 + z_spec).

    Raises
    ------
    ValueError
        If a value is not finite: NaN must be counted by the caller, not skipped here.
    """
    phot, spec = np.asarray(z_phot, np.float64), np.asarray(z_spec, np.float64)
    if phot.shape != spec.shape:
        raise ValueError(f"z_phot has shape {phot.shape}, z_spec {spec.shape}: they must agree")
    dz = (phot - spec) / (1 + spec)
    if not np.isfinite(dz).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(dz))} of {dz.size} dz are not finite")
    return dz


# Each of these takes one sample, or many of one size, of which it judges the last axis.


def biases(dz: FloatArray) -> FloatArray:
    """(...) median of dz (..., N) over its last axis; NaN for no objects."""
    if not dz.shape[-1]:
        return np.full(dz.shape[:-1], np.nan)
    return np.asarray(np.median(dz, axis=-1))


def sigmas_nmad(dz: FloatArray) -> FloatArray:
    """(...) 1.48 median|dz - median dz| of dz (..., N) over its last axis; NaN for no objects."""
    return NMAD_FACTOR * biases(np.abs(dz - biases(dz)[..., None]))


def outlier_fractions(dz: FloatArray, threshold: float = 0.15) -> FloatArray:
    """(...) eta: fraction of dz (..., N) with |dz| > threshold; NaN for no objects."""
    return means(np.abs(dz) > threshold)


def means(values: npt.NDArray[Any]) -> FloatArray:
    """(...) mean of values (..., N) over the last axis; NaN for no objects."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.mean(axis=-1, dtype=np.float64))


def uniform_distances(pit_values: FloatArray) -> FloatArray:
    """(...) Kolmogorov-Smirnov statistic of PIT values (..., N) against the uniform distribution.

    The largest distance between their empirical distribution and the diagonal; NaN for no objects.
    """
    count = pit_values.shape[-1]
    if not count:
        return np.full(pit_values.shape[:-1], np.nan)
    ordered = np.sort(pit_values, axis=-1)
    above = np.arange(1, count + 1) / count - ordered
    return np.asarray(np.maximum(above, 1 / count - above).max(axis=-1))


def bias(dz: FloatArray) -> float:
    """Median dz; NaN for no objects."""
    return float(biases(dz))


def sigma_nmad(dz: FloatArray) -> float:
    """1.48 median|dz - median dz|; NaN for no objects."""
    return float(sigmas_nmad(dz))


def outlier_fraction(dz: FloatArray, threshold: float = 0.15) -> float:
    """eta: fraction of objects with |dz| > threshold; NaN for no objects."""
    return float(outlier_fractions(dz, threshold))


def pit(pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_spec: npt.ArrayLike) -> FloatArray:
    """(N,) probability integral transform: cumulative probability at the true redshift."""
    return cdf_at(pdf_NZ, grid, z_spec)


def pit_histogram(pit_values: npt.ArrayLike) -> IntArray:
    """(PIT_BINS,) number of PIT values in equal bins from 0 to 1."""
    return np.histogram(pit_values, bins=PIT_BINS, range=(0.0, 1.0))[0].astype(np.int64)


def crps(pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_spec: npt.ArrayLike) -> FloatArray:
    """(N,) continuous ranked probability score in z, the integral of (F(x) - [x >= z])^2.

    Exact for the piecewise-linear F: over a bin of width w on which F goes linearly from a to b,
    the integral of F^2 is w (a^2 + ab + b^2) / 3. A redshift beyond the grid adds its distance.
    """
    cdf = cumulative(normalise(pdf_NZ, grid))
    z = np.broadcast_to(np.asarray(z_spec, np.float64), (len(cdf),))
    edges = grid.edges
    inside = np.clip(z, edges[0], edges[-1])
    k = grid.bin_of(inside)

    def integral(width: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
        return width * (a * a + a * b + b * b) / 3

    low, high = cdf[:, :-1], cdf[:, 1:]
    # Sums over whole bins before and after the true one, from running totals.
    below = np.zeros_like(cdf)
    np.cumsum(integral(grid.widths, low, high), axis=1, out=below[:, 1:])
    above = np.zeros_like(cdf)
    np.cumsum(integral(grid.widths, 1 - low, 1 - high), axis=1, out=above[:, 1:])
    rows = np.arange(len(cdf))
    fraction = (inside - edges[k]) / grid.widths[k]
    a, b = cdf[rows, k], cdf[rows, k + 1]
    middle = a + fraction * (b - a)
    left = below[rows, k] + integral(inside - edges[k], a, middle)
    right = above[:, -1] - above[rows, k + 1] + integral(edges[k + 1] - inside, 1 - middle, 1 - b)
    return left + right + np.abs(z - inside)


def inside_interval(
    lower: npt.ArrayLike, upper: npt.ArrayLike, z_spec: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """(N,) whether the true redshift lies in [lower, upper]."""
    z = np.asarray(z_spec, np.float64)
    return np.asarray((np.asarray(lower) <= z) & (z <= np.asarray(upper)))


def interval_coverage(lower: npt.ArrayLike, upper: npt.ArrayLike, z_spec: npt.ArrayLike) -> float:
    """Fraction of true redshifts inside [lower, upper]; NaN for no objects."""
    return float(means(inside_interval(lower, upper, z_spec)))


def _density_at(pdf_NZ: FloatArray, grid: RedshiftGrid, z_spec: npt.ArrayLike) -> FloatArray:
    """(N,) density in z of normalised posteriors at the true redshift."""
    k = grid.bin_of(np.broadcast_to(np.asarray(z_spec, np.float64), (len(pdf_NZ),)))
    return np.asarray(pdf_NZ[np.arange(len(pdf_NZ)), k] / grid.widths[k])


def negative_log_likelihood(
    pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_spec: npt.ArrayLike
) -> FloatArray:
    """(N,) -ln of the density in z at the true redshift, so that grids can be compared."""
    density = _density_at(normalise(pdf_NZ, grid), grid, z_spec)
    return -np.log(np.maximum(density, np.finfo(np.float64).tiny))


def cde_loss(pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_spec: npt.ArrayLike) -> FloatArray:
    """(N,) terms of the conditional density loss: the integral of p^2 minus 2 p at the truth.

    Their mean estimates the squared distance between the posterior and the true conditional
    density, up to a constant of the data (Izbicki & Lee 2017): lower is better, and it
    may be negative. Exact for the piecewise-constant density; in units of 1 / z.
    """
    pdf = normalise(pdf_NZ, grid)
    return np.asarray((pdf**2 / grid.widths).sum(axis=1) - 2 * _density_at(pdf, grid, z_spec))


def _median_of_counts(values: FloatArray, counts: IntArray) -> float:
    """Median of values[i] taken counts[i] times, values in growing order, as np.median does."""
    running = np.cumsum(counts)
    total = int(running[-1])
    # The lower and the upper middle object (the same one where the total is odd).
    middle = np.searchsorted(running, [(total - 1) // 2 + 1, total // 2 + 1])
    return float(values[middle].mean())


@dataclass(frozen=True, eq=False)
class PointMetrics:
    """Sums from which the metrics follow, over any number of objects and workers.

    All sums are integers, so merging is exactly commutative and associative: the order in which
    workers report cannot change a result. `bias` and `sigma_nmad` are read off a histogram of dz
    and agree with the exact functions to about one of its bins (1e-4); |dz| beyond 1 is counted
    at the ends. Outlier fractions and coverages are exact.
    """

    num_objects: int = 0
    """Objects counted."""
    dz_counts: IntArray = field(default_factory=lambda: np.zeros(_DZ_BINS + 2, np.int64))
    """Histogram of dz: below -1, bins of 1e-4 from -1 to 1, above 1."""
    num_outliers: tuple[int, ...] = (0,) * len(OUTLIER_THRESHOLDS)
    """Objects with |dz| beyond each of OUTLIER_THRESHOLDS."""
    num_with_intervals: int = 0
    """Objects that came with 68 % and 95 % intervals."""
    num_inside_68: int = 0
    """Of these, objects whose true redshift lies in the 68 % interval."""
    num_inside_95: int = 0
    """The same for the 95 % interval."""
    pit_counts: IntArray = field(default_factory=lambda: np.zeros(PIT_BINS, np.int64))
    """Histogram of PIT values, PIT_BINS equal bins from 0 to 1."""

    @classmethod
    def zero(cls) -> PointMetrics:
        """The metrics of no objects: the neutral element of +."""
        return cls()

    @classmethod
    def of(
        cls,
        z_phot: npt.ArrayLike,
        z_spec: npt.ArrayLike,
        intervals: dict[str, npt.NDArray[np.float32]] | None = None,
        pit_values: npt.ArrayLike | None = None,
    ) -> PointMetrics:
        """Count objects.

        Parameters
        ----------
        z_phot, z_spec
            (N,) estimated and true redshifts.
        intervals
            Arrays `l68`, `u68`, `l95`, `u95`, each (N,), as `posterior.summarise` gives them.
        pit_values
            (N,) probability integral transforms.
        """
        dz = normalised_error(z_phot, z_spec)
        position = np.floor((dz + DZ_LIMIT) / DZ_BIN_WIDTH)
        slot = np.clip(position, -1, _DZ_BINS).astype(np.int64) + 1
        counted = intervals if intervals is not None else {}
        z = np.asarray(z_spec, np.float64)

        def inside(level: int) -> int:
            if not counted:
                return 0
            lower, upper = counted[f"l{level}"], counted[f"u{level}"]
            return int(np.count_nonzero(inside_interval(lower, upper, z)))

        pit_counts = np.zeros(PIT_BINS, np.int64)
        if pit_values is not None:
            pit_counts = pit_histogram(pit_values)
        return cls(
            num_objects=dz.size,
            dz_counts=np.bincount(slot, minlength=_DZ_BINS + 2).astype(np.int64),
            num_outliers=tuple(int(np.count_nonzero(np.abs(dz) > t)) for t in OUTLIER_THRESHOLDS),
            num_with_intervals=dz.size if counted else 0,
            num_inside_68=inside(68),
            num_inside_95=inside(95),
            pit_counts=pit_counts,
        )

    def __add__(self, other: PointMetrics) -> PointMetrics:
        return PointMetrics(
            num_objects=self.num_objects + other.num_objects,
            dz_counts=self.dz_counts + other.dz_counts,
            num_outliers=tuple(
                a + b for a, b in zip(self.num_outliers, other.num_outliers, strict=True)
            ),
            num_with_intervals=self.num_with_intervals + other.num_with_intervals,
            num_inside_68=self.num_inside_68 + other.num_inside_68,
            num_inside_95=self.num_inside_95 + other.num_inside_95,
            pit_counts=self.pit_counts + other.pit_counts,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointMetrics):
            return NotImplemented
        return self._sums() == other._sums()

    def __hash__(self) -> int:
        return hash(self._sums())

    def _sums(self) -> tuple[object, ...]:
        scalars = (self.num_objects, self.num_outliers, self.num_with_intervals)
        inside = (self.num_inside_68, self.num_inside_95)
        return (*scalars, *inside, self.dz_counts.tobytes(), self.pit_counts.tobytes())

    def report(self) -> dict[str, float]:
        """The metrics by name; NaN where nothing was counted."""
        count = self.num_objects
        result: dict[str, float] = {"num_objects": count, "bias": np.nan, "sigma_nmad": np.nan}
        if count:
            result |= self._histogram_metrics()
        for threshold, outliers in zip(OUTLIER_THRESHOLDS, self.num_outliers, strict=True):
            result[f"eta_{threshold:.2f}"] = outliers / count if count else np.nan
        intervals = self.num_with_intervals
        result["coverage_68"] = self.num_inside_68 / intervals if intervals else np.nan
        result["coverage_95"] = self.num_inside_95 / intervals if intervals else np.nan
        return result

    def _histogram_metrics(self) -> dict[str, float]:
        centres = (np.arange(_DZ_BINS + 2, dtype=np.float64) - 0.5) * DZ_BIN_WIDTH - DZ_LIMIT
        median = _median_of_counts(centres, self.dz_counts)
        # Fold the histogram at the median: distances of the bin centres, in growing order.
        distance = np.abs(centres - median)
        order = np.argsort(distance, kind="stable")
        deviation = _median_of_counts(distance[order], self.dz_counts[order])
        return {"bias": median, "sigma_nmad": NMAD_FACTOR * deviation}
