"""The default network: size, dereddening, missing bands, independence of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.dataset import to_inputs
from model.network import Compact, CompactConfig, build_network

InputsOf = Callable[..., dict[str, Tensor]]


def test_it_stays_small(inputs_of: InputsOf) -> None:
    network = build_network(CompactConfig()).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(inputs_of(network.config, 1))
    assert 10e6 < counter.get_total_flops() < 40e6
    assert sum(p.numel() for p in network.parameters()) < 2_000_000


def test_stamps_are_dereddened(arrays_of: Any) -> None:
    config = CompactConfig(modality="images")
    network = build_network(config).eval()
    inputs = to_inputs(arrays_of(4, seed=9), slice(None), 32, 8)
    clear = dict(inputs, mw_transmission=torch.ones(4, 6))
    dusty = dict(clear, mw_transmission=torch.full((4, 6), 0.5))
    for name in ("optical", "wise"):
        dusty[name] = clear[name] * 0.5
    with torch.inference_mode():
        assert torch.allclose(network(clear), network(dusty), atol=1e-4)


def test_a_missing_band_is_no_empty_sky(inputs_of: InputsOf) -> None:
    network = build_network(CompactConfig(modality="images")).eval()
    inputs = inputs_of(network.config, 1)
    inputs["optical"][:, 2] = 0
    without = dict(inputs, coverage=torch.tensor([[1.0, 1, 0, 1, 1, 1]]))
    with torch.inference_mode():
        assert not torch.allclose(network(inputs), network(without))


def test_wrong_stamp_size_is_refused(inputs_of: InputsOf) -> None:
    network = build_network(CompactConfig())
    with pytest.raises(ValueError, match=r"64, 64.* 32 x 32"):
        network(inputs_of(CompactConfig(optical_px=64), 1))


def test_no_layer_looks_across_the_batch() -> None:
    assert not [m for m in Compact(CompactConfig()).modules() if "Norm" in type(m).__name__]
