"""Stamps against plain slicing of a padded image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitions.cutouts import cut_stamps


@given(
    x=st.floats(-9, 40),
    y=st.floats(-9, 30),
    side=st.sampled_from([2, 4, 8, 16]),
    seed=st.integers(0, 5),
)
def test_stamp_equals_a_slice_of_the_padded_image(x: float, y: float, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (24, 33)).astype(np.float32)
    image[rng.uniform(size=image.shape) < 0.1] = 0  # no exposure
    pad = 64
    padded = np.pad(image, pad)
    column, row = int(np.floor(x + 0.5)) + pad, int(np.floor(y + 0.5)) + pad
    half = side // 2
    expected = padded[row - half : row + half, column - half : column + half]
    stamps = cut_stamps(image, np.array([x]), np.array([y]), side)
    np.testing.assert_array_equal(stamps.pixels[0], expected.astype(np.float16))
    assert stamps.coverage[0] == pytest.approx(np.mean(expected != 0), abs=1e-6)


def test_the_source_is_the_pixel_at_half_the_side() -> None:
    image = np.ones((20, 20), dtype=np.float32)
    image[7, 12] = 5
    stamps = cut_stamps(image, np.array([12.4]), np.array([6.6]), 8)
    assert stamps.pixels[0, 4, 4] == 5


def test_bright_pixels_are_clipped_and_flagged_only_where_they_are() -> None:
    image = np.ones((40, 40), dtype=np.float32)
    image[10, 10] = 1e6
    image[30, 30] = -1e6
    stamps = cut_stamps(image, np.array([10.0, 30.0, 10.0]), np.array([10.0, 30.0, 30.0]), 8)
    assert stamps.clipped.tolist() == [True, True, False]
    assert stamps.pixels[0].max() == 65504
    assert stamps.pixels[1].min() == -65504


def test_pixels_that_are_not_numbers_are_zero_and_uncovered() -> None:
    image = np.ones((16, 16), dtype=np.float32)
    image[8, 8] = np.nan
    stamps = cut_stamps(image, np.array([8.0]), np.array([8.0]), 4)
    assert np.isfinite(stamps.pixels).all()
    assert stamps.coverage[0] == pytest.approx(15 / 16)


def test_no_sources() -> None:
    stamps = cut_stamps(np.ones((8, 8), dtype=np.float32), np.array([]), np.array([]), 4)
    assert stamps.pixels.shape == (0, 4, 4)
    assert stamps.coverage.shape == (0,)
