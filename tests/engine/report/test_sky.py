"""The map in one piece across RA 0, and its boxes."""

from __future__ import annotations

import pytest

from engine.report.charts import nice_ticks, tick_text
from engine.report.gather import BrickState
from engine.report.sky import make_tiles, sky_charts
from partitions.bricks import Brick


def state(ra_deg: float, dec_deg: float = 0.0, kind: str = "done", number: int = 1) -> BrickState:
    low, high = (ra_deg - 0.125) % 360, (ra_deg + 0.125) % 360
    brick = Brick(
        f"b{number}", number, ra_deg, dec_deg, low, high, dec_deg - 0.125, dec_deg + 0.125
    )
    return BrickState(brick, kind, f"5-{number}", num_sources=625 if kind == "done" else 0)


@pytest.mark.parametrize(
    ("positions", "width"),
    [((359.9, 0.1), 0.45), ((10, 12), 2.25), ((179, 181), 2.25), ((5,), 0.25)],
)
def test_a_run_lies_in_one_piece_wherever_it_is(positions: tuple[float, ...], width: float) -> None:
    tiles = make_tiles([state(ra, number=n) for n, ra in enumerate(positions)])
    span = max(tile.ra2_deg for tile in tiles) - min(tile.ra1_deg for tile in tiles)
    assert span == pytest.approx(width)
    for tile, ra in zip(tiles, positions, strict=True):
        assert (0.5 * (tile.ra1_deg + tile.ra2_deg) - ra) % 360 == pytest.approx(0, abs=1e-9)
        assert tile.density == pytest.approx(10_000, rel=1e-4)  # 625 sources in 1/16 deg2


def test_very_many_bricks_become_partitions() -> None:
    bricks = [state(0.3 * (k % 100), 0.3 * (k // 100), number=k % 40) for k in range(3100)]
    tiles = make_tiles(bricks)
    assert len(tiles) == 40
    assert sum(tile.num_sources for tile in tiles) == 3100 * 625
    assert sum(tile.num_bricks for tile in tiles) == 3100


def test_far_regions_are_enlarged_and_states_told_apart() -> None:
    bricks = [state(10, number=1), state(10.25, kind="waiting", number=2)]
    bricks.append(state(80, 20, kind="quarantined", number=3))
    charts = sky_charts(bricks)
    assert len(charts) == 3
    text = charts[0].svg()
    assert "brick b1: 625 sources, 1 of 1 bricks done, 0 quarantined" in text
    assert "brick b3: 0 sources, 0 of 1 bricks done, 1 quarantined" in text
    assert text.count("<title>") == 3


def test_ticks_are_round() -> None:
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(-0.3, 12) == [0, 5, 10]
    assert nice_ticks(2, 2) == [2]
    texts = ["0", "1500", "20k", "3M", "\N{MINUS SIGN}2.5"]
    assert [tick_text(value) for value in (0, 1500, 20000, 3e6, -2.5)] == texts
