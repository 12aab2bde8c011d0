"""How good redshift estimates are: exact functions, and sums that merge across workers.

dz = (z_phot - z_spec) / (1 + z_spec); bias = median dz; sigma_NMAD = 1.48 median|dz - bias|;
eta(t) = fraction with |dz| > t. These are the definitions of the source, so its tables compare.

Shapes: N objects, Z bins.

References
----------
* Definitions of bias, sigma_NMAD and eta: Wei et al. 2025, PASA, arXiv:2505.24175.
* PIT: Dawid 1984, J. R. Stat. Soc. A 147, 278. CRPS: Gneiting & Raftery 2007, JASA 102, 359.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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


def bias(dz: FloatArray) -> float:
    """Median dz; NaN for no objects."""
    return float(np.median(dz)) if dz.size else float("nan")


def sigma_nmad(dz: FloatArray) -> float:
    """1.48 median|dz - median dz|; NaN for no objects."""
    return float(NMAD_FACTOR * np.median(np.abs(dz - np.median(dz)))) if dz.size else float("nan")


def outlier_fraction(dz: FloatArray, threshold: float = 0.15) -> float:
    """eta: fraction of objects with |dz| > threshold; NaN for no objects."""
    return float(np.mean(np.abs(dz) > threshold)) if dz.size else float("nan")


def pit(pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_spec: npt.ArrayLike) -> FloatArray:
    """(N,) probability integral transform: cumulative probability at the true redshift."""
    return cdf_at(pdf_NZ, grid, z_spec)


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


def interval_coverage(lower: npt.ArrayLike, upper: npt.ArrayLike, z_spec: npt.ArrayLike) -> float:
    """Fraction of true redshifts inside [lower, upper]; NaN for no objects."""
    z = np.asarray(z_spec, np.float64)
    return float(np.mean((np.asarray(lower) <= z) & (z <= np.asarray(upper)))) if z.size else np.nan


def negative_log_likelihood(
    pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_spec: npt.ArrayLike
) -> FloatArray:
    """(N,) -ln of the density in z at the true redshift, so that grids can be compared."""
    pdf = normalise(pdf_NZ, grid)
    k = grid.bin_of(np.broadcast_to(np.asarray(z_spec, np.float64), (len(pdf),)))
    density = pdf[np.arange(len(pdf)), k] / grid.widths[k]
    return -np.log(np.maximum(density, np.finfo(np.float64).tiny))


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
            return int(np.count_nonzero((lower <= z) & (z <= upper)))

        pit_counts = np.zeros(PIT_BINS, np.int64)
        if pit_values is not None:
            pit_counts = np.histogram(pit_values, bins=PIT_BINS, range=(0.0, 1.0))[0]
        return cls(
            num_objects=dz.size,
            dz_counts=np.bincount(slot, minlength=_DZ_BINS + 2).astype(np.int64),
            num_outliers=tuple(int(np.count_nonzero(np.abs(dz) > t)) for t in OUTLIER_THRESHOLDS),
            num_with_intervals=dz.size if counted else 0,
            num_inside_68=inside(68),
            num_inside_95=inside(95),
            pit_counts=pit_counts.astype(np.int64),
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
