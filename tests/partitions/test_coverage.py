"""Covered area, against pixels counted in the survey's own nexp and maskbits maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from partitions.bricks import Brick
from partitions.build import build_brick
from partitions.coverage import LATTICE_SIDE, covered_areas, is_covered, sky_lattice
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import MASKBITS, OPTICAL_BANDS, StampSize

BRICK = Brick("3599p605", 7, 359.9, 60.5, 359.75, 360.0, 60.375, 60.625)
PIXEL_DEG2 = (0.262 / 3600) ** 2


def test_points_of_the_lattice_lie_in_the_brick_and_stand_for_equal_areas() -> None:
    ra_deg, dec_deg = sky_lattice(BRICK)
    assert len(ra_deg) == LATTICE_SIDE**2
    assert ((ra_deg > BRICK.ra1_deg) & (ra_deg < BRICK.ra2_deg)).all()
    assert ((dec_deg > BRICK.dec1_deg) & (dec_deg < BRICK.dec2_deg)).all()
    # Of a region so tall that its north is much narrower than its south.
    tall = Brick("x", 1, 10.0, 65.0, 0.0, 20.0, 50.0, 80.0)
    south = Brick("x", 1, 10.0, 57.5, 0.0, 20.0, 50.0, 65.0)
    share = south.area_deg2 / tall.area_deg2
    assert share > 0.6
    assert (sky_lattice(tall)[1] < 65.0).mean() == pytest.approx(share, abs=1 / LATTICE_SIDE)


def test_positions_outside_the_image_and_zero_pixels_are_not_covered() -> None:
    pixels = np.ones((3, 4), np.float32)
    pixels[2, 1] = 0
    x = np.array([0.0, -0.4, -0.6, 3.4, 3.6, 1.2, 1.0, np.nan])
    y = np.array([0.0, 0.0, 0.0, 2.4, 0.0, 1.7, 1.4, 0.0])
    expected = [True, True, False, True, False, False, True, False]
    assert is_covered(pixels, x, y).tolist() == expected


def test_a_band_without_image_covers_nothing() -> None:
    whole, half = np.ones(10, bool), np.arange(10) < 5
    areas = covered_areas(BRICK, {"g": whole, "r": half, "z": ~half}, OPTICAL_BANDS)
    assert areas == {
        "g": pytest.approx(BRICK.area_deg2),
        "r": pytest.approx(BRICK.area_deg2 / 2),
        "i": 0.0,
        "z": pytest.approx(BRICK.area_deg2 / 2),
        "grz": 0.0,
    }


def test_areas_of_bricks_are_the_brick_tables(mock_survey: Path) -> None:
    bricks = read_bricks(open_survey(mock_survey))
    table = Table.read(mock_survey / "south" / "survey-bricks-dr10-south.fits.gz")
    for row in table:
        assert bricks[row["brickname"].strip()].area_deg2 == pytest.approx(row["area"])


def test_covered_area_equals_counted_pixels(mock_survey: Path) -> None:
    """Of a brick with a strip without exposures and of a whole one."""
    layout = open_survey(mock_survey)
    partial = 0
    for name in list(read_bricks(layout))[:3]:
        brick = read_bricks(layout)[name]
        _, counts = build_brick(layout, brick, StampSize(8, 4))
        mask = fits.getdata(layout.brick_file("maskbits", name), ext=1)
        own = (mask >> MASKBITS["NPRIMARY"] & 1) == 0
        exposed = np.ones_like(own)
        for band in "grz":
            exposed &= fits.getdata(layout.brick_file("nexp", name, band), ext=1) > 0
        counted_deg2 = (own & exposed).sum() * PIXEL_DEG2
        # The lattice is 17 px apart, the mock's images 600 px wide.
        assert counts.covered_deg2["grz"] == pytest.approx(counted_deg2, rel=0.03)
        assert counts.covered_deg2["grz"] <= counts.covered_deg2["g"] <= counts.area_deg2
        partial += bool((own & ~exposed).mean() > 0.02)
    assert partial >= 1
