"""Tiling and selection of bricks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions.bricks import Brick, SurveyError
from partitions.healpix import radec_to_pixel
from partitions.tiling import SkyBox, assign_partitions, select_bricks


def brick(ra: float, dec: float, width: float = 0.25, name: str = "") -> Brick:
    ra1, ra2 = (ra - width / 2) % 360, (ra + width / 2) % 360
    return Brick(name or f"{ra:.4f}{dec:+.4f}", 1, ra, dec, ra1, ra2, dec - 0.125, dec + 0.125)


positions = st.lists(
    st.tuples(st.floats(0, 360, exclude_max=True), st.floats(-80, 80)),
    min_size=1,
    max_size=40,
    unique=True,
)


@given(positions, st.integers(0, 8))
def test_every_brick_is_in_one_partition_that_of_its_centre(
    centres: list[tuple[float, float]], order: int
) -> None:
    bricks = [brick(ra, dec, name=str(k)) for k, (ra, dec) in enumerate(centres)]
    partitions = assign_partitions(bricks, order)
    assert sorted(b.name for part in partitions.values() for b in part) == sorted(
        b.name for b in bricks
    )
    for pixel, part in partitions.items():
        for b in part:
            assert radec_to_pixel([b.ra_deg], [b.dec_deg], order)[0] == pixel.number
    assert list(partitions) == sorted(partitions)


@given(
    ra=st.floats(0, 359.99),
    dec=st.floats(-60, 60),
    ra1=st.integers(0, 359),
    width=st.integers(1, 180),
    dec1=st.integers(-70, 60),
)
def test_box_overlap_against_a_fine_grid_of_points(
    ra: float, dec: float, ra1: int, width: int, dec1: int
) -> None:
    b = brick(ra, dec, width=0.3)
    box = SkyBox(ra1, (ra1 + width) % 360, dec1, dec1 + 8)
    offsets = np.linspace(-0.15, 0.15, 61)[1:-1]
    in_ra = ((ra + offsets - ra1) % 360 < width).any()
    in_dec = ((dec + offsets * 0.25 / 0.3 > dec1) & (dec + offsets * 0.25 / 0.3 < dec1 + 8)).any()
    if in_ra and in_dec:
        assert box.overlaps(b)
    wider_ra = ((ra + offsets * 1.2 - ra1 + 0.02) % 360 < width + 0.04).any()
    wider_dec = ((dec + offsets > dec1) & (dec + offsets < dec1 + 8)).any()
    if not (wider_ra and wider_dec):
        assert not box.overlaps(b)


def test_box_across_ra_zero() -> None:
    box = SkyBox(359, 1, -1, 1)
    assert box.overlaps(brick(0.0, 0.0))
    assert box.overlaps(brick(359.5, 0.0))
    assert not box.overlaps(brick(180.0, 0.0))
    assert not box.overlaps(brick(2.0, 0.0))


def test_selection_by_name_and_region() -> None:
    bricks = {b.name: b for b in (brick(10, 0, name="a"), brick(20, 0, name="b"))}
    assert [b.name for b in select_bricks(bricks)] == ["a", "b"]
    assert [b.name for b in select_bricks(bricks, names=["b", "b"])] == ["b"]
    assert [b.name for b in select_bricks(bricks, SkyBox(9, 11, -1, 1))] == ["a"]
    with pytest.raises(SurveyError, match="'zzz'"):
        select_bricks(bricks, names=["a", "zzz"])
    with pytest.raises(SurveyError, match="selects none of the survey's 2 bricks"):
        select_bricks(bricks, SkyBox(100, 110, -1, 1))


@pytest.mark.parametrize("bad", [(-1, 5, 0, 1), (0, 361, 0, 1), (0, 1, 5, 5), (0, 1, -91, 0)])
def test_a_box_that_is_none(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(SurveyError, match="region"):
        SkyBox(*bad)
