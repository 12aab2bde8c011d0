"""Training: it learns, it repeats itself, its augmentations keep rows consistent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.calibrate import cross_entropy
from model.dataset import Split, TrainingSet, drop_bands, to_inputs
from model.network import CompactConfig, Wei2025Config
from model.predict import Predictor
from model.train import EpochLog, TrainConfig, balancing_weights, split_rows, train
from model.weights import Weights


def test_training_overfits_a_small_set(tiny_set: TrainingSet, small_network: CompactConfig) -> None:
    rows = np.arange(96)
    settings = TrainConfig(
        epochs=60,
        batch_size=32,
        learning_rate=4e-3,
        weight_decay=0.0,
        band_dropout=0.0,
        dihedral=False,
        average_decay=0.9,
        patience=60,
        z_max=2.0,
    )
    weights = train(
        tiny_set,
        settings,
        replace(small_network, dropout=0.0),
        split=Split(rows, rows, np.empty(0, np.int64)),
    )
    part = tiny_set.take(rows)
    z = Predictor(weights).predict(part.arrays).summary["median"]
    dz = (z - part.z_true) / (1 + part.z_true)
    assert np.std(part.z_true) > 0.3
    assert np.median(np.abs(dz)) < 0.012


def test_training_repeats_itself(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig, tiny_weights: Weights
) -> None:
    torch.manual_seed(12345)
    assert train(tiny_set, quick, small_network).digest == tiny_weights.digest
    other = train(tiny_set, replace(quick, seed=1), small_network)
    assert other.digest != tiny_weights.digest


def test_training_leaves_the_random_state_alone(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(tiny_set, replace(quick, epochs=1), small_network)
    assert torch.equal(torch.rand(1), expected)


def test_progress_and_provenance_agree(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    logs: list[EpochLog] = []
    weights = train(tiny_set, quick, small_network, progress=logs.append)
    provenance = weights.provenance
    assert [log.epoch for log in logs] == [1, 2, 3]
    assert provenance["validation_nll"] == [log.validation_nll for log in logs]
    best = min(logs, key=lambda log: log.validation_nll)
    assert provenance["best_epoch"] == best.epoch
    split = split_rows(tiny_set, quick)
    assert provenance["rows"]["train"] == len(split.train)
    assert provenance["train_config"]["seed"] == quick.seed
    assert "\n" not in str(logs[0])
    # Nothing is fitted on test rows: spoiling them changes nothing.
    spoiled = TrainingSet(
        {name: values.copy() for name, values in tiny_set.arrays.items()},
        tiny_set.z_true.copy(),
        tiny_set.ra_deg,
        tiny_set.dec_deg,
    )
    for values in (*spoiled.arrays.values(), spoiled.z_true):
        values[split.test] = 0.5
    assert train(spoiled, quick, small_network).digest == weights.digest


def test_the_best_epoch_is_kept_and_patience_stops(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    logs: list[EpochLog] = []
    # Learning from random redshifts cannot generalise: validation gets worse at once.
    rng = np.random.default_rng(0)
    noise = replace_z(tiny_set, rng.uniform(0, 1.5, len(tiny_set)))
    settings = replace(
        quick, epochs=40, patience=2, learning_rate=1e-2, band_dropout=0.0, average_decay=0.0
    )
    weights = train(noise, settings, replace(small_network, dropout=0.0), progress=logs.append)
    assert len(logs) < 40
    best = min(logs, key=lambda log: log.validation_nll).epoch
    assert logs[-1].epoch == best + 2
    assert weights.provenance["best_epoch"] == best
    held_out = noise.take(split_rows(noise, settings).validation)
    logits = Predictor(weights, batch_size=len(held_out)).logits(held_out.arrays, slice(None))
    nll = cross_entropy(logits, weights.grid.bin_of(held_out.z_true))
    assert nll == pytest.approx(logs[best - 1].validation_nll, abs=1e-5)


def replace_z(train_set: TrainingSet, z: np.ndarray) -> TrainingSet:
    return TrainingSet(train_set.arrays, z, train_set.ra_deg, train_set.dec_deg)


@pytest.mark.parametrize("modality", ["photometry", "images"])
def test_single_modalities_learn(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig, modality: Any
) -> None:
    logs: list[EpochLog] = []
    settings = replace(quick, epochs=4, band_dropout=0.1)
    weights = train(tiny_set, settings, replace(small_network, modality=modality), logs.append)
    nll = [log.validation_nll for log in logs]
    assert nll[-1] < nll[0] - 0.02
    found = Predictor(weights).predict(tiny_set.arrays).summary["median"]
    assert np.corrcoef(found, tiny_set.z_true)[0, 1] > 0.3


def test_wei2025_trains(tiny_set: TrainingSet) -> None:
    settings = TrainConfig(epochs=1, batch_size=4, grid="linear", learning_rate=1e-4)
    config = Wei2025Config(num_bins=300, optical_px=32, wise_px=8)
    split = Split(np.arange(8), np.arange(8, 12), np.empty(0, np.int64))
    weights = train(tiny_set, settings, config, split=split)
    assert np.allclose(weights.grid.widths, 0.005)
    assert weights.grid.num_bins == 300


def test_bfloat16_learns_the_same(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig, tiny_weights: Weights
) -> None:
    half = train(tiny_set, replace(quick, precision="bfloat16"), small_network)
    nll = tiny_weights.provenance["validation"]["nll"]
    assert half.provenance["validation"]["nll"] == pytest.approx(nll, abs=0.15)
    assert all(value.dtype == np.float32 for value in half.tensors.values())


def test_unusable_rows_and_settings_are_refused(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    nothing = Split(np.arange(5), np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(ValueError, match="5 training and 0 validation"):
        train(tiny_set, quick, small_network, split=nothing)
    with pytest.raises(ValueError, match=r"band_dropout=1\.5"):
        TrainConfig(band_dropout=1.5)
    with pytest.raises(ValueError, match="bands"):
        TrainConfig(bands=("u",))
    with pytest.raises(FloatingPointError, match="lower it"):
        train(tiny_set, replace(quick, learning_rate=1e30, clip_norm=1e30), small_network)


def test_band_dropout_makes_missing_bands_survivable(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    def error_without_i(band_dropout: float) -> float:
        settings = replace(quick, epochs=10, band_dropout=band_dropout, average_decay=0.9)
        weights = train(tiny_set, settings, small_network)
        inputs = to_inputs(tiny_set.arrays, slice(None), 32, 8)
        keep = torch.ones(len(tiny_set), 6, dtype=torch.bool)
        keep[:, 2] = False
        arrays = {name: value.numpy() for name, value in drop_bands(inputs, keep).items()}
        z = Predictor(weights).predict(arrays).summary["median"]
        return float(np.median(np.abs(z - tiny_set.z_true) / (1 + tiny_set.z_true)))

    assert error_without_i(0.4) < error_without_i(0.0)


# --- balance, the regression head, pretrained parts ------------------------------------------


@given(balance=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_balancing_weights_even_out_redshifts(balance: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = np.concatenate([rng.uniform(0.0, 0.2, 900), rng.uniform(0.9, 1.1, 100)])
    rows = np.arange(0, 1000, 2)
    weight = balancing_weights(z, rows, balance)
    assert weight[rows].mean() == pytest.approx(1, rel=1e-4)
    assert (weight > 0).all()
    low, high = weight[rows][z[rows] < 0.5].sum(), weight[rows][z[rows] > 0.5].sum()
    assert high / low >= (z[rows] > 0.5).sum() / (z[rows] < 0.5).sum() * (1 - 1e-4)
    if balance == 0:
        assert (weight == 1).all()


def test_balancing_weights_even_out_classes() -> None:
    rng = np.random.default_rng(0)
    z, rows = rng.uniform(0, 1, 1000), np.arange(0, 1000, 2)
    code = (rng.random(1000) < 0.3).astype(np.int32)
    weight = balancing_weights(z, rows, 0.0, code, 1.0)
    per_class = np.bincount(code[rows], weights=weight[rows])
    assert per_class[0] == pytest.approx(per_class[1], rel=1e-3)
    assert weight[rows].mean() == pytest.approx(1, rel=1e-4)
    both = balancing_weights(z, rows, 0.5, code, 1.0)
    assert both == pytest.approx(weight * balancing_weights(z, rows, 0.5, code, 0.0), rel=0.2)
    for codes, number in ((None, 0), (np.zeros(1000, np.int32), 1)):
        with pytest.raises(ValueError, match=f"rows of {number} class"):
            balancing_weights(z, rows, 0.0, codes, 1.0)


def test_a_balanced_training_moves_probability_to_rare_redshifts(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    rare = np.flatnonzero(tiny_set.z_true > 1.2)[:8]
    rows = np.concatenate([np.flatnonzero(tiny_set.z_true < 0.4), rare])
    part = tiny_set.take(rows)
    everything = np.arange(len(part))
    split = Split(everything, everything, np.empty(0, np.int64))
    flat = replace(small_network, dropout=0.0, modality="photometry")

    def mass_at_high_z(balance: float) -> float:
        config = replace(quick, balance=balance, epochs=3, batch_size=32)
        weights = train(part, config, flat, split=split)
        pdf = Predictor(weights).predict(part.arrays, with_pdf=True).pdf
        assert pdf is not None
        return float(pdf[:, weights.grid.centres > 1.0].sum(axis=1).mean())

    assert mass_at_high_z(1.0) > 1.1 * mass_at_high_z(0.0)


def test_regression_head_learns_and_its_width_is_calibrated(arrays_of: Any) -> None:
    arrays = arrays_of(400, seed=4)
    rows = TrainingSet.from_arrays(arrays, arrays["z_true"], 32, 8)
    network = Wei2025Config(
        num_bins=300, modality="photometry", head="regression", optical_px=32, wise_px=8
    )
    config = TrainConfig(epochs=12, batch_size=32, learning_rate=1e-3, grid="linear")
    everything = np.arange(400)
    weights = train(rows, config, network, split=Split(everything[:300], everything[300:], []))
    summary = Predictor(weights).predict(rows.arrays).summary
    error = summary["median"] - rows.z_true
    assert np.std(error) < 0.5 * np.std(rows.z_true)
    inside = (summary["l68"] <= rows.z_true) & (rows.z_true <= summary["u68"])
    assert 0.5 < inside.mean() < 0.9


def test_a_joint_network_starts_from_its_pretrained_parts(tiny_set: TrainingSet) -> None:
    # A vanishing rate: what is trained is what it started from.
    config = TrainConfig(epochs=1, batch_size=64, learning_rate=1e-12, average_decay=0.0)
    few = tiny_set.take(np.arange(96))
    split = Split(np.arange(64), np.arange(64, 96), np.empty(0, np.int64))
    small = Wei2025Config(num_bins=60, optical_px=32, wise_px=8)
    photometry = train(
        few, replace(config, seed=5), replace(small, modality="photometry"), split=split
    )
    joint = train(few, config, small, split=split, pretrained=[photometry])
    name = "core.catalog_encoder.layers.0.weight"
    np.testing.assert_allclose(joint.tensors[name], photometry.tensors[name], atol=1e-6)
    with pytest.raises(ValueError, match="at most one image-only"):
        train(few, config, small, split=split, pretrained=[photometry, photometry])
    with pytest.raises(ValueError, match="for 'compact'"):
        train(few, config, CompactConfig(), split=split, pretrained=[photometry])
