"""Pictures of selected rows: their redshifts, their places, their colours.

DuckDB counts, so that memory holds cells and not rows; few rows are drawn one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.catalogue.read import read_schema
from engine.catalogue.schema import QUANTILE_COLUMN, SPATIAL_INDEX_COLUMN, schema_quantile_levels
from engine.config import UserError, check_folder
from engine.plots import BLUE, ORANGE, draw_figure, has_matplotlib
from engine.query.coverage import FloatArray, IntArray
from engine.query.regions import unit_vectors
from engine.query.sandbox import VIEW
from engine.query.search import query
from engine.query.selection import Selection
from partitions.healpix import SPATIAL_INDEX_ORDER, pixel_centres, radec_to_pixel

# More rows than these are drawn as densities.
_MAX_POINTS = 20_000
_BIN_WIDTH = 0.05
_STACK_WIDTH = 0.01
# Points that stand for the probability between two quantiles.
_STEPS = 8
# Farther from its centre than this a flat map of the sky deceives.
_MAX_FLAT_DEG = 40.0
_CELL_SOURCES = 5
_COLOUR_CELLS = 120
_MIN_SIGNAL_TO_NOISE = 5


def check_picture(path: Path) -> None:
    """Refuse, before work is spent, what cannot be drawn.

    Raises
    ------
    UserError
        If matplotlib is missing, the name ends in another way, or its folder cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"--plot {path}: name a file that ends in .png")
    if not has_matplotlib():
        raise UserError(
            "--plot needs matplotlib, which is not installed: pip install 'photoz-engine[plot]'"
        )
    check_folder("--plot", path.parent)


class _Rows:
    """The selected rows of a catalogue, to be asked more than once."""

    def __init__(self, catalogue: Path, selections: Sequence[Selection], where: str | None) -> None:
        self.catalogue = catalogue
        self._selections = selections
        self._where = where

    def select(self, columns: str, more: str = "", condition: str = "true") -> pa.Table:
        """SELECT of the rows, in memory."""
        where = "true" if self._where is None else self._where
        statement = f"SELECT {columns} FROM {VIEW} WHERE (\n{where}\n) AND ({condition}) {more}"
        with query(self.catalogue, *self._selections, sql=statement) as answer:
            return answer.read()

    def count(self, condition: str = "true") -> int:
        return int(self.select("count(*) AS n", condition=condition)["n"][0].as_py())

    def stack_quantiles(self) -> tuple[FloatArray, FloatArray]:
        """Edges (K + 1,) and sum over rows (K,) of the probability between outermost quantiles."""
        levels = schema_quantile_levels(read_schema(self.catalogue))
        steps = (np.arange(_STEPS) + 0.5) / _STEPS
        weights = np.repeat(np.diff(levels) / _STEPS, _STEPS)
        edges = np.arange(0, 8 + _STACK_WIDTH, _STACK_WIDTH)
        total = np.zeros(len(edges) - 1)
        with query(
            self.catalogue, *self._selections, columns=[QUANTILE_COLUMN], where=self._where
        ) as answer:
            for batch in answer.batches():
                lists = batch.column(0)
                quantiles = lists.flatten().to_numpy().reshape(len(lists), -1).astype(np.float64)
                widths = np.diff(quantiles, axis=1)
                points = quantiles[:, :-1, None] + widths[:, :, None] * steps
                total += np.histogram(
                    points.ravel(), edges, weights=np.tile(weights, len(quantiles))
                )[0]
        return edges, total


def draw_picture(
    kind: str, path: Path, catalogue: Path, selections: Sequence[Selection], where: str | None
) -> int:
    """Draw one of `KINDS` of the selected rows; returns how many rows there are.

    Raises
    ------
    UserError
        If there is no row to draw.
    """
    rows = _Rows(catalogue, selections, where)
    num_rows = rows.count()
    if not num_rows:
        raise UserError(f"--plot {path}: no row is selected, so there is nothing to draw")
    KINDS[kind](path, rows, num_rows)
    return num_rows


def _draw_nz(path: Path, rows: _Rows, num_rows: int) -> None:
    """Histogram of Z_PHOT_MEDIAN, and the sum of the posteriors from their quantiles."""
    table = rows.select(
        f"CAST(floor(Z_PHOT_MEDIAN / {_BIN_WIDTH}) AS INT) AS bin, count(*) AS n", "GROUP BY bin"
    )
    bins, counts = table["bin"].to_numpy(), table["n"].to_numpy()
    edges = np.arange(max(bins.max(), 1) + 2) * _BIN_WIDTH
    histogram = np.zeros(len(edges) - 1)
    histogram[bins] = counts
    stack_edges, stack = rows.stack_quantiles()
    smooth = stack / _STACK_WIDTH * _BIN_WIDTH

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        panel.stairs(
            histogram, edges, fill=True, color=BLUE, alpha=0.35, label="medians $z_{phot}$"
        )
        panel.stairs(
            smooth, stack_edges, color=ORANGE, lw=1.5, label="sum of the posteriors (central 98 %)"
        )
        reach = stack_edges[np.searchsorted(np.cumsum(stack) / stack.sum(), 0.995) + 1]
        panel.set(xlim=(0, max(reach, edges[-1])), xlabel="photometric redshift  $z_{phot}$")
        panel.set(ylabel=f"sources per {_BIN_WIDTH:g} in redshift")
        panel.set_ylim(bottom=0)
        panel.set_title(f"{num_rows:,} sources", loc="left")
        panel.legend(loc="upper right")

    draw_figure(path, (6.4, 4.2), draw)


def _draw_sky(path: Path, rows: _Rows, num_rows: int) -> None:
    """Positions about their middle, or on the whole sky; many rows as a density."""
    order, pixels, counts = _count_cells(rows)
    ra_deg, dec_deg = pixel_centres(pixels, order)
    middle = np.average(unit_vectors(ra_deg, dec_deg), axis=0)
    centre = (
        math.degrees(math.atan2(middle[1], middle[0])) % 360,
        math.degrees(math.atan2(middle[2], math.hypot(middle[0], middle[1]))),
    )
    x, y = _to_offsets(ra_deg, dec_deg, centre)
    cell_deg = math.degrees(math.sqrt(math.pi / 3) / (1 << order))
    reach_deg = float(np.hypot(x, y).max()) + cell_deg
    if num_rows <= _MAX_POINTS:
        table = rows.select("RA, DEC")
        ra_deg, dec_deg = table["RA"].to_numpy(), table["DEC"].to_numpy()
    density = _Density(order, pixels, counts / cell_deg**2)
    title = f"{num_rows:,} sources"

    def draw_flat(figure: Any) -> None:
        panel = figure.subplots()
        unit, scale = ("deg", 1) if reach_deg > 1 else ("arcmin", 60)
        if num_rows <= _MAX_POINTS:
            x, y = _to_offsets(ra_deg, dec_deg, centre)
            size = float(np.clip(2000 / num_rows, 1.5, 16))
            panel.scatter(scale * x, scale * y, s=size, color=BLUE, alpha=0.6, lw=0)
        else:
            line = np.linspace(-reach_deg, reach_deg, 500)
            values = density.at(*_from_offsets(*np.meshgrid(line, line), centre))
            image = panel.pcolormesh(scale * line, scale * line, values, cmap="cividis", norm="log")
            figure.colorbar(image, ax=panel, label="sources per deg$^2$", shrink=0.8, pad=0.02)
        panel.set_aspect("equal")
        panel.invert_xaxis()
        panel.set(xlabel=f"offset to the east  [{unit}]", ylabel=f"offset to the north  [{unit}]")
        panel.set_title(f"{title} about RA {centre[0]:.4f}, Dec {centre[1]:+.4f} deg", loc="left")

    def draw_all_sky(figure: Any) -> None:
        panel = figure.add_subplot(projection="mollweide")
        # East to the left: the map's longitude is -RA.
        if num_rows <= _MAX_POINTS:
            longitude = -np.radians((ra_deg + 180) % 360 - 180)
            panel.scatter(longitude, np.radians(dec_deg), s=6, color=BLUE, alpha=0.5, lw=0)
        else:
            longitude, latitude = np.meshgrid(
                np.linspace(-math.pi, math.pi, 900), np.linspace(-math.pi / 2, math.pi / 2, 450)
            )
            values = density.at(-np.degrees(longitude) % 360, np.degrees(latitude))
            image = panel.pcolormesh(longitude, latitude, values, cmap="cividis", norm="log")
            figure.colorbar(image, ax=panel, label="sources per deg$^2$", shrink=0.6, pad=0.03)
        ticks = np.arange(-120, 121, 60)
        panel.set_xticks(np.radians(ticks), [f"{-tick % 360}°" for tick in ticks], fontsize=8)
        for label in panel.get_xticklabels():  # They lie on the map.
            label.set_bbox({"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1})
        panel.set(xlabel="RA", ylabel="Dec")
        panel.set_title(title, loc="left")

    if reach_deg <= _MAX_FLAT_DEG:
        draw_figure(path, (6.4, 5.8), draw_flat)
    else:
        draw_figure(path, (8.6, 4.6), draw_all_sky)


class _Density:
    """Sources per square degree of HEALPix pixels; NaN where there is none."""

    def __init__(self, order: int, pixels: IntArray, per_deg2: FloatArray) -> None:
        by_number = np.argsort(pixels)
        self._order, self._pixels, self._values = order, pixels[by_number], per_deg2[by_number]

    def at(self, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
        number = radec_to_pixel(ra_deg, dec_deg, self._order)
        place = np.minimum(np.searchsorted(self._pixels, number), len(self._pixels) - 1)
        return np.where(self._pixels[place] == number, self._values[place], np.nan)


def _count_cells(rows: _Rows) -> tuple[int, IntArray, IntArray]:
    """Order, pixel numbers and sources of cells of about five sources or more."""

    def count(order: int) -> tuple[IntArray, IntArray]:
        shift = 2 * (SPATIAL_INDEX_ORDER - order)
        table = rows.select(
            f"{SPATIAL_INDEX_COLUMN} >> {shift} AS pixel, count(*) AS n", "GROUP BY pixel"
        )
        return table["pixel"].to_numpy(), table["n"].to_numpy()

    order = 8
    pixels, counts = count(order)
    # A picture has no room for more cells than that.
    finer = math.floor(math.log(min(counts.mean() / _CELL_SOURCES, 40_000 / len(pixels)), 4))
    if finer > 0:
        order = min(order + finer, 14)
        pixels, counts = count(order)
    while counts.mean() < _CELL_SOURCES and order > 3:
        order -= 1
        pixels, inverse = np.unique(pixels >> 2, return_inverse=True)
        counts = np.bincount(inverse, counts).astype(np.int64)
    return order, pixels, counts


def _to_offsets(
    ra_deg: FloatArray, dec_deg: FloatArray, centre_deg: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """East and north offsets in degrees, distances from the centre kept (zenithal equidistant)."""
    ra, dec = np.radians(ra_deg - centre_deg[0]), np.radians(dec_deg)
    dec0 = math.radians(centre_deg[1])
    east = np.cos(dec) * np.sin(ra)
    north = np.sin(dec) * math.cos(dec0) - np.cos(dec) * math.sin(dec0) * np.cos(ra)
    outward = np.sin(dec) * math.sin(dec0) + np.cos(dec) * math.cos(dec0) * np.cos(ra)
    sine = np.hypot(east, north)
    factor = np.degrees(np.arctan2(sine, outward)) / np.maximum(sine, 1e-300)
    return east * factor, north * factor


def _from_offsets(
    x_deg: FloatArray, y_deg: FloatArray, centre_deg: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """The inverse of `_to_offsets`."""
    distance = np.radians(np.hypot(x_deg, y_deg))
    angle = np.arctan2(x_deg, y_deg)
    dec0 = math.radians(centre_deg[1])
    east, north = np.sin(distance) * np.sin(angle), np.sin(distance) * np.cos(angle)
    outward = np.cos(distance)
    dec = np.arcsin(np.clip(outward * math.sin(dec0) + north * math.cos(dec0), -1, 1))
    ra = np.arctan2(east, outward * math.cos(dec0) - north * math.sin(dec0))
    return (centre_deg[0] + np.degrees(ra)) % 360, np.degrees(dec)


def _colour(first: str, second: str) -> str:
    """SQL of a dereddened colour in AB mag."""
    fluxes = (f"(FLUX_{band}::DOUBLE / MW_TRANSMISSION_{band})" for band in (first, second))
    return f"-2.5 * log10({' / '.join(fluxes)})"


def _draw_colour(path: Path, rows: _Rows, num_rows: int) -> None:
    """g - r against r - z, coloured by redshift."""
    seen = " AND ".join(
        f"FLUX_{band} * sqrt(FLUX_IVAR_{band}) > {_MIN_SIGNAL_TO_NOISE}" for band in "GRZ"
    )
    gr, rz, z = _colour("G", "R"), _colour("R", "Z"), "Z_PHOT_MEDIAN"
    num_seen = rows.count(seen)
    if not num_seen:
        raise UserError(
            f"--plot {path}: none of the {num_rows:,} rows has g, r and z fluxes with "
            f"S/N > {_MIN_SIGNAL_TO_NOISE}"
        )
    ends = rows.select(
        f"quantile_cont({gr}, [0.002, 0.998]) AS gr, quantile_cont({rz}, [0.002, 0.998]) AS rz",
        condition=seen,
    ).to_pylist()[0]
    low = np.array([ends["rz"][0], ends["gr"][0]]) - 0.2
    high = np.array([ends["rz"][1], ends["gr"][1]]) + 0.2
    cell = (high - low) / _COLOUR_CELLS
    if num_seen <= _MAX_POINTS:
        table = rows.select(f"{rz} AS rz, {gr} AS gr, {z} AS z", condition=seen)
        x, y, redshift = (table[name].to_numpy() for name in ("rz", "gr", "z"))
    else:
        table = rows.select(
            f"floor(({rz} - {low[0]:e}) / {cell[0]:e}) AS rz, "
            f"floor(({gr} - {low[1]:e}) / {cell[1]:e}) AS gr, avg({z}) AS z",
            "GROUP BY ALL",
            seen,
        )
        x, y, redshift = (table[name].to_numpy() for name in ("rz", "gr", "z"))

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        limits = np.percentile(redshift, (2, 98))
        if num_seen <= _MAX_POINTS:
            size = float(np.clip(4000 / num_seen, 3, 16))
            image = panel.scatter(
                *(x, y), s=size, c=redshift, cmap="viridis", lw=0, vmin=limits[0], vmax=limits[1]
            )
            label = "photometric redshift  $z_{phot}$"
        else:
            grid = np.full((_COLOUR_CELLS, _COLOUR_CELLS), np.nan)
            inside = (x >= 0) & (x < _COLOUR_CELLS) & (y >= 0) & (y < _COLOUR_CELLS)
            grid[y[inside].astype(int), x[inside].astype(int)] = redshift[inside]
            edges = [low[axis] + cell[axis] * np.arange(_COLOUR_CELLS + 1) for axis in (0, 1)]
            image = panel.pcolormesh(*edges, grid, cmap="viridis", vmin=limits[0], vmax=limits[1])
            label = "mean photometric redshift  $z_{phot}$ of a cell"
        figure.colorbar(image, ax=panel, label=label, shrink=0.8, pad=0.02, extend="both")
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        panel.set(xlabel="dereddened r - z  [AB mag]", ylabel="dereddened g - r  [AB mag]")
        panel.set_title(
            f"{num_seen:,} sources with S/N > {_MIN_SIGNAL_TO_NOISE} in g, r, z"
            f"   (of {num_rows:,})",
            loc="left",
        )

    draw_figure(path, (6.4, 5.4), draw)


KINDS: dict[str, Callable[[Path, _Rows, int], None]] = {
    "nz": _draw_nz,
    "sky": _draw_sky,
    "colour": _draw_colour,
}
"""What can be drawn: distribution of redshifts, places on the sky, colour against colour."""
