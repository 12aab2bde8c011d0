"""The same rows as lsdb, astropy and sphgeom for many regions, on a catalogue of the whole sky."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import dask
import lsdb
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsdb.core.search.region_search import PixelSearch
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from engine.query import Box, Cone, Pixels, Polygon, query

if TYPE_CHECKING:
    from tests.engine.query.conftest import AllSky


def rows_of(all_sky: AllSky, *selections: Any) -> set[int]:
    with query(all_sky.path, *selections, columns=["TARGETID"]) as answer:
        found = answer.read()["TARGETID"].to_pylist()
    assert len(found) == len(set(found)), "a row twice"
    return set(found)


@pytest.fixture(scope="module")
def opened(all_sky: AllSky) -> Any:
    return lsdb.open_catalog(str(all_sky.path), columns=["TARGETID", "RA", "DEC"])


def lsdb_rows(searched: Any) -> set[int]:
    with dask.config.set(scheduler="synchronous"):
        return set(searched.compute()["TARGETID"].tolist())


def random_cones(number: int, seed: int) -> list[Cone]:
    rng = np.random.default_rng(seed)
    ra, radius = rng.uniform(0, 360, number), 10 ** rng.uniform(0, 5.5, number)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, number)))
    return [Cone(*numbers) for numbers in np.stack([ra, dec, radius], axis=1).tolist()]


CONES = [
    Cone(0, 90, 7200), Cone(200, -90, 7200), Cone(10, 89.5, 3600), Cone(0, 0, 9000),
    Cone(359.9, 0.2, 3600), Cone(0.1, 60, 36000), Cone(10, 20, 1e-6), Cone(180, 0, 320_000),
    Cone(10, 20, 400_000), Cone(77, -5, 600_000),
    *random_cones(5, 1),
]  # fmt: skip


@pytest.mark.parametrize("cone", CONES, ids=str)
def test_cone(all_sky: AllSky, opened: Any, cone: Cone) -> None:
    found = rows_of(all_sky, cone)
    assert found == all_sky.ids(separations_arcsec(all_sky, cone) <= cone.radius_arcsec)
    # Wider than about 145 deg the coverage that lsdb 0.11 takes from mocpy loses whole pixels.
    if cone.radius_arcsec < 140 * 3600:
        assert found == lsdb_rows(opened.cone_search(cone.ra_deg, cone.dec_deg, cone.radius_arcsec))


def separations_arcsec(all_sky: AllSky, cone: Cone) -> np.ndarray:
    rows = SkyCoord(all_sky.ra_deg, all_sky.dec_deg, unit="deg")
    return rows.separation(SkyCoord(cone.ra_deg, cone.dec_deg, unit="deg")).to_value(u.arcsec)


def test_many_cones_equal_astropy(all_sky: AllSky) -> None:
    num_rows = 0
    for cone in random_cones(20, 2):
        found = rows_of(all_sky, cone)
        assert found == all_sky.ids(separations_arcsec(all_sky, cone) <= cone.radius_arcsec), cone
        num_rows += len(found)
    assert num_rows > 1000


BOXES = [
    Box(350, 10, -5, 5), Box(350, 10, 80, 90), Box(100, 130, 89, 90), Box(0, 360, -90, -88),
    Box(0, 360, -90, 90), Box(0, 90, 0, 90), Box(359.99, 0.01, -90, 90), Box(10, 10.5, 20, 20.5),
    Box(90, 89, -60, 60), Box(200, 201, -90, -60), Box(-10, 10, 0, 20), Box(10, 20, 20, 21),
    Box(0, 5, 10, 30), Box(300, 360, -45, 45),
]  # fmt: skip


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_box(all_sky: AllSky, opened: Any, box: Box) -> None:
    ra, dec = (box.ra1_deg, box.ra2_deg), (box.dec1_deg, box.dec2_deg)
    assert rows_of(all_sky, box) == lsdb_rows(opened.box_search(ra, dec))


def test_many_boxes_equal_numpy(all_sky: AllSky) -> None:
    rng = np.random.default_rng(5)
    for _ in range(12):
        west, width = rng.uniform(0, 360), 10 ** rng.uniform(-1, 2.5)
        low, high = np.sort(rng.uniform(-90, 90, 2))
        east = (west + width) % 360
        inside = (all_sky.dec_deg >= low) & (all_sky.dec_deg <= high)
        if west <= east:
            inside &= (all_sky.ra_deg >= west) & (all_sky.ra_deg <= east)
        else:
            inside &= (all_sky.ra_deg >= west) | (all_sky.ra_deg <= east)
        assert rows_of(all_sky, Box(west, east, low, high)) == all_sky.ids(inside)


def random_polygons(number: int, seed: int) -> list[Polygon]:
    """Corners on a circle about a centre, in order: convex, of any size below a hemisphere."""
    rng = np.random.default_rng(seed)
    polygons = []
    for _ in range(number):
        centre = SkyCoord(
            rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1))), unit="deg"
        )
        angles = np.sort(rng.uniform(0, 360, rng.integers(3, 8)))
        corners = centre.directional_offset_by(angles * u.deg, 10 ** rng.uniform(-0.5, 1.9) * u.deg)
        polygons.append(Polygon(tuple(zip(corners.ra.deg, corners.dec.deg, strict=True))))
    return polygons


POLYGONS = [
    Polygon(((0, 0), (90, 0), (123.4, 90))),  # A corner on rows at the pole.
    Polygon(((0, 85), (120, 85), (240, 85))), Polygon(((0, -85), (240, -85), (120, -85))),
    Polygon(((355, -5), (5, -5), (5, 5), (355, 5))), Polygon(((0, 0), (90, 0), (0, 90))),
    Polygon(((350, 50), (350, 70), (10, 70), (10, 50))), Polygon(((0, 10), (10, 20), (0, 20))),
    *random_polygons(4, 3),
]  # fmt: skip


@pytest.mark.parametrize("polygon", POLYGONS, ids=str)
def test_polygon(all_sky: AllSky, opened: Any, polygon: Polygon) -> None:
    found = rows_of(all_sky, polygon)
    on_edge = rows_on_edge(all_sky, polygon)
    assert on_edge <= found
    # sphgeom leaves out some rows at the very corners, by the rounding of their unit vectors.
    assert found - on_edge == sphgeom_rows(all_sky, polygon) - on_edge
    assert found - on_edge == lsdb_rows(opened.polygon_search(list(polygon.vertices_deg))) - on_edge


def rows_on_edge(all_sky: AllSky, polygon: Polygon) -> set[int]:
    """Within 1e-15 rad of the edge."""
    return all_sky.ids(np.abs(polygon.depth_rad(all_sky.ra_deg, all_sky.dec_deg)) < 1e-15)


def sphgeom_rows(all_sky: AllSky, polygon: Polygon) -> set[int]:
    ra, dec = np.radians(np.array(polygon.vertices_deg).T)
    corners = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    exact = ConvexPolygon([UnitVector3d(*corner) for corner in corners])
    return all_sky.ids(exact.contains(np.radians(all_sky.ra_deg), np.radians(all_sky.dec_deg)))


def test_many_polygons_equal_sphgeom(all_sky: AllSky) -> None:
    num_rows = 0
    for polygon in random_polygons(12, 4):
        found = rows_of(all_sky, polygon)
        on_edge = rows_on_edge(all_sky, polygon)
        assert found - on_edge == sphgeom_rows(all_sky, polygon) - on_edge, polygon
        num_rows += len(found)
    assert num_rows > 5000


@pytest.mark.parametrize(("order", "numbers"), [(0, (4,)), (1, (0, 47)), (3, (5, 6, 700))])
def test_pixels(all_sky: AllSky, opened: Any, order: int, numbers: tuple[int, ...]) -> None:
    found = rows_of(all_sky, Pixels(order, numbers))
    assert found
    exact = PixelSearch([(order, number) for number in numbers], fine=True)
    assert found == lsdb_rows(opened.search(exact))


def random_boxes(number: int, seed: int) -> list[Box]:
    """Boxes of any size; every third reaches a pole, every other crosses RA 0."""
    rng = np.random.default_rng(seed)
    boxes = []
    for count in range(number):
        width = 10 ** rng.uniform(-1, 2.4)
        west = -width * rng.uniform() if count % 2 else rng.uniform(0, 360)
        low, high = np.sort(rng.uniform(-90, 90, 2))
        low, high = {0: (low, 90), 1: (-90, high)}.get(count % 6, (low, high))
        boxes.append(Box(west % 360, (west + width) % 360, float(low), float(high)))
    return boxes


def cones_at_poles_and_ra_0(number: int, seed: int) -> list[Cone]:
    rng = np.random.default_rng(seed)
    radius = 10 ** rng.uniform(2, 5.3, number)
    near = rng.uniform(0, radius / 3600, number)
    pole = rng.choice([-1, 1], number)
    cones = [
        Cone(ra, sign * (90 - min(d, 30)), r)
        for ra, sign, d, r in zip(rng.uniform(0, 360, number), pole, near, radius, strict=True)
    ]
    for index in range(0, number, 2):
        ra = float((near[index] * pole[index]) % 360)
        cones[index] = Cone(ra, float(rng.uniform(-60, 60)), float(radius[index]))
    return cones


@pytest.mark.slow
def test_two_hundred_random_regions(all_sky: AllSky, opened: Any) -> None:
    num_rows = 0
    for cone in [*random_cones(35, 11), *cones_at_poles_and_ra_0(35, 12)]:
        found = rows_of(all_sky, cone)
        searched = opened.cone_search(cone.ra_deg, cone.dec_deg, cone.radius_arcsec)
        assert found == lsdb_rows(searched), cone
        num_rows += len(found)
    for box in random_boxes(65, 13):
        found = rows_of(all_sky, box)
        ra, dec = (box.ra1_deg, box.ra2_deg), (box.dec1_deg, box.dec2_deg)
        assert found == lsdb_rows(opened.box_search(ra, dec)), box
        num_rows += len(found)
    for polygon in random_polygons(65, 14):
        found = rows_of(all_sky, polygon)
        on_edge = rows_on_edge(all_sky, polygon)
        searched = opened.polygon_search(list(polygon.vertices_deg))
        assert found - on_edge == lsdb_rows(searched) - on_edge, polygon
        num_rows += len(found)
    assert num_rows > 100_000
