"""Stored arrays to training rows: crops, bands, splits, standardisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.dataset import (
    TrainingSet,
    centre_crop,
    check_arrays,
    drop_bands,
    fit_standardisation,
    outside_range,
    split_by_sky,
    targetid_digest,
    to_inputs,
)
from partitions.healpix import radec_to_pixel
from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS


@given(stored=st.integers(2, 40), side=st.integers(1, 40))
@settings(max_examples=60)
def test_crop_keeps_the_source_at_its_pixel(stored: int, side: int) -> None:
    if side > stored:
        with pytest.raises(ValueError, match="smaller than"):
            centre_crop(np.zeros((1, stored, stored)), side)
        return
    stamps = np.zeros((1, stored, stored))
    stamps[0, stored // 2, stored // 2] = 1
    crop = centre_crop(stamps, side)
    assert crop.shape == (1, side, side)
    assert crop[0, side // 2, side // 2] == 1


def test_inputs_are_padded_with_empty_rows(arrays_of) -> None:  # type: ignore[no-untyped-def]
    arrays = arrays_of(5, optical_px=64, wise_px=16)
    inputs = to_inputs(arrays, slice(3, 5), 32, 8, pad_to=4)
    assert inputs["optical"].shape == (4, 4, 32, 32)
    assert inputs["optical"].dtype == torch.float16
    assert np.array_equal(inputs["wise"][:2].numpy(), arrays["wise"][3:5, :, 4:12, 4:12])
    assert not inputs["coverage"][2:].any()
    assert not inputs["flux_ivar"][2:].any()


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("optical", (2, 1, 16, 16), np.nan, r"optical\[2, 1, 16, 16\] is nan"),
        ("wise", (0, 0, 4, 4), np.inf, r"wise\[0, 0, 4, 4\] is inf"),
        ("flux", (1, 5), np.nan, r"flux\[1, 5\] is nan"),
    ],
)
def test_values_that_are_not_finite_are_refused(
    arrays_of: Any, name: str, index: tuple[int, ...], value: float, message: str
) -> None:
    arrays = arrays_of(3)
    arrays[name][index] = value
    with pytest.raises(ValueError, match=message):
        check_arrays(arrays, 32, 8)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("features", (3, 85), r"\(3, 85\), expected \(3, 86\)"),
        ("flux", (2, 6), r"\(2, 6\), expected \(3, 6\)"),
        ("optical", (3, 3, 32, 32), r"\(3, 3, 32, 32\), expected \(3, 4, H, W\)"),
        ("wise", (3, 2, 6, 6), "6 x 6 px, smaller than 8"),
    ],
)
def test_wrong_shapes_are_refused(
    arrays_of: Any, name: str, shape: tuple[int, ...], message: str
) -> None:
    arrays = dict(arrays_of(3), **{name: np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match=message):
        check_arrays(arrays, 32, 8)


def test_missing_arrays_are_named(arrays_of: Any) -> None:
    arrays = arrays_of(3)
    del arrays["wise"], arrays["coverage"]
    with pytest.raises(ValueError, match=r"lack .*wise.*coverage"):
        check_arrays(arrays, 32, 8)


@given(dropped=st.sets(st.sampled_from(BANDS)))
@settings(max_examples=40)
def test_dropped_bands_vanish_everywhere(arrays_of: Any, dropped: set[str]) -> None:
    inputs = to_inputs(arrays_of(3, seed=5), slice(None), 32, 8)
    keep = torch.ones(3, 6, dtype=torch.bool)
    keep[1] = torch.tensor([band not in dropped for band in BANDS])
    result = drop_bands(inputs, keep)
    for b, band in enumerate(BANDS):
        pixels = (result["optical"] if b < 4 else result["wise"])[1, b % 4]
        gone = band in dropped
        assert bool(pixels.any()) != gone
        for name in ("flux", "flux_ivar", "coverage"):
            assert bool(result[name][1, b] != 0) != gone, (name, band)
    # By the names: letters of a dropped band appear in exactly the features that become NaN.
    for f, name in enumerate(FEATURE_NAMES):
        terms = [] if name == "ebv" else name.removeprefix("MAG_").split("-")
        bands = {"W" + t[1] if t[0] == "W" else t[0].lower() for t in terms}
        assert bool(result["features"][1, f].isnan()) == bool(bands & dropped), name
    for name, before in inputs.items():
        for row in (0, 2):
            assert torch.equal(result[name][row], before[row]), name


def test_dropping_equals_what_the_arrays_store_for_a_missing_band(arrays_of: Any) -> None:
    from_store = arrays_of(4, seed=2)
    keep = torch.ones(4, 6, dtype=torch.bool)
    keep[:, 2] = False
    dropped = drop_bands(to_inputs(from_store, slice(None), 32, 8), keep)
    from_store["optical"][:, 2] = 0
    for name in ("flux", "flux_ivar", "coverage"):
        from_store[name][:, 2] = 0
    uses_i = [("I" in name.replace("MAG_", "")) for name in FEATURE_NAMES]
    from_store["features"][:, uses_i] = np.nan
    for name, value in to_inputs(from_store, slice(None), 32, 8).items():
        assert torch.equal(value.nan_to_num(-1), dropped[name].nan_to_num(-1)), name


# --- splits ----------------------------------------------------------------------------------


@given(seed=st.integers(0, 50), order=st.integers(6, 10))
@settings(max_examples=30)
def test_split_takes_every_row_once_and_no_cell_twice(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 5, 800), rng.uniform(-3, 3, 800)
    split = split_by_sky(ra, dec, seed, order=order)
    parts = (split.train, split.validation, split.test)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(800))
    cells = [set(radec_to_pixel(ra[p], dec[p], order).tolist()) for p in parts]
    assert not cells[0] & cells[1]
    assert not cells[0] & cells[2]
    assert not cells[1] & cells[2]
    assert all(len(part) for part in parts)


def test_split_follows_its_seed_and_its_fractions() -> None:
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 10, 20_000), rng.uniform(-5, 5, 20_000)
    first, again, other = (split_by_sky(ra, dec, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)
    assert len(first.train) == pytest.approx(16_000, rel=0.03)
    assert len(first.test) == pytest.approx(2_000, rel=0.1)


def test_split_keeps_given_groups_together() -> None:
    groups = np.repeat(np.arange(30), 10)
    split = split_by_sky(np.zeros(300), np.zeros(300), 0, (0.5, 0.5, 0.0), groups=groups)
    assert not set(groups[split.train]) & set(groups[split.validation])
    assert len(split.test) == 0


def test_too_few_patches_and_bad_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match="1 patches of sky for 3 parts"):
        split_by_sky([0.0, 0.0], [0.0, 0.0], 0)
    with pytest.raises(ValueError, match="sum to"):
        split_by_sky([0.0], [0.0], 0, (0.5, 0.1, 0.1))


# --- training rows and standardisation -------------------------------------------------------


def test_training_set_crops_and_concatenates(arrays_of: Any) -> None:
    arrays = arrays_of(6, optical_px=64, wise_px=16)
    rows = np.array([4, 1])
    part = TrainingSet.from_arrays(arrays, arrays["z_true"][rows], 32, 8, rows)
    assert part.arrays["optical"].shape == (2, 4, 32, 32)
    assert part.arrays["optical"].dtype == np.float16
    both = TrainingSet.concatenate([part, part.take(np.array([1]))])
    assert len(both) == 3
    assert np.array_equal(both.z_true, arrays["z_true"][[4, 1, 1]])
    assert np.array_equal(both.arrays["features"][2], arrays["features"][1])
    assert both.num_bytes == sum(a.nbytes for a in both.arrays.values())


def test_coverage_is_that_of_the_crop(arrays_of: Any) -> None:
    arrays = arrays_of(3, optical_px=40, wise_px=8)
    arrays["optical"][0, 1] = 0
    arrays["optical"][0, 1, 20, :] = 1  # one row of the stamp has data
    arrays["coverage"][0, 1] = 1 / 40
    rows = TrainingSet.from_arrays(arrays, [0.1, 0.2, 0.3], 32, 8)
    assert rows.arrays["coverage"][0, 1] == 1 / 32
    # WISE stamps are as large as what is read: their coverage stays as it was stored.
    np.testing.assert_array_equal(rows.arrays["coverage"][:, 4:], arrays["coverage"][:, 4:])


def test_targetids_stay_with_their_rows(arrays_of: Any) -> None:
    ids = np.array([7, 5, 2**60], np.int64)
    one = TrainingSet.from_arrays(arrays_of(3), [0.1, 0.2, 0.3], targetid=ids)
    both = TrainingSet.concatenate([one, one])
    assert both.targetid is not None
    assert both.targetid.tolist() == [*ids, *ids]
    taken = one.take(np.array([2, 0])).targetid
    assert taken is not None
    assert taken.tolist() == [2**60, 7]
    without = TrainingSet.from_arrays(arrays_of(3), [0.1, 0.2, 0.3])
    assert without.targetid is without.take(np.array([1])).targetid is None
    assert TrainingSet.concatenate([one, without]).targetid is None
    assert targetid_digest(ids) == targetid_digest(ids[::-1]) != targetid_digest(ids[:2])


def test_training_set_refuses_bad_redshifts(arrays_of: Any) -> None:
    arrays = arrays_of(3)
    with pytest.raises(ValueError, match="1 of 3 z_true"):
        TrainingSet.from_arrays(arrays, [0.1, np.nan, 0.2])
    with pytest.raises(ValueError, match=r"\(2,\), expected \(3,\)"):
        TrainingSet.from_arrays(arrays, [0.1, 0.2])
    with pytest.raises(ValueError, match="0 bricks"):
        TrainingSet.concatenate([])


def test_standardisation_sees_only_its_rows_and_ignores_nan(arrays_of: Any) -> None:
    arrays = arrays_of(400, seed=4)
    arrays["features"][:50, 0] = np.nan
    rows = np.arange(300)
    before = fit_standardisation(arrays, rows)
    arrays["features"][300:] += 100
    arrays["optical"][300:] *= 50
    after = fit_standardisation(arrays, rows)
    for name in before.names():
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    seen = arrays["features"][50:300, 0]
    assert before.feature_center[0] == pytest.approx(np.median(seen), rel=1e-6)
    mad = np.median(np.abs(seen - np.median(seen)))
    assert before.feature_scale[0] == pytest.approx(1.4826 * mad, rel=1e-5)


def test_softening_is_the_pixel_noise(arrays_of: Any) -> None:
    arrays = arrays_of(300, seed=6)
    rng = np.random.default_rng(0)
    arrays["optical"][:, 1] = rng.normal(0.1, 0.02, arrays["optical"][:, 1].shape)
    assert fit_standardisation(arrays, np.arange(300)).softening[1] == pytest.approx(0.02, rel=0.02)


def test_a_feature_never_seen_or_constant_is_harmless(arrays_of: Any) -> None:
    arrays = arrays_of(50)
    arrays["features"][:, 3] = np.nan
    arrays["features"][:, 4] = 1.5
    fitted = fit_standardisation(arrays, np.arange(50))
    assert (fitted.feature_center[3], fitted.feature_scale[3]) == (0, 1)
    assert (fitted.feature_center[4], fitted.feature_scale[4]) == (1.5, 1)
    assert np.isinf(fitted.feature_high[3])


def test_outside_range_flags_far_rows_only(arrays_of: Any) -> None:
    arrays = arrays_of(500, seed=7)
    fitted = fit_standardisation(arrays, np.arange(500))
    features = arrays["features"].copy()
    assert outside_range(features, fitted).mean() < 0.05
    features[3, 16] += 20
    features[4] = np.nan
    flags = outside_range(features, fitted)
    assert flags[3]
    assert not flags[4]
