"""What needs a CUDA device: it computes what the CPU does, repeats itself, and trains on all.

Tolerances are those of posteriors: probabilities of bins, of which the largest are about 0.1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.dataset import Split, TrainingSet, fit_standardisation, to_inputs
from model.device import repeatable
from model.distributed import run_ranks
from model.network import (
    CompactConfig,
    NetworkConfig,
    Wei2025,
    Wei2025Config,
    aligned,
    build_network,
)
from model.predict import Predictor
from model.train import TrainConfig, redshift_grid, train
from model.weights import Weights
from tests.model.rank_work import check_sums

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

Pdf = npt.NDArray[np.float32]

NETWORKS: list[NetworkConfig] = [
    CompactConfig(num_bins=60),
    Wei2025Config(num_bins=60, optical_px=32, wise_px=8),
]
by_name = pytest.mark.parametrize("config", NETWORKS, ids=lambda config: config.name)


@pytest.fixture(scope="module")
def rows(arrays_of: Any) -> TrainingSet:
    """64 synthetic rows."""
    arrays = arrays_of(64, seed=3)
    return TrainingSet.from_arrays(arrays, arrays["z_true"], 32, 8)


def weights_of(config: NetworkConfig, rows: TrainingSet) -> Weights:
    """A network that has not learned, with logits that are far from flat."""
    torch.manual_seed(0)
    network = build_network(config)
    standardisation = fit_standardisation(rows.arrays, np.arange(len(rows)))
    network.standardise_with(standardisation)
    with torch.inference_mode():
        spread = network.eval()(to_inputs(rows.arrays, slice(None), 32, 8)).std()
        last = list(network.parameters())[-2:]
        for parameter in last:
            parameter.mul_(1.5 / spread)
    grid = redshift_grid(TrainConfig(z_max=2.0), config.num_bins)
    tensors = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    prior = np.full(config.num_bins, 1 / config.num_bins)
    return Weights(config, tensors, standardisation, grid, prior)


def pdf_of(weights: Weights, rows: TrainingSet, device: str, autocast: bool = False) -> Pdf:
    predictor = Predictor(weights, device, batch_size=32, autocast=autocast)
    pdf = predictor.predict(rows.arrays, with_pdf=True).pdf
    assert pdf is not None
    return pdf


@by_name
def test_posteriors_on_cuda_are_those_of_the_cpu(config: NetworkConfig, rows: TrainingSet) -> None:
    weights = weights_of(config, rows)
    expected = pdf_of(weights, rows, "cpu")
    assert expected.max() > 3 / config.num_bins
    with repeatable(torch.device("cuda")):
        np.testing.assert_allclose(pdf_of(weights, rows, "cuda"), expected, atol=1e-4)


@by_name
def test_bfloat16_is_near_float32(config: NetworkConfig, rows: TrainingSet) -> None:
    weights = weights_of(config, rows)
    exact = pdf_of(weights, rows, "cuda")
    half = pdf_of(weights, rows, "cuda", autocast=True)
    assert not np.array_equal(half, exact)
    # bfloat16 keeps 8 bits: logits of a few units are good to some hundredths.
    assert np.abs(half - exact).sum(axis=1).max() < 0.1


def test_the_aligned_network_has_the_same_logits(rows: TrainingSet) -> None:
    network = weights_of(NETWORKS[1], rows).build_network().to("cuda")
    assert isinstance(network, Wei2025)
    host = to_inputs(rows.arrays, slice(None), 32, 8)
    inputs = {name: value.to("cuda") for name, value in host.items()}
    with torch.inference_mode(), repeatable(torch.device("cuda")):
        found, expected = aligned(network)(inputs), network(inputs)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@by_name
def test_a_step_on_cuda_is_a_step_on_the_cpu(config: NetworkConfig, rows: TrainingSet) -> None:
    split = Split(np.arange(32), np.arange(32, 64), np.empty(0, np.int64))
    still = replace(config, dropout=0.0) if isinstance(config, CompactConfig) else config
    settings = TrainConfig(
        epochs=1, batch_size=32, z_max=2.0, learning_rate=1e-3, average_decay=0.0
    )
    cpu = train(rows, settings, still, split=split)
    cuda = train(rows, replace(settings, device="cuda"), still, split=split)
    # Dropout of wei2025 cannot be turned off, and the devices draw other numbers.
    tolerance = 1e-3 if isinstance(config, CompactConfig) else 0.1
    assert cuda.provenance["train_loss"] == pytest.approx(
        cpu.provenance["train_loss"], abs=tolerance
    )


@by_name
def test_training_on_cuda_repeats_itself(config: NetworkConfig, rows: TrainingSet) -> None:
    split = Split(np.arange(48), np.arange(48, 64), np.empty(0, np.int64))
    settings = TrainConfig(epochs=2, batch_size=16, device="cuda")
    for precision in ("float32", "bfloat16"):
        chosen = replace(settings, precision=precision)  # type: ignore[arg-type]
        first = train(rows, chosen, config, split=split)
        assert train(rows, chosen, config, split=split).digest == first.digest


def test_nccl_sums_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    reports: list[Any] = []
    count = torch.cuda.device_count()
    run_ranks(check_sums, (7,), count, "cuda", reports.append)
    assert len(reports) == count


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device here")
def test_all_devices_train_what_one_does(
    tiny_set: TrainingSet, quick: TrainConfig, small_network: CompactConfig
) -> None:
    network = replace(small_network, dropout=0.0)
    one = replace(quick, device="cuda", epochs=2)
    every = replace(one, devices=torch.cuda.device_count())
    expected, found = train(tiny_set, one, network), train(tiny_set, every, network)
    for name, values in expected.tensors.items():
        np.testing.assert_allclose(found.tensors[name], values, atol=1e-4, err_msg=name)
    assert train(tiny_set, every, network).digest == found.digest
