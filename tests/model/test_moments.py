"""Moments: unchanged when the stamp is turned, and they measure what their names say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.augment import dihedral
from model.moments import NUM_MOMENTS, ORDERS, WIDTHS_PX, ShapeMoments, moment_basis

SIDE = 32


def ellipse(axis_ratio: float, angle_rad: float, sigma_px: float = 2.5) -> npt.NDArray[np.float32]:
    """An elliptical Gaussian of height 50 in the source's pixel, (1, 1, SIDE, SIDE)."""
    offset = np.arange(SIDE) - SIDE // 2
    y, x = np.meshgrid(offset, offset, indexing="ij")
    along = x * np.cos(angle_rad) + y * np.sin(angle_rad)
    across = -x * np.sin(angle_rad) + y * np.cos(angle_rad)
    squared = (along / sigma_px) ** 2 + (across / (axis_ratio * sigma_px)) ** 2
    return (50 * np.exp(-0.5 * squared)).astype(np.float32)[None, None]


def moments_of(stamp: npt.NDArray[np.float32]) -> dict[tuple[float, int], float]:
    """(width, order) -> value of one stamp."""
    values = ShapeMoments(SIDE)(torch.from_numpy(stamp))[0].numpy()
    keys = [(width, order) for width in WIDTHS_PX for order in ORDERS]
    return dict(zip(keys, values.tolist(), strict=True))


def test_the_flux_moment_is_the_weighted_sum() -> None:
    rng = np.random.default_rng(0)
    stamp = rng.normal(20, 5, (1, 1, SIDE, SIDE)).astype(np.float32)
    offset = np.arange(SIDE) - SIDE // 2
    for width in WIDTHS_PX:
        profile = np.exp(-0.5 * (offset / width) ** 2)
        weight = profile[:, None] * profile[None, :]
        expected = (stamp[0, 0] * weight).sum() / np.sqrt((weight**2).sum())
        assert moments_of(stamp)[width, 0] == pytest.approx(0.3 * np.arcsinh(expected), rel=1e-4)


@given(symmetry=st.integers(0, 7), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_turning_the_stamp_changes_nothing(symmetry: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stamps = torch.from_numpy(rng.normal(0, 1, (3, 4, SIDE, SIDE)).astype(np.float32))
    # The first row and column have no mirror image in a stamp of even side.
    stamps[..., 0, :] = 0
    stamps[..., :, 0] = 0
    moments = ShapeMoments(SIDE)
    turned = moments(dihedral(stamps, symmetry))
    assert turned.numpy() == pytest.approx(moments(stamps).numpy(), abs=2e-4)


def test_elongation_grows_with_flattening_whatever_the_angle() -> None:
    for width in WIDTHS_PX:
        by_ratio = [
            [moments_of(ellipse(ratio, angle))[width, 2] for angle in (0.0, 0.4, 1.1)]
            for ratio in (1.0, 0.8, 0.5, 0.3)
        ]
        assert all(max(a) < min(b) for a, b in pairwise(by_ratio))
        assert all(np.ptp(values) < 0.05 for values in by_ratio)


def test_a_symmetric_galaxy_is_not_lopsided_and_a_shifted_one_is() -> None:
    centred = ellipse(0.6, 0.3)
    for width in WIDTHS_PX:
        assert moments_of(centred)[width, 1] < 1e-3
        assert moments_of(np.roll(centred, 2, axis=-1))[width, 1] > 0.3


def test_noise_without_a_source_has_little_shape() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (500, 1, SIDE, SIDE)).astype(np.float32)
    values = ShapeMoments(SIDE)(torch.from_numpy(noise)).numpy().reshape(500, len(WIDTHS_PX), -1)
    # A unit-norm complex moment of unit noise has modulus 0.9 on average; over 5, times 4.
    assert values[:, :, 1:].mean() == pytest.approx(0.7, abs=0.05)


def test_the_basis_is_of_unit_norm_and_bfloat16_keeps_the_moments() -> None:
    assert np.allclose(np.linalg.norm(moment_basis(SIDE), axis=0), 1, atol=1e-5)
    stamp = torch.from_numpy(ellipse(0.5, 0.7))
    moments = ShapeMoments(SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        inside = moments(stamp)
    assert inside.shape == (1, NUM_MOMENTS)
    assert torch.equal(inside, moments(stamp))
