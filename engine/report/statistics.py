"""What the page shows of the catalogue, as sums over rows that merge leaf by leaf.

Shapes: N rows of one leaf, B bands, K classes, Z redshift bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.quantiles import cumulative_at, stacked_posteriors
from model.metrics import PointMetrics
from partitions.photometry import SOFTENING_NANOMAGGY, flux_to_asinh_magnitude
from partitions.schema import BANDS, QUALITY_BITS, SOURCE_TYPES
from partitions.targets import DESI_TARGET_BITS

Columns = dict[str, npt.NDArray[Any]]
FloatArray = npt.NDArray[np.float64]

Z_EDGES = np.concatenate([np.arange(0, 2, 0.05), np.arange(2, 4.001, 0.2)])
"""Bins of n(z): fine where galaxies are."""

PLANE_EDGES = np.expm1(np.linspace(0, np.log1p(4.0), 61))
"""Bins of the z_spec - z_phot plane: equal steps in ln(1 + z)."""

MAG_EDGES = np.arange(14, 26.001, 0.25)
COLOUR_EDGES = np.arange(-2, 6.001, 0.1)
DEPTH_EDGES = np.arange(17, 28.001, 0.05)

MAGNITUDES = {"MAG_G": ("g",), "MAG_R": ("r",), "MAG_Z": ("z",), "MAG_W1": ("W1",)}
COLOURS = {"G-R": ("g", "r"), "R-Z": ("r", "z"), "Z-W1": ("z", "W1"), "W1-W2": ("W1", "W2")}
"""Feature of the network -> its bands; colour = first - second."""

TARGET_CLASSES = {
    name: ("DESI_TARGET", DESI_TARGET_BITS[bit])
    for name, bit in (("BGS", "BGS_ANY"), ("LRG", "LRG"), ("ELG", "ELG"), ("QSO", "QSO"))
}
"""Class -> column and bit."""

TARGET_COLUMNS = ("DESI_TARGET", "BGS_TARGET")


@dataclass
class Histogram:
    """Counts in bins, with what lies below and above."""

    counts: npt.NDArray[np.int64]
    below: int = 0
    above: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[Any], edges: FloatArray) -> Histogram:
        """Count the finite values."""
        finite = values[np.isfinite(values)]
        counts = np.histogram(finite, edges)[0].astype(np.int64)
        below, above = int((finite < edges[0]).sum()), int((finite > edges[-1]).sum())
        return cls(counts, below, above)

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(
            self.counts + other.counts, self.below + other.below, self.above + other.above
        )

    def median(self, edges: FloatArray) -> float:
        """To the width of a bin, of what lies inside; NaN if nothing does."""
        total = int(self.counts.sum())
        if not total:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.counts), (total + 1) // 2))
        return float(0.5 * (edges[place] + edges[place + 1]))


@dataclass
class CatalogueStatistics:
    """Sums over rows; add two to merge them."""

    num_rows: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    """Class or TYPE -> rows; a row may have several classes."""
    nz: dict[str, FloatArray] = field(default_factory=dict)
    """`all` and each class -> (Z,) sum of posteriors in the bins of Z_EDGES."""
    flags: dict[str, int] = field(default_factory=dict)
    """Quality bit -> rows that have it."""
    num_clean: int = 0
    """Rows without any bit."""
    band_sets: dict[str, int] = field(default_factory=dict)
    """`g r i z W1 W2` -> rows with a flux in just these bands."""
    depth: dict[str, Histogram] = field(default_factory=dict)
    """Band -> 5-sigma depths of PSF rows, AB mag, in DEPTH_EDGES."""
    features: dict[str, Histogram] = field(default_factory=dict)
    """Feature -> dereddened asinh magnitudes or colours, AB mag."""
    known: PointMetrics = field(default_factory=PointMetrics.zero)
    """Rows with known redshifts."""
    plane: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(PLANE_EDGES) - 1,) * 2, np.int64)
    )
    """Rows with known redshifts in bins of (z_spec, z_phot), PLANE_EDGES."""
    num_known_beyond: int = 0
    """Of these, rows outside of the plane."""

    def __add__(self, other: CatalogueStatistics) -> CatalogueStatistics:
        return CatalogueStatistics(
            self.num_rows + other.num_rows,
            _merge(self.classes, other.classes),
            _merge(self.nz, other.nz),
            _merge(self.flags, other.flags),
            self.num_clean + other.num_clean,
            _merge(self.band_sets, other.band_sets),
            _merge(self.depth, other.depth),
            _merge(self.features, other.features),
            self.known + other.known,
            self.plane + other.plane,
            self.num_known_beyond + other.num_known_beyond,
        )


def _merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {
        name: a[name] + b[name] if name in a and name in b else a.get(name, b.get(name))
        for name in [*a, *(name for name in b if name not in a)]
    }


def summarise_leaf(
    leaf: Columns, levels: FloatArray, z_spec: FloatArray | None
) -> CatalogueStatistics:
    """The sums of one leaf.

    Parameters
    ----------
    leaf
        Catalogue columns, (N,) each, Z_PHOT_QUANTILES (N, Q).
    levels
        (Q,) levels of the quantiles.
    z_spec
        (N,) known redshift, NaN where there is none; None without a truth table.
    """
    present = np.stack([leaf[f"FLUX_IVAR_{band.upper()}"] > 0 for band in BANDS], axis=1)
    members = _members(leaf)
    quantiles = leaf["Z_PHOT_QUANTILES"]
    flag = leaf["Z_PHOT_FLAG"]
    found = CatalogueStatistics(
        num_rows=len(flag),
        classes={name: int(mask.sum()) for name, mask in members.items()},
        nz={
            "all": stacked_posteriors(quantiles, levels, Z_EDGES),
            **{
                name: stacked_posteriors(quantiles[mask], levels, Z_EDGES)
                for name, mask in members.items()
            },
        },
        flags={name: int(((flag >> bit) & 1).sum()) for name, bit in QUALITY_BITS.items()},
        num_clean=int((flag == 0).sum()),
        band_sets=_band_sets(present),
        depth=_depths(leaf),
        features=_features(leaf, present),
    )
    if z_spec is not None and np.isfinite(z_spec).any():
        _judge(found, leaf, levels, z_spec)
    return found


def _members(leaf: Columns) -> dict[str, npt.NDArray[np.bool_]]:
    """Class -> its rows: target classes where the catalogue has them, else TYPE."""
    if all(name in leaf for name in TARGET_COLUMNS):
        return {
            name: (leaf[column] >> bit) & 1 != 0 for name, (column, bit) in TARGET_CLASSES.items()
        }
    return {name: leaf["TYPE"] == name for name in SOURCE_TYPES}


def _band_sets(present_NB: npt.NDArray[np.bool_]) -> dict[str, int]:
    codes, counts = np.unique(
        present_NB @ (1 << np.arange(present_NB.shape[1])), return_counts=True
    )
    return {
        " ".join(band for place, band in enumerate(BANDS) if code >> place & 1) or "none": count
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    }


def _depths(leaf: Columns) -> dict[str, Histogram]:
    found = {}
    for band in BANDS:
        ivar = leaf[f"FLUX_IVAR_{band.upper()}"].astype(np.float64)
        ivar = ivar[(leaf["TYPE"] == "PSF") & (ivar > 0)]
        found[band] = Histogram.of(22.5 - 2.5 * np.log10(5 / np.sqrt(ivar)), DEPTH_EDGES)
    return found


def _features(leaf: Columns, present_NB: npt.NDArray[np.bool_]) -> dict[str, Histogram]:
    mags = {}
    for place, band in enumerate(BANDS):
        flux = leaf[f"FLUX_{band.upper()}"] / leaf[f"MW_TRANSMISSION_{band.upper()}"]
        mag = flux_to_asinh_magnitude(flux, SOFTENING_NANOMAGGY[band])
        mags[band] = np.where(present_NB[:, place], mag, np.nan)
    found = {name: Histogram.of(mags[band], MAG_EDGES) for name, (band,) in MAGNITUDES.items()}
    for name, (blue, red) in COLOURS.items():
        found[name] = Histogram.of(mags[blue] - mags[red], COLOUR_EDGES)
    return found


def _judge(
    found: CatalogueStatistics, leaf: Columns, levels: FloatArray, z_spec: FloatArray
) -> None:
    rows = np.isfinite(z_spec)
    z, z_phot = z_spec[rows], leaf["Z_PHOT_MEDIAN"][rows].astype(np.float64)
    pit = cumulative_at(leaf["Z_PHOT_QUANTILES"][rows], levels, z)
    intervals = {
        name: leaf[f"Z_PHOT_{name.upper()}"][rows] for name in ("l68", "u68", "l95", "u95")
    }
    found.known = PointMetrics.of(z_phot, z, intervals, pit)
    found.plane = np.histogram2d(z, z_phot, (PLANE_EDGES, PLANE_EDGES))[0].astype(np.int64)
    found.num_known_beyond = int(rows.sum() - found.plane.sum())


def needed_columns(names: Sequence[str]) -> list[str]:
    """The columns of a catalogue that `summarise_leaf` reads."""
    stems = ("FLUX", "FLUX_IVAR", "MW_TRANSMISSION")
    needed = ["TARGETID", "TYPE", "Z_PHOT_MEDIAN", "Z_PHOT_QUANTILES", "Z_PHOT_FLAG"]
    needed += [f"Z_PHOT_{name}" for name in ("L68", "U68", "L95", "U95")]
    needed += [f"{stem}_{band.upper()}" for stem in stems for band in BANDS]
    if all(name in names for name in TARGET_COLUMNS):
        needed += TARGET_COLUMNS
    return needed
