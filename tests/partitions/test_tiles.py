"""Tiles that stamps touch, and stamps from them: the same to the bit as from the whole image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from partitions.build import build_brick
from partitions.cutouts import cut_stamps, stamp_corner
from partitions.dr10 import Coadd, TractorTable, open_coadd, open_survey, read_bricks
from partitions.schema import StampSize
from partitions.tiles import (
    MAX_COST_SHARE,
    Box,
    boxes_to_decode,
    cost_tiles,
    count_tiles,
    cover,
    tiles_touched,
)


@given(
    seed=st.integers(0, 1000),
    num_stamps=st.integers(0, 12),
    side=st.sampled_from([2, 6, 16, 50]),
    tile_shape=st.sampled_from([(10, 10), (1, 47), (7, 13), (100, 100)]),
)
def test_boxes_hold_every_pixel_of_every_stamp_once(
    seed: int, num_stamps: int, side: int, tile_shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    shape = (61, 47)
    left, bottom = rng.integers(-side - 5, 70, (2, num_stamps))
    needed = np.zeros(shape, dtype=bool)
    for x, y in zip(left, bottom, strict=True):
        needed[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = True
    rows, columns = np.nonzero(needed)
    expected = {
        (y // tile_shape[0], x // tile_shape[1]) for y, x in zip(rows, columns, strict=True)
    }
    touched = tiles_touched(shape, tile_shape, left, bottom, side)
    assert set(zip(*np.nonzero(touched), strict=True)) == expected
    assert touched.size == count_tiles(shape, tile_shape)
    times = np.zeros(shape, dtype=int)
    for box in cover(touched):
        y0, y1, x0, x1 = box.scaled(tile_shape, shape)
        times[y0:y1, x0:x1] += 1
    assert times.max() <= 1
    assert (times[needed] == 1).all()


def test_few_stamps_are_read_by_tiles_and_many_are_not() -> None:
    rng = np.random.default_rng(0)
    answers = {}
    for num_stamps in (0, 1, 30, 1000):
        left, bottom = rng.integers(0, 3536, (2, num_stamps))
        answers[num_stamps] = boxes_to_decode((3600, 3600), (100, 100), left, bottom, 64)
    assert answers[0] == ()
    one = answers[1]
    assert one is not None
    assert 1 <= sum(count_tiles(box.shape, (100, 100)) for box in one) <= 4
    assert len(answers[30] or ()) <= 30
    assert answers[1000] is None
    # An image of one tile is decoded whole, unless no pixel of it is needed.
    assert boxes_to_decode((80, 80), (80, 80), np.array([5]), np.array([5]), 8) is None
    assert cost_tiles([Box(0, 1, 0, 1)]) > MAX_COST_SHARE


def check_equal(coadd: Coadd, x: np.ndarray, y: np.ndarray, side_px: int) -> None:
    """Stamps by tiles, whatever the rule says, against those of the whole image."""
    corners = stamp_corner(x, side_px), stamp_corner(y, side_px)
    touched = tiles_touched(coadd.shape, coadd.tile_shape, *corners, side_px)
    boxes = [box.scaled(coadd.tile_shape, coadd.shape) for box in cover(touched)]
    by_tiles = cut_stamps(coadd.decode(boxes), x, y, side_px)
    whole = cut_stamps(coadd.decode(), x, y, side_px)
    # Many stamps are converted by way of the image: the other branch must agree.
    repeats = coadd.shape[0] * coadd.shape[1] // (len(x) * side_px**2) + 1
    many = cut_stamps(coadd.decode(), np.tile(x, repeats), np.tile(y, repeats), side_px)
    for field in ("pixels", "coverage", "clipped"):
        expected = getattr(whole, field)
        np.testing.assert_array_equal(getattr(by_tiles, field), expected)
        np.testing.assert_array_equal(getattr(many, field)[: len(x)], expected)
    assert (whole.coverage > 0).any()


@pytest.mark.parametrize(
    ("case", "bands"), [("testcase9", "grz"), ("testcase4", ("z", "W1", "W2"))]
)
def test_real_images_by_tiles(real_bricks: Path, case: str, bands: str) -> None:
    layout = open_survey(real_bricks / case)
    brick = next(iter(read_bricks(layout).values()))
    rng = np.random.default_rng(3)
    for band in bands:
        coadd = open_coadd(layout, brick, band)
        height, width = coadd.shape
        # Where the sky is, at the edges and corners of the image, and outside.
        centre = (2000, 390) if case == "testcase9" else (width // 2, height // 2)
        x = np.concatenate([rng.normal(centre[0], 40, 12), [0, -0.4, width - 1, width + 20, 99.6]])
        y = np.concatenate([rng.normal(centre[1], 40, 12), [0, height - 1, 5, height + 3, 100.4]])
        check_equal(coadd, x, y, 16 if band in ("W1", "W2") else 64)


def test_mock_images_by_tiles(mock_survey: Path) -> None:
    """Dithered, with saturated stars, and without i."""
    layout = open_survey(mock_survey)
    rng = np.random.default_rng(4)
    for brick in list(read_bricks(layout).values())[:3]:
        for band in ("r", "W2"):
            coadd = open_coadd(layout, brick, band)
            header = fits.open(coadd.path, disable_image_compression=True)[1].header
            assert header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2"
            height, width = coadd.shape
            x, y = rng.uniform(-2, width + 1, 9), rng.uniform(-2, height + 1, 9)
            check_equal(coadd, x, y, 16 if band == "W2" else 64)


def test_chosen_rows_are_the_rows_of_the_whole_brick(mock_survey: Path) -> None:
    layout = open_survey(mock_survey)
    rng = np.random.default_rng(5)
    by_tiles = 0
    for brick in read_bricks(layout).values():
        whole, counts = build_brick(layout, brick, StampSize(32, 8))
        keep = rng.uniform(size=counts.num_sources) < 0.02
        arrays, few = build_brick(layout, brick, StampSize(32, 8), lambda _, keep=keep: keep)
        assert few.num_sources == keep.sum()
        assert few.num_unwanted == len(keep) - keep.sum()
        assert few.num_dup == counts.num_dup
        assert few.decoded == (counts.decoded if keep.any() else {})
        by_tiles += few.num_tiles_decoded < few.num_tiles
        for name, values in whole.items():
            np.testing.assert_array_equal(arrays[name], values[keep], err_msg=name)
    assert by_tiles >= 3


def test_the_chooser_sees_the_catalogue_rows(real_bricks: Path) -> None:
    layout = open_survey(real_bricks / "testcase9")
    brick = next(iter(read_bricks(layout).values()))
    whole, _ = build_brick(layout, brick, StampSize())

    def bright(table: TractorTable) -> np.ndarray:
        assert table.brick_primary.all()
        return table.flux[:, 1] > 5

    arrays, counts = build_brick(layout, brick, StampSize(), bright)
    assert 0 < counts.num_sources < 8
    # Eight sources in one corner of 1,296 tiles a band.
    assert counts.num_tiles == 3 * 1296
    assert counts.num_tiles_decoded <= 3 * 9
    np.testing.assert_array_equal(arrays["optical"], whole["optical"][whole["flux"][:, 1] > 5])
