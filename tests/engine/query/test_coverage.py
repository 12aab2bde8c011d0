"""No position of a region lies outside of its ranges, and the ranges are far less than the sky."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.query import Box, Cone, Polygon
from engine.query.coverage import covering_ranges, merge_ranges, overlaps
from engine.query.regions import Region
from partitions.healpix import (
    max_pixel_radius_rad,
    pixel_centres,
    radec_to_pixel,
    radec_to_spatial_index,
)

REGIONS = {
    "cone": Cone(150, 2, 3600 * 5),
    "point": Cone(150, 2, 0),
    "tiny cone": Cone(45, 41.8103148957786, 2),
    "hemisphere": Cone(10, 20, 3600 * 90),
    "wide cone": Cone(10, 20, 3600 * 170),
    "cone at the pole": Cone(77, 90, 3600 * 2),
    "cone at RA 0": Cone(0, -30, 3600 * 3),
    "box": Box(149, 151, 1, 3),
    "box across RA 0": Box(355, 5, -10, 10),
    "box at the pole": Box(80, 100, 85, 90),
    "wide box": Box(10, 340, -60, 60),
    "band": Box(0, 360, -1, 1),
    "narrow box": Box(10, 10.001, -90, 90),
    "triangle": Polygon(((149, 1), (151, 1), (150, 3))),
    "polygon at the pole": Polygon(((0, -85), (240, -85), (120, -85))),
    "octant": Polygon(((0, 0), (90, 0), (0, 90))),
}


def positions_in(region: Region, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions in a region, many of them within an arcsecond of its edge."""
    ra = rng.uniform(0, 360, 200_000)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000)))
    for scale_deg in (0.0, 1.0, 1e-2, 1e-3):
        if scale_deg:
            near = np.argsort(np.abs(region.depth_rad(ra, dec)))[:2000]
            spread = rng.normal(0, scale_deg, (2, 20, len(near)))
            off = np.maximum(np.cos(np.radians(dec[near])), 1e-3)
            ra = np.concatenate([ra, ((ra[near] + spread[0] / off) % 360).ravel()])
            dec = np.concatenate([dec, np.clip(dec[near] + spread[1], -90, 90).ravel()])
    inside = region.depth_rad(ra, dec) >= 0
    return ra[inside], dec[inside]


@pytest.mark.parametrize("name", REGIONS)
def test_every_position_is_covered(name: str) -> None:
    region = REGIONS[name]
    ranges = covering_ranges(region)
    ra, dec = positions_in(region, np.random.default_rng(3))
    if isinstance(region, Cone):
        ra, dec = np.append(ra, region.ra_deg), np.append(dec, region.dec_deg)
    assert len(ra)
    index = radec_to_spatial_index(ra, dec)
    place = np.searchsorted(ranges[:, 0], index, side="right") - 1
    assert np.all((place >= 0) & (index <= ranges[place, 1]))


def test_ranges_are_sorted_disjoint_and_tight() -> None:
    for name, region in REGIONS.items():
        ranges = covering_ranges(region)
        assert np.all(ranges[:, 0] <= ranges[:, 1]), name
        assert np.all(ranges[1:, 0] > ranges[:-1, 1] + 1), name
    sky = 12 << 58
    for name, largest in (
        ("cone", 0.0035),
        ("point", 1e-9),
        ("hemisphere", 0.55),
        ("octant", 0.15),
    ):
        ranges = covering_ranges(REGIONS[name])
        covered = sum((int(last) - int(first) + 1) for first, last in ranges) / sky
        assert covered < largest, (name, covered)


def test_a_pixel_lies_within_the_largest_radius_of_its_centre() -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 100_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 100_000)))
    for order in (0, 1, 2, 5, 9):
        centre_ra, centre_dec = pixel_centres(radec_to_pixel(ra, dec, order), order)
        half_chord = np.sqrt(
            np.sin(np.radians(dec - centre_dec) / 2) ** 2
            + np.cos(np.radians(dec)) * np.cos(np.radians(centre_dec))
            * np.sin(np.radians(ra - centre_ra) / 2) ** 2
        )  # fmt: skip
        farthest = float(2 * np.arcsin(half_chord).max())
        assert 0.9 * max_pixel_radius_rad(order) < farthest <= max_pixel_radius_rad(order)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6)), max_size=12), st.integers(0, 66))
def test_merged_ranges_hold_the_same_numbers(pairs: list[tuple[int, int]], number: int) -> None:
    ranges = np.array([(first, first + more) for first, more in pairs], dtype=np.int64)
    merged = merge_ranges(ranges.reshape(-1, 2))
    held = {n for first, last in ranges.reshape(-1, 2).tolist() for n in range(first, last + 1)}
    assert [n for first, last in merged.tolist() for n in range(first, last + 1)] == sorted(held)
    assert overlaps(merged, number, number + 2) == bool(held & {number, number + 1, number + 2})
