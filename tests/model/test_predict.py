"""Predictions: independence of batch, order and neighbours; flags; errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.calibrate import calibrated, reference_magnitude, softmax
from model.predict import Prediction, Predictor
from model.train import train
from model.weights import Weights, load_weights
from partitions.schema import QUALITY_BITS

FAR = 1 << QUALITY_BITS["FAR_FROM_TRAINING"]
OUTSIDE = 1 << QUALITY_BITS["OUT_OF_TRAINING_RANGE"]


@pytest.fixture(scope="module")
def arrays(arrays_of: Any) -> dict[str, np.ndarray]:
    return dict(arrays_of(50, seed=11, optical_px=40, wise_px=10))


@pytest.fixture(scope="module")
def whole(tiny_weights: Weights, arrays: dict[str, np.ndarray]) -> Prediction:
    return Predictor(tiny_weights, batch_size=32).predict(arrays, with_pdf=True)


def rows_of(arrays: dict[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in arrays.items()}


def assert_close(a: Prediction, b: Prediction, rows: Any, tolerance: float) -> None:
    for name, values in a.summary.items():
        # The mode is a bin centre: a tie of two bins may fall either way.
        if name not in ("mode", "odds"):
            assert np.allclose(values, b.summary[name][rows], atol=tolerance), name
    assert a.pdf is not None
    assert b.pdf is not None
    assert np.allclose(a.pdf, b.pdf[rows], atol=tolerance)
    assert np.array_equal(a.quality, b.quality[rows])


def test_prediction_is_a_posterior(whole: Prediction, tiny_weights: Weights) -> None:
    assert whole.pdf is not None
    assert np.allclose(whole.pdf.sum(axis=1), 1, atol=1e-5)
    assert (whole.pdf >= 0).all()
    assert whole.summary["quantiles"].shape == (50, len(tiny_weights.quantile_levels))


def test_prediction_follows_the_redshift(whole: Prediction, arrays: dict[str, np.ndarray]) -> None:
    assert np.corrcoef(whole.summary["median"], arrays["z_true"])[0, 1] > 0.8


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_batch_size_does_not_matter(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], whole: Prediction, batch_size: int
) -> None:
    found = Predictor(tiny_weights, batch_size=batch_size).predict(arrays, with_pdf=True)
    assert_close(found, whole, slice(None), 1e-5)


def test_order_and_neighbours_do_not_matter(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], whole: Prediction
) -> None:
    predictor = Predictor(tiny_weights, batch_size=32)
    order = np.random.default_rng(0).permutation(50)
    assert_close(predictor.predict(rows_of(arrays, order), with_pdf=True), whole, order, 1e-5)
    alone = predictor.predict(rows_of(arrays, slice(17, 18)), with_pdf=True)
    assert_close(alone, whole, slice(17, 18), 1e-5)
    wild = {name: values.copy() for name, values in arrays.items()}
    wild["optical"][1:] = 60_000
    wild["features"][1:] = np.nan
    assert_close(
        predictor.predict(rows_of(wild, slice(0, 20)), with_pdf=True),
        predictor.predict(rows_of(wild, slice(0, 20)), with_pdf=True),
        slice(None),
        0,
    )
    among_wild = predictor.predict(wild).summary["median"][0]
    assert among_wild == pytest.approx(whole.summary["median"][0], abs=1e-5)


def test_same_bytes_every_time(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], whole: Prediction, tmp_path: Any
) -> None:
    loaded = load_weights(tiny_weights.save(tmp_path))
    again = Predictor(loaded, batch_size=32).predict(arrays, with_pdf=True)
    for name, values in whole.summary.items():
        assert values.tobytes() == again.summary[name].tobytes(), name
    assert whole.pdf is not None
    assert again.pdf is not None
    assert whole.pdf.tobytes() == again.pdf.tobytes()


def test_equal_rows_of_a_batch_give_equal_bytes(
    tiny_weights: Weights, arrays: dict[str, np.ndarray]
) -> None:
    copies = rows_of(arrays, np.full(32, 5))
    found = Predictor(tiny_weights, batch_size=32).predict(copies, with_pdf=True)
    assert found.pdf is not None
    assert len({row.tobytes() for row in found.pdf}) == 1


def test_threads_are_restored(tiny_weights: Weights, arrays: dict[str, np.ndarray]) -> None:
    before = torch.get_num_threads()
    Predictor(tiny_weights, num_threads=1).predict(arrays)
    assert torch.get_num_threads() == before


def test_no_rows_give_empty_arrays(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], whole: Prediction
) -> None:
    empty = Predictor(tiny_weights).predict(rows_of(arrays, slice(0, 0)), with_pdf=True)
    for name, values in whole.summary.items():
        assert empty.summary[name].shape == (0, *values.shape[1:]), name
        assert empty.summary[name].dtype == values.dtype
    assert empty.quality.shape == (0,)
    assert empty.pdf is not None
    assert empty.pdf.shape == (0, tiny_weights.grid.num_bins)


def test_rows_outside_the_training_range_are_flagged(
    tiny_weights: Weights, arrays: dict[str, np.ndarray]
) -> None:
    changed = rows_of(arrays, slice(0, 6))
    changed["features"] = changed["features"].copy()
    changed["features"][4, 0] += 30
    quality = Predictor(tiny_weights).predict(changed).quality
    assert quality.dtype == np.int32
    assert np.flatnonzero(quality & OUTSIDE).tolist() == [4]
    unchanged = Predictor(tiny_weights).predict(rows_of(arrays, slice(0, 6))).quality
    assert not unchanged.all()


def test_temperature_flattens_the_posterior(
    tiny_weights: Weights, arrays: dict[str, np.ndarray]
) -> None:
    plain = replace(tiny_weights, recalibration=None)
    doubled = replace(plain, temperature=2 * plain.temperature)
    before, found = (
        Predictor(w, batch_size=32).predict(arrays, with_pdf=True).pdf for w in (plain, doubled)
    )
    assert before is not None
    flatter = np.sqrt(before.astype(np.float64))
    assert np.allclose(found, flatter / flatter.sum(axis=1, keepdims=True), atol=1e-5)


def test_recalibration_is_part_of_the_posterior(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], whole: Prediction
) -> None:
    assert tiny_weights.recalibration is not None
    plain = Predictor(replace(tiny_weights, recalibration=None), batch_size=32)
    logits = np.concatenate([plain.logits(arrays, slice(i, i + 32)) for i in (0, 32)])
    expected = calibrated(
        logits,
        tiny_weights.temperature,
        tiny_weights.recalibration,
        reference_magnitude(arrays, slice(None)),
    )
    assert whole.pdf is not None
    assert np.allclose(whole.pdf, expected, atol=1e-6)
    assert not np.allclose(whole.pdf, softmax(logits, tiny_weights.temperature), atol=1e-4)


def test_a_source_unlike_the_training_set_is_flagged(
    tiny_weights: Weights, arrays: dict[str, np.ndarray]
) -> None:
    ordinary = Predictor(tiny_weights).predict(arrays).quality
    assert np.count_nonzero(ordinary & FAR) <= 2
    # Nothing is odd about any one feature, but no galaxy has these colours with this image.
    strange = rows_of(arrays, slice(None))
    strange["optical"] = np.where(np.arange(40) % 2 == 0, 1.0, -1.0).astype(np.float16) * np.ones(
        (50, 4, 40, 40), np.float16
    )
    found = Predictor(tiny_weights).predict(strange).quality
    assert np.count_nonzero(found & FAR) > 45
    assert not (
        Predictor(replace(tiny_weights, familiarity=None)).predict(strange).quality & FAR
    ).any()


def test_a_row_without_photometry_gets_the_prior(
    tiny_weights: Weights, arrays: dict[str, np.ndarray]
) -> None:
    changed = rows_of(arrays, slice(0, 3))
    changed["flux_ivar"] = changed["flux_ivar"].copy()
    changed["flux_ivar"][1] = 0
    pdf = Predictor(tiny_weights).predict(changed, with_pdf=True).pdf
    assert pdf is not None
    assert np.allclose(pdf[1], tiny_weights.prior, atol=1e-7)
    assert not np.allclose(pdf[0], tiny_weights.prior, atol=1e-3)


def test_bands_that_were_not_trained_are_not_read(
    tiny_set: Any, quick: Any, small_network: Any, arrays: dict[str, np.ndarray]
) -> None:
    settings = replace(quick, epochs=1, bands=("g", "r", "z", "W1", "W2"))
    weights = train(tiny_set, settings, small_network)
    assert weights.bands == ("g", "r", "z", "W1", "W2")
    predictor = Predictor(weights, batch_size=50)
    changed = {name: values.copy() for name, values in arrays.items()}
    changed["optical"][:, 2] *= 3
    changed["flux"][:, 2] *= 3
    a, b = predictor.predict(arrays, with_pdf=True), predictor.predict(changed, with_pdf=True)
    assert np.array_equal(a.pdf, b.pdf)
    changed["flux"][:, 1] *= 3
    assert not np.array_equal(a.pdf, predictor.predict(changed, with_pdf=True).pdf)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("optical", lambda a: a[:, :, :8, :8], "8 x 8 px, smaller than 16"),
        ("features", lambda a: a[:, :85], r"\(50, 85\), expected \(50, 86\)"),
        ("wise", lambda a: np.full_like(a, np.nan), "is nan, expected a finite value"),
    ],
)
def test_malformed_arrays_are_refused(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], name: str, change: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor(tiny_weights).predict(dict(arrays, **{name: change(arrays[name])}))


def test_bad_settings_are_refused(tiny_weights: Weights) -> None:
    with pytest.raises(ValueError, match="batch_size=0"):
        Predictor(tiny_weights, batch_size=0)
    with pytest.raises(ValueError, match="num_threads=-1"):
        Predictor(tiny_weights, num_threads=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_agrees_with_cpu(
    tiny_weights: Weights, arrays: dict[str, np.ndarray], whole: Prediction
) -> None:
    found = Predictor(tiny_weights, device="cuda", batch_size=32).predict(arrays, with_pdf=True)
    assert_close(found, whole, slice(None), 2e-3)
