"""The regression head: a place on the grid, its Gaussian, its loss, its calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from model.calibrate import fit_temperature, softmax
from model.losses import root_mean_square_loss
from model.network import Wei2025Config, build_network, logits_to_place, place_to_logits
from model.network.regression import PLACES_PER_UNIT, WIDTH_FRACTION
from model.posterior import RedshiftGrid, summarise

InputsOf = Callable[..., dict[str, Tensor]]

SOURCE_GRID = RedshiftGrid.uniform(0.0, 3.85)
GRIDS = [SOURCE_GRID, RedshiftGrid.log_uniform(0.0, 4.0, 400), RedshiftGrid.uniform(0.0, 0.1)]


@pytest.mark.parametrize("num_bins", [2, 60, 400, 770])
def test_place_and_logits_are_inverse(num_bins: int) -> None:
    place = torch.linspace(-0.2, 1.2, 29) * num_bins
    assert torch.allclose(
        logits_to_place(place_to_logits(place, num_bins)), place, atol=1e-6 * num_bins
    )
    # Only differences of logits mean anything.
    shifted = place_to_logits(place, num_bins) + 3
    assert torch.allclose(logits_to_place(shifted), place, atol=1e-6 * num_bins)


def test_gradient_reaches_the_place_unchanged() -> None:
    place = torch.tensor([3.0, 700.0], requires_grad=True)
    logits_to_place(place_to_logits(place, 770)).sum().backward()
    assert place.grad is not None
    assert torch.allclose(place.grad, torch.ones(2), atol=1e-4)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.num_bins))
def test_posterior_is_a_gaussian_around_the_place(grid: RedshiftGrid) -> None:
    num_bins = grid.num_bins
    place = torch.tensor([0.5 * num_bins])
    pdf = softmax(place_to_logits(place, num_bins).numpy())
    centres = np.arange(num_bins) + 0.5
    mean = (pdf * centres).sum()
    assert mean == pytest.approx(0.5 * num_bins, rel=1e-5)
    width = np.sqrt((pdf * (centres - mean) ** 2).sum())
    # Half a bin wide on the coarse grid, where the bins' own width begins to show.
    assert width == pytest.approx(WIDTH_FRACTION * num_bins, rel=0.1 if num_bins < 60 else 0.01)
    median = summarise(pdf, grid, ())["median"]
    assert np.interp(median, grid.edges, np.arange(num_bins + 1)) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("sigma", [0.03, 0.08, 0.2])
def test_temperature_fits_the_width_of_the_residuals(sigma: float) -> None:
    rng = np.random.default_rng(5)
    z_true = rng.uniform(1.2, 2.6, 4000)
    z_predicted = z_true + sigma * rng.normal(size=4000)
    place = torch.from_numpy(z_predicted / 0.005).to(torch.float32)
    logits = place_to_logits(place, 770).numpy()
    temperature = fit_temperature(logits, SOURCE_GRID.bin_of(z_true))
    std = summarise(softmax(logits, temperature), SOURCE_GRID, ())["std"]
    assert np.median(std) == pytest.approx(sigma, rel=0.05)


def test_loss_is_the_root_mean_square_error_in_z() -> None:
    rng = np.random.default_rng(6)
    z_true, z_predicted = rng.uniform(0, 3.8, (2, 50))
    edges = torch.from_numpy(SOURCE_GRID.edges)
    place = torch.from_numpy(z_predicted / 0.005)
    loss = root_mean_square_loss(place, torch.from_numpy(z_true), edges)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(np.sqrt(np.mean((z_predicted - z_true) ** 2)), rel=1e-5)


def test_loss_follows_an_uneven_grid_and_goes_on_beyond_it() -> None:
    edges = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    for place, z in ((0.5, 0.5), (1.5, 2.0), (2.5, 4.0), (-1.0, -1.0)):
        at = torch.tensor([place], requires_grad=True)
        assert float(root_mean_square_loss(at.detach(), torch.tensor([z]), edges)) < 1e-5
        loss = root_mean_square_loss(at, torch.tensor([z + 0.5]), edges)
        assert float(loss.detach()) == pytest.approx(0.5, rel=1e-5)
        loss.backward()  # type: ignore[no-untyped-call]
        assert at.grad is not None
        assert float(at.grad) < -0.5


def test_loss_at_the_truth_has_a_finite_gradient() -> None:
    place = torch.tensor([100.0], requires_grad=True)
    edges = torch.from_numpy(SOURCE_GRID.edges)
    root_mean_square_loss(place, edges[100:101], edges).backward()
    assert place.grad is not None
    assert torch.isfinite(place.grad).all()


def test_raw_number_is_the_redshift_on_the_sources_grid(inputs_of: InputsOf) -> None:
    config = Wei2025Config(head="regression", modality="photometry")
    network = build_network(config).eval()
    torch.nn.init.zeros_(network.core.estimate_model.fc2.weight)  # type: ignore[union-attr, arg-type]
    torch.nn.init.constant_(network.core.estimate_model.fc2.bias, 1.3)  # type: ignore[union-attr, arg-type]
    with torch.inference_mode():
        logits = network(inputs_of(config, 2))
    assert logits_to_place(logits).numpy() == pytest.approx(1.3 * PLACES_PER_UNIT, rel=1e-4)
    assert summarise(softmax(logits.numpy()), SOURCE_GRID, ())["mean"] == pytest.approx(1.3, 1e-3)


def test_it_learns(inputs_of: InputsOf) -> None:
    config = Wei2025Config(head="regression", modality="photometry", num_bins=400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(config)
        inputs = inputs_of(config, 64)
        z = 0.5 + 0.2 * inputs["features"][:, 0]
        edges = torch.from_numpy(GRIDS[1].edges)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        losses = []
        for _ in range(60):
            loss = root_mean_square_loss(logits_to_place(network(inputs)), z, edges)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert losses[-1] < 0.15


def test_the_place_stays_float32_in_bfloat16_arithmetic(inputs_of: InputsOf) -> None:
    config = Wei2025Config(head="regression", modality="photometry")
    network = build_network(config).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = network(inputs_of(config, 2))
    assert logits.dtype == torch.float32
