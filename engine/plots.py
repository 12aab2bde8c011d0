"""Plots of an evaluation: arrays in, PNG out, in one style.

Colours are those of Okabe & Ito (colour-blind safe) and cividis for densities.

Shapes: N rows, K bins, Z redshift bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.atomic import produce_atomic
from model import metrics
from partitions.schema import OPTICAL_PIXEL_SCALE_ARCSEC

FloatArray = npt.NDArray[np.float64]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.55"

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
    "savefig.facecolor": "white",
}

_DPI = 130
_REDSHIFT_TICKS = (0, 0.2, 0.5, 1, 1.5, 2, 3, 4, 6)

# Below this, points say more than a density.
_MIN_DENSITY_ROWS = 3000

_Z_SPEC, _Z_PHOT = "spectroscopic redshift  $z_{spec}$", "photometric redshift  $z_{phot}$"
_DZ = r"$\Delta z = (z_{phot} - z_{spec})\,/\,(1 + z_{spec})$"
_R_MAG = "dereddened r  [AB mag]"


def has_matplotlib() -> bool:
    """Whether plots can be drawn."""
    return find_spec("matplotlib") is not None


def draw_figure(path: Path, size_inch: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """One figure in the common style, written by rename."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=size_inch, layout="constrained")
        draw(figure)
        produce_atomic(path, lambda wip: figure.savefig(wip, format="png", dpi=_DPI))


def redshift_axis(axis: Any, largest: float) -> None:
    """Equal steps in ln(1 + z), so that lines of equal dz are parallel."""
    axis.set_ticks([tick for tick in _REDSHIFT_TICKS if tick <= largest])
    axis.set_major_formatter(lambda value, _position: f"{value:g}")
    axis.set_minor_locator(_no_ticks())


def _count_axis(panel: Any) -> None:
    """Numbers of sources on a logarithmic scale, written out."""
    from matplotlib.ticker import LogLocator

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.yaxis.set_minor_locator(_no_ticks())
    panel.yaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


# --- point estimates -----------------------------------------------------------------------------


def draw_z_phot(path: Path, z_spec: FloatArray, z_phot: FloatArray, caption: str) -> None:
    """z_phot against z_spec: points, or their density where there are many."""

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        largest = 1.05 * (1 + float(max(z_spec.max(), z_phot.max()))) - 1
        for set_scale in (panel.set_xscale, panel.set_yscale):
            set_scale("function", functions=(np.log1p, np.expm1))
        if len(z_spec) < _MIN_DENSITY_ROWS:
            panel.plot(z_spec, z_phot, "o", ms=4, color=BLUE, alpha=0.5, mew=0)
        else:
            edges = np.expm1(np.linspace(0, np.log1p(largest), 150))
            _, _, _, image = panel.hist2d(
                z_spec, z_phot, bins=(edges, edges), cmin=1, cmap="cividis", norm="log"
            )
            figure.colorbar(image, ax=panel, label="sources per cell", shrink=0.8, pad=0.02)
        line = np.linspace(0, largest, 100)
        panel.plot(line, line, color="0.2", lw=1.0)
        for sign, label in ((1, "$|\\Delta z| = 0.15$"), (-1, None)):
            bound = line + sign * metrics.OUTLIER_THRESHOLDS[0] * (1 + line)
            panel.plot(line, bound, "--", color=ORANGE, lw=1.3, label=label)
        for axis in (panel.xaxis, panel.yaxis):
            redshift_axis(axis, largest)
        panel.set(xlim=(0, largest), ylim=(0, largest), xlabel=_Z_SPEC, ylabel=_Z_PHOT)
        panel.set_aspect("equal")
        panel.set_title(caption, loc="left")
        panel.legend(loc="upper left")

    draw_figure(path, (6.4, 5.8), draw)


_DZ_LIMIT = 0.5


def draw_dz(path: Path, dz: FloatArray) -> None:
    """Histogram of dz on a logarithmic scale, with the Gaussian of the same sigma_NMAD."""
    bias, sigma = metrics.bias(dz), metrics.sigma_nmad(dz)
    num_beyond = int(np.count_nonzero(np.abs(dz) > _DZ_LIMIT))
    width = 0.01 if len(dz) >= 2000 else 0.02

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        edges = np.linspace(-_DZ_LIMIT, _DZ_LIMIT, round(2 * _DZ_LIMIT / width) + 1)
        counts, _, _ = panel.hist(dz, edges, color=BLUE, alpha=0.75, label=f"{len(dz):,} sources")
        x = np.linspace(-_DZ_LIMIT, _DZ_LIMIT, 500)
        spread = max(sigma, 1e-6)
        gauss = np.exp(-0.5 * ((x - bias) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
        label = f"Gaussian, bias {bias:+.4f}, $\\sigma_{{NMAD}}$ {sigma:.4f}"
        panel.plot(x, len(dz) * width * gauss, color="0.2", lw=1.2, label=label)
        threshold = metrics.OUTLIER_THRESHOLDS[0]
        eta = 100 * metrics.outlier_fraction(dz, threshold)
        for x_line, name in ((-threshold, None), (threshold, f"outliers beyond: {eta:.1f} %")):
            # Up to the legend.
            panel.axvline(x_line, ymax=0.78, ls="--", color=ORANGE, lw=1.3, label=name)
        panel.set_yscale("log")
        panel.set(xlim=(-_DZ_LIMIT, _DZ_LIMIT), ylim=(0.5, 8 * max(counts.max(), 1)))
        panel.set(xlabel=_DZ, ylabel=f"sources per {width:g}")
        panel.set_title(f"{num_beyond:,} sources lie beyond $\\pm${_DZ_LIMIT:g}", loc="left")
        panel.legend(loc="upper left", ncols=1)

    draw_figure(path, (6.4, 4.4), draw)


# --- metrics in bins -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Trend:
    """Metrics in K bins of one quantity."""

    x: FloatArray
    """(K,) where to draw each bin: the median of its rows."""
    num_rows: npt.NDArray[np.int64]
    """(K,) rows of each bin."""
    values: Mapping[str, FloatArray]
    """Metric -> (K,); NaN for too few rows."""
    errors: Mapping[str, FloatArray]
    """Metric -> (K,)."""


TREND_METRICS = {
    "bias": "bias",
    "sigma_nmad": r"$\sigma_{NMAD}$",
    "eta_0.15": r"$\eta$   ($|\Delta z| > 0.15$)",
    "crps": "CRPS  [redshift]",
}
"""Metrics drawn in bins, with their labels."""


def draw_trends(path: Path, by_z: Trend, by_r: Trend) -> None:
    """Metrics against redshift (left) and r magnitude (right), one row a metric."""

    def draw(figure: Any) -> None:
        names = list(TREND_METRICS)
        grid = figure.subplots(len(names) + 1, 2, sharex="col", sharey="row", squeeze=False)
        figure.align_ylabels(grid[:, 0])
        for column, trend in enumerate((by_z, by_r)):
            for row, name in enumerate(names):
                panel = grid[row, column]
                panel.errorbar(
                    trend.x, trend.values[name], trend.errors[name], fmt="o-", ms=4, lw=1.2,
                    elinewidth=1.2, capsize=2, color=(BLUE, GREEN)[column],
                )  # fmt: skip
                if name == "bias":
                    panel.axhline(0, color="0.2", lw=0.8)
            panel = grid[-1, column]
            panel.plot(trend.x, trend.num_rows, "s-", ms=3.5, lw=1.0, color=GREY)
            _count_axis(panel)
        for row, label in enumerate((*TREND_METRICS.values(), "sources")):
            grid[row, 0].set_ylabel(label)
            if 0 < row < len(names):
                grid[row, 0].set_ylim(bottom=0)
        grid[-1, 0].set_xlabel(f"{_Z_SPEC}, median of the bin")
        grid[-1, 1].set_xlabel(f"{_R_MAG}, median of the bin")

    draw_figure(path, (9.0, 9.0), draw)


# --- calibration ---------------------------------------------------------------------------------


def draw_pit(path: Path, pit: FloatArray) -> None:
    """Histogram of PIT values with the band in which uniform ones lie."""
    counts = metrics.pit_histogram(pit)
    expected = len(pit) / metrics.PIT_BINS
    sigma = np.sqrt((1 - 1 / metrics.PIT_BINS) / expected)
    distance = float(metrics.uniform_distances(pit))
    noise = 1.36 / np.sqrt(len(pit))

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        edges = np.linspace(0, 1, metrics.PIT_BINS + 1)
        panel.stairs(counts / expected, edges, fill=True, color=BLUE, alpha=0.2)
        for factor, shade, label in ((2, "0.85", "95 %"), (1, "0.7", "68 %")):
            panel.axhspan(
                *(1 - factor * sigma, 1 + factor * sigma),
                color=shade,
                lw=0,
                label=f"{label} of the bins of a perfect sample",
            )
        panel.stairs(counts / expected, edges, color=BLUE, lw=1.8, baseline=None)
        panel.axhline(1, color="0.2", lw=1.0)
        top = max(1.25, 1.3 * float(counts.max()) / expected, 1 + 3 * sigma)
        panel.set(xlim=(0, 1), ylim=(0, top))
        panel.set(xlabel="PIT: cumulative probability at $z_{spec}$", ylabel="density")
        panel.set_title(
            f"{len(pit):,} sources   KS distance {distance:.4f}"
            f"   (95 % of uniform samples: below {noise:.4f})",
            loc="left",
        )
        panel.legend(loc="upper center", ncols=2)

    draw_figure(path, (6.4, 4.2), draw)


def draw_coverage(path: Path, pit: FloatArray) -> None:
    """Observed against nominal coverage of the central intervals, and their difference."""
    # A central interval of probability p holds the truth where |2 PIT - 1| <= p.
    depth = np.sort(np.abs(2 * pit - 1))
    nominal = np.linspace(0, 1, 201)
    observed = np.searchsorted(depth, nominal, side="right") / len(depth)
    sigma = np.sqrt(nominal * (1 - nominal) / len(depth))

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
        for panel, line, centre in ((upper, observed, nominal), (lower, observed - nominal, 0)):
            panel.fill_between(
                nominal, centre - 2 * sigma, centre + 2 * sigma, color=GREY, alpha=0.35, lw=0,
                label="2 sigma of a perfect sample",
            )  # fmt: skip
            panel.plot(nominal, centre + 0 * nominal, color="0.2", lw=0.8)
            panel.plot(nominal, line, color=BLUE, label="observed")
            for level in (0.68, 0.95):
                value = float(np.interp(level, nominal, line))
                panel.plot([level], [value], "o", ms=5, color=ORANGE)
        for level in (0.68, 0.95):
            value = float(np.interp(level, nominal, observed))
            upper.annotate(
                f"{100 * level:.0f} % interval: {100 * value:.1f} %", (level, value),
                xytext=(-8, 7), textcoords="offset points", ha="right", fontsize=9,
            )  # fmt: skip
        largest = 1.15 * max(float(np.abs(observed - nominal).max()), 3 * float(sigma.max()))
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="observed coverage")
        upper.set_title("Central intervals: above the line, too wide", loc="left")
        upper.legend(loc="lower right")
        lower.set(ylim=(-largest, largest), ylabel="difference", xlabel="nominal coverage")

    draw_figure(path, (5.6, 6.2), draw)


# --- examples ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One source with its posterior."""

    title: str
    """One short line."""
    stamps: npt.NDArray[np.floating[Any]]
    """(4, H, W) g, r, i, z in nanomaggies."""
    pdf: FloatArray
    """(Z,) probability of each bin."""
    z_spec: float
    z_phot: float


def draw_examples(path: Path, columns: Mapping[str, Sequence[Example]], edges: FloatArray) -> None:
    """Stamps and posteriors, one column of examples a heading."""
    num_rows = max(len(examples) for examples in columns.values())
    largest = max(_range_end(item, edges) for items in columns.values() for item in items)

    def draw(figure: Any) -> None:
        halves = figure.subfigures(1, len(columns), wspace=0.04, squeeze=False)[0]
        for half, (heading, examples) in zip(halves, columns.items(), strict=True):
            half.suptitle(heading, fontsize=11, fontweight="bold")
            grid = half.subplots(num_rows, 2, width_ratios=(1, 2.3), squeeze=False)
            for panel in grid[len(examples) :].flat:
                panel.set_axis_off()
            for panels, example in zip(grid, examples, strict=False):
                _draw_stamp(panels[0], example.stamps)
                _draw_posterior(panels[1], example, edges, largest)
            for row, panels in enumerate(grid[: len(examples)]):
                last = row == len(examples) - 1
                panels[1].tick_params(labelbottom=last)
                if last:
                    panels[1].set_xlabel("redshift")
        handles, labels = halves[0].axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)

    draw_figure(path, (5.2 * len(columns), 1.75 * num_rows + 1.0), draw)


def _range_end(example: Example, edges: FloatArray) -> float:
    """Redshift that holds 99.5 % of the posterior, the truth and a margin."""
    end = edges[1:][np.searchsorted(np.cumsum(example.pdf) / example.pdf.sum(), 0.995)]
    return 1.05 * (1 + max(float(end), example.z_spec)) - 1


def _draw_posterior(panel: Any, example: Example, edges: FloatArray, largest: float) -> None:
    panel.stairs(
        example.pdf / np.diff(edges), edges, fill=True, color=BLUE, alpha=0.55, label="posterior"
    )
    panel.axvline(example.z_phot, ls="--", color=BLUE, lw=1.4, label="its median, $z_{phot}$")
    panel.axvline(example.z_spec, color=ORANGE, lw=1.4, label="$z_{spec}$")
    panel.set_xscale("function", functions=(np.log1p, np.expm1))
    redshift_axis(panel.xaxis, largest)
    panel.set(xlim=(0, largest), yticks=[])
    panel.set_ylim(bottom=0)
    panel.spines["left"].set_visible(False)
    panel.set_title(example.title, loc="left", fontsize=8.5)


# Scales of z, r, g as red, green, blue and the stretch: those of the survey's own sky viewer.
_RGB_SCALES = ((3, 2.2), (1, 3.4), (0, 6.0))
_RGB_OFFSET, _RGB_STRETCH = 0.03, 20.0
_RULER_ARCSEC = 3.0


def _draw_stamp(panel: Any, stamps: npt.NDArray[np.floating[Any]]) -> None:
    panel.imshow(colour_stamp(stamps), origin="lower", interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.grid(False)
    length = _RULER_ARCSEC / OPTICAL_PIXEL_SCALE_ARCSEC
    panel.plot([1.5, 1.5 + length], [1.5, 1.5], color="white", lw=2)
    panel.text(1.5, 2.6, f"{_RULER_ARCSEC:g}″", color="white", fontsize=8)
    # A reticle: the source is the pixel in the middle, which may be a faint neighbour.
    middle, reach = len(stamps[0]) // 2, 0.1 * len(stamps[0])
    for dx, dy in ((1, 0), (0, 1)):
        ends = np.array([0.9 * reach, 2.1 * reach])
        panel.plot(middle + dx * ends, middle + dy * ends, color="white", lw=1.1, alpha=0.8)


def colour_stamp(stamps: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """(H, W, 3) red, green, blue from 0 to 1 of stamps (4, H, W) in g, r, i, z.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133.
    """
    planes = [
        np.maximum(stamps[band].astype(np.float64) * scale + _RGB_OFFSET, 0)
        for band, scale in _RGB_SCALES
    ]
    rgb = np.stack(planes, axis=-1)
    mean = rgb.mean(axis=-1, keepdims=True)
    stretch = np.arcsinh(_RGB_STRETCH * mean) / np.sqrt(_RGB_STRETCH) / np.maximum(mean, 1e-9)
    clipped: FloatArray = np.clip(rgb * stretch, 0, 1)
    return clipped
