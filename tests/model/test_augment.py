"""Symmetries keep the source in its pixel; bands go missing as they do in DR10."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.augment import BAND_DROP_PATTERNS, dihedral, draw_kept_bands, turn_at_random
from partitions.schema import BANDS


@given(symmetry=st.integers(0, 7), side=st.integers(2, 9))
@settings(max_examples=60)
def test_symmetries_keep_the_source_and_the_pixels(symmetry: int, side: int) -> None:
    stamps = torch.arange(side * side, dtype=torch.float32).reshape(1, 1, side, side)
    turned = dihedral(stamps, symmetry)
    centre = side // 2
    assert turned[0, 0, centre, centre] == stamps[0, 0, centre, centre]
    assert torch.equal(turned.flatten().sort().values, stamps.flatten())


def test_the_eight_symmetries_differ() -> None:
    stamps = torch.randn(1, 1, 6, 6)
    assert len({dihedral(stamps, s).numpy().tobytes() for s in range(8)}) == 8


def test_both_stamps_of_a_row_turn_together() -> None:
    optical, wise = torch.zeros(16, 4, 8, 8), torch.zeros(16, 2, 8, 8)
    optical[:, :, 1, 3] = 1
    wise[:, :, 1, 3] = 1
    turned = turn_at_random({"optical": optical, "wise": wise}, np.random.default_rng(0))
    assert torch.equal(turned["optical"][:, :2], turned["wise"])
    assert len({row.numpy().tobytes() for row in turned["wise"]}) == 8


@given(probability=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_kept_bands_follow_the_patterns(probability: float, seed: int) -> None:
    kept = draw_kept_bands(2000, probability, BANDS, np.random.default_rng(seed))
    allowed = {frozenset(names) for names, _ in BAND_DROP_PATTERNS} | {frozenset()}
    found = {frozenset(b for b, k in zip(BANDS, row, strict=True) if not k) for row in kept}
    assert found <= allowed
    assert np.mean(~kept.all(axis=1)) == pytest.approx(probability, abs=0.06)


def test_every_pattern_leaves_a_band_and_untrained_bands_never_appear() -> None:
    assert all(set(names) < set(BANDS) for names, _ in BAND_DROP_PATTERNS)
    kept = draw_kept_bands(100, 0.5, ("g", "r"), np.random.default_rng(0))
    assert not kept[:, 2:].any()
