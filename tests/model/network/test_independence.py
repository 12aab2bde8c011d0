"""Predictions of the source's network do not depend on batch size, order or neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.dataset import Standardisation
from model.network import Wei2025Config, build_network
from model.posterior import RedshiftGrid
from model.predict import Predictor
from model.weights import Weights

Arrays = dict[str, npt.NDArray[Any]]
BATCH_SIZE = 4


@pytest.fixture(scope="module")
def arrays(arrays_of: Any) -> Arrays:
    return dict(arrays_of(6, seed=8, optical_px=64, wise_px=16))


@pytest.fixture(
    scope="module",
    params=[{}, {"parts": "one"}, {"head": "regression"}, {"shared_tail": True}],
    ids=str,
)
def weights(request: Any) -> Weights:
    config = Wei2025Config(num_bins=60, **request.param)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = build_network(config).eval()
    return Weights(
        network_config=config,
        tensors={name: value.numpy() for name, value in network.state_dict().items()},
        standardisation=Standardisation.identity(),
        grid=RedshiftGrid.uniform(0.0, 0.3),
        prior=np.full(60, 1 / 60),
        # As sharp as a trained network's posteriors, so that a difference would show.
        temperature=0.02,
    )


def pdf_of(weights: Weights, arrays: Arrays, rows: Any, batch_size: int = BATCH_SIZE) -> Any:
    part = {name: values[rows] for name, values in arrays.items()}
    return Predictor(weights, batch_size=batch_size).predict(part, with_pdf=True).pdf


def test_same_bytes_in_padded_batches_of_one_shape(weights: Weights, arrays: Arrays) -> None:
    whole = pdf_of(weights, arrays, slice(None))
    assert whole.tobytes() == pdf_of(weights, arrays, slice(None)).tobytes()
    # Alone among padding, and in another order.
    for row in range(6):
        assert np.array_equal(pdf_of(weights, arrays, slice(row, row + 1))[0], whole[row]), row
    order = np.array([5, 2, 0, 4, 1, 3])
    assert np.array_equal(pdf_of(weights, arrays, order), whole[order])
    # Beside neighbours that are anything but normal.
    wild = {name: values.copy() for name, values in arrays.items()}
    wild["optical"][1:] = 60_000
    wild["features"][1:] = np.nan
    assert np.array_equal(pdf_of(weights, wild, slice(None))[0], whole[0])


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batch_size_does_not_matter(weights: Weights, arrays: Arrays, batch_size: int) -> None:
    whole = pdf_of(weights, arrays, slice(None))
    assert np.allclose(pdf_of(weights, arrays, slice(None), batch_size), whole, atol=1e-4)
