"""Where on the sky a run is: bricks, or partitions of a large run, by density and state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.report.charts import GREY, RED, Chart, colour_of, tick_text
from engine.report.gather import BrickState

# More boxes than this make the page heavy; partitions are drawn instead.
_MAX_BOXES = 3000
# Regions that are drawn once more, enlarged.
_MAX_ZOOMS = 6
# Bricks whose edges are farther apart than this lie in different regions.
_GAP_DEG = 1.0
_LEAST_BOX = 4.0

_WAITING = "#e3e3e3"


@dataclass(frozen=True)
class Tile:
    """A box on the sky; RA may be above 360 so that a region is in one piece."""

    name: str
    ra1_deg: float
    ra2_deg: float
    dec1_deg: float
    dec2_deg: float
    area_deg2: float
    num_sources: int
    num_bricks: int
    num_done: int
    num_quarantined: int

    @property
    def density(self) -> float:
        """Sources per square degree of its done bricks' own area."""
        return self.num_sources / self.area_deg2 if self.area_deg2 > 0 else 0.0


def sky_charts(bricks: Sequence[BrickState]) -> list[Chart]:
    """The whole run, then its regions where they are few and small."""
    tiles = make_tiles(bricks)
    highest = max((tile.density for tile in tiles), default=0.0)
    charts = [_draw(tiles, "The run on the sky", highest)]
    regions = _regions(tiles) if len(tiles) <= _MAX_BOXES // 4 else []
    if 1 < len(regions) <= _MAX_ZOOMS:
        charts += [
            _draw(region, f"Region {number}", highest, is_zoom=True)
            for number, region in enumerate(regions, 1)
        ]
    return charts


def make_tiles(bricks: Sequence[BrickState]) -> list[Tile]:
    """One box a brick, or one a partition where there are very many bricks."""
    origin = _empty_ra([item.brick.ra_deg for item in bricks])
    tiles = [_tile(item, origin) for item in bricks]
    if len(tiles) <= _MAX_BOXES:
        return tiles
    partitions: dict[str, Tile] = {}
    for item, tile in zip(bricks, tiles, strict=True):
        have = partitions.get(item.partition)
        partitions[item.partition] = (
            replace(tile, name=f"partition {item.partition}") if have is None else _join(have, tile)
        )
    return list(partitions.values())


def _empty_ra(ra_deg: Sequence[float]) -> float:
    """The middle of the widest gap in RA, where the map is cut."""
    ordered = sorted(ra_deg)
    if not ordered:
        return 0.0
    gaps = [(b - a, a) for a, b in zip(ordered, [*ordered[1:], ordered[0] + 360], strict=True)]
    width, begin = max(gaps)
    return (begin + width / 2) % 360


def _tile(item: BrickState, origin_deg: float) -> Tile:
    brick = item.brick
    middle = (brick.ra_deg - origin_deg) % 360 + origin_deg
    half = ((brick.ra2_deg - brick.ra1_deg) % 360 or 360.0) / 2
    bands = math.sin(math.radians(brick.dec2_deg)) - math.sin(math.radians(brick.dec1_deg))
    area = 2 * half * math.degrees(bands)
    done, bad = item.state == "done", item.state == "quarantined"
    return Tile(
        name=f"brick {brick.name}",
        ra1_deg=middle - half,
        ra2_deg=middle + half,
        dec1_deg=brick.dec1_deg,
        dec2_deg=brick.dec2_deg,
        area_deg2=area if done else 0.0,
        num_sources=item.num_sources,
        num_bricks=1,
        num_done=int(done),
        num_quarantined=int(bad),
    )


def _join(a: Tile, b: Tile) -> Tile:
    return Tile(
        a.name,
        min(a.ra1_deg, b.ra1_deg),
        max(a.ra2_deg, b.ra2_deg),
        min(a.dec1_deg, b.dec1_deg),
        max(a.dec2_deg, b.dec2_deg),
        a.area_deg2 + b.area_deg2,
        a.num_sources + b.num_sources,
        a.num_bricks + b.num_bricks,
        a.num_done + b.num_done,
        a.num_quarantined + b.num_quarantined,
    )


def _regions(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Tiles that touch or nearly do, grouped."""
    regions: list[list[Tile]] = []
    for tile in tiles:
        near = [region for region in regions if any(_is_near(tile, other) for other in region)]
        for region in near:
            regions.remove(region)
        regions.append([tile, *(other for region in near for other in region)])
    return regions


def _is_near(a: Tile, b: Tile) -> bool:
    apart_dec = max(a.dec1_deg, b.dec1_deg) - min(a.dec2_deg, b.dec2_deg)
    apart_ra = max(a.ra1_deg, b.ra1_deg) - min(a.ra2_deg, b.ra2_deg)
    shrink = math.cos(math.radians((a.dec1_deg + a.dec2_deg) / 2))
    return apart_dec < _GAP_DEG and apart_ra * shrink < _GAP_DEG


def _draw(tiles: Sequence[Tile], title: str, highest: float, is_zoom: bool = False) -> Chart:
    ra_low, ra_high = min(t.ra1_deg for t in tiles), max(t.ra2_deg for t in tiles)
    dec_low, dec_high = min(t.dec1_deg for t in tiles), max(t.dec2_deg for t in tiles)
    margin_ra, margin_dec = 0.06 * (ra_high - ra_low), 0.06 * (dec_high - dec_low)
    x_range = (ra_high + margin_ra, ra_low - margin_ra)
    y_range = (dec_low - margin_dec, dec_high + margin_dec)
    chart = Chart(
        title,
        "RA (deg), east to the left",
        "Dec (deg)",
        x_range,
        y_range,
        x_tick_text=lambda ra_deg: tick_text(round(ra_deg % 360, 9)),
    )
    ordered = sorted(tiles, key=lambda tile: (tile.num_quarantined, tile.num_done))
    for tile in ordered:
        fill = colour_of(tile.density / highest) if tile.num_done and highest > 0 else _WAITING
        outline = RED if tile.num_quarantined else (GREY if is_zoom else "")
        if tile.num_quarantined and not tile.num_done:
            fill = "#f6c8c8"
        chart.box(
            *(tile.ra1_deg, tile.ra2_deg, tile.dec1_deg, tile.dec2_deg, fill),
            hint=_hint(tile),
            outline=outline,
            least=_LEAST_BOX,
        )
    if not is_zoom:
        chart.legend("0 sources/deg²", colour_of(0))
        chart.legend(f"{highest:,.0f} sources/deg² of brick", colour_of(1))
        chart.legend("planned, not done", _WAITING)
        chart.legend("with quarantined bricks (outlined red)", "#f6c8c8")
    return chart


def _hint(tile: Tile) -> str:
    return (
        f"{tile.name}: {tile.num_sources:,} sources, {tile.num_done} of {tile.num_bricks} bricks "
        f"done, {tile.num_quarantined} quarantined"
    )
