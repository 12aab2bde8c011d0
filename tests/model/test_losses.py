"""The loss is least at the truth, and knows that redshift bins are ordered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.losses import posterior_loss, spread_target
from model.train import TrainConfig, redshift_grid


def test_spread_target_is_a_distribution_around_z() -> None:
    grid = redshift_grid(TrainConfig(z_max=2.0), 200)
    edges = torch.from_numpy(grid.edges)
    z = torch.tensor([0.0, 0.7, 1.99, 5.0], dtype=torch.float64)
    for smoothing in (0.0, 0.01):
        target = spread_target(z, edges, smoothing).numpy()
        assert np.allclose(target.sum(axis=1), 1, atol=1e-5)
        assert (target >= 0).all()
        assert target[1] @ grid.centres == pytest.approx(0.7, abs=0.005)
        assert target[3, -1] == 1
    assert spread_target(z, edges, 0.0).numpy()[1].argmax() == grid.bin_of(0.7)


def test_loss_is_least_at_the_target_and_knows_the_order_of_bins() -> None:
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    z = torch.tensor([0.52], dtype=torch.float64)

    def loss_of(peak: int, crps_weight: float) -> float:
        logits = torch.zeros(1, 20)
        logits[0, peak] = 10
        return float(posterior_loss(logits, z, edges, 0.0, crps_weight))

    assert loss_of(10, 1.0) < loss_of(11, 1.0) < loss_of(15, 1.0)
    # The cross-entropy alone does not.
    assert loss_of(11, 0.0) == pytest.approx(loss_of(15, 0.0))
