"""Pixels against healpy's own vectors and against the HATS library's index."""

import numpy as np
import pytest
from hats.pixel_math.spatial_index import compute_spatial_index
from hypothesis import given
from hypothesis import strategies as st

from partitions.healpix import (
    MAX_PARTITION_ORDER,
    nside_to_order,
    radec_to_pixel,
    radec_to_spatial_index,
    spatial_index_to_pixel,
)

ra_deg = st.floats(0, 360, exclude_max=True)
dec_deg = st.floats(-90, 90)


def test_spatial_index_equals_the_hats_library() -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 100_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 100_000)))
    np.testing.assert_array_equal(radec_to_spatial_index(ra, dec), compute_spatial_index(ra, dec))


@given(ra_deg, dec_deg, st.integers(0, MAX_PARTITION_ORDER))
def test_index_and_pixel_agree_at_every_order(ra: float, dec: float, order: int) -> None:
    index = radec_to_spatial_index(np.array([ra]), np.array([dec]))
    np.testing.assert_array_equal(
        spatial_index_to_pixel(index, order), radec_to_pixel([ra], [dec], order)
    )


@pytest.mark.parametrize("order", range(MAX_PARTITION_ORDER + 1))
def test_nside_to_order(order: int) -> None:
    assert nside_to_order(2**order) == order


@pytest.mark.parametrize("nside", [0, -4, 3, 33, 48, 2 ** (MAX_PARTITION_ORDER + 1)])
def test_bad_nside_is_refused_with_its_value(nside: int) -> None:
    with pytest.raises(ValueError, match=f"nside={nside} "):
        nside_to_order(nside)
