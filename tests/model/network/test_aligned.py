"""The rewrite for tensor cores gives the original's logits, from aligned channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from model.network import Wei2025, Wei2025Config, Wei2025Core, aligned, build_network

InputsOf = Callable[..., dict[str, Tensor]]

VARIANTS = [
    Wei2025Config(),
    Wei2025Config(shared_tail=True),
    Wei2025Config(parts="one"),
    Wei2025Config(modality="images"),
    Wei2025Config(modality="photometry"),
    Wei2025Config(head="regression"),
]


def label(config: Wei2025Config) -> str:
    """What is not the default."""
    default = type(config)()
    changed = [
        f.name for f in fields(config) if getattr(config, f.name) != getattr(default, f.name)
    ]
    return "-".join([config.name, *(str(getattr(config, name)) for name in changed)])


def wei2025(config: Wei2025Config) -> Wei2025:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = build_network(config).eval()
    assert isinstance(network, Wei2025)
    return network


@pytest.mark.parametrize("config", VARIANTS, ids=label)
def test_logits_are_the_originals(config: Wei2025Config, inputs_of: InputsOf) -> None:
    network, inputs = wei2025(config), inputs_of(config, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rewritten = aligned(network)
    with torch.inference_mode():
        # The regressor's logits reach 800, the classifier's 1.
        assert torch.allclose(rewritten(inputs), network(inputs), rtol=1e-5, atol=1e-5)
    assert rewritten.config == config
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("double", [False, True])
def test_golden_logits(golden: Any, golden_core: Wei2025Core, double: bool) -> None:
    network = Wei2025(Wei2025Config(shared_tail=True))
    network.core.load_state_dict(golden_core.state_dict())
    core = aligned(network.double() if double else network).core
    dtype = torch.float64 if double else torch.float32
    with torch.inference_mode():
        logits = core(golden.images.to(dtype), golden.features.to(dtype)).numpy()
    assert np.abs(logits - golden.logits).max() < (1e-10 if double else 1e-5)


@pytest.mark.parametrize("parts", ["two", "one"])
def test_channels_are_aligned(parts: Any) -> None:
    encoder = aligned(wei2025(Wei2025Config(parts=parts))).core.image_encoder
    assert encoder is not None
    counts = {
        count
        for module in encoder.modules()
        if isinstance(module, nn.Conv2d)
        for count in (module.in_channels, module.out_channels)
    }
    image_channels = {8, 4} if parts == "two" else {12}
    assert {count for count in counts if count % 16} == image_channels
    assert {352, 480, 96} < counts
    # One 1x1 convolution per block instead of three or four.
    singles = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(singles) == (10 if parts == "two" else 5)


@pytest.mark.parametrize(
    ("config", "parameters", "flops"),
    [
        (Wei2025Config(), 20_118_850, 3_160_471_552),
        # The second tail, which this network never uses, is left out: 466,848 and its padding.
        (Wei2025Config(shared_tail=True), 19_648_546, 3_160_471_552),
        (Wei2025Config(parts="one"), 13_503_906, 1_665_740_800),
    ],
)
def test_counts(config: Wei2025Config, parameters: int, flops: int, inputs_of: InputsOf) -> None:
    rewritten = aligned(wei2025(config))
    assert sum(p.numel() for p in rewritten.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        rewritten(inputs_of(config, 1))
    assert counter.get_total_flops() == flops


def test_it_takes_any_state_dict_and_touches_no_random_state() -> None:
    network = wei2025(Wei2025Config())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    rewritten = aligned(network)
    assert torch.equal(torch.rand(1), expected)
    assert not rewritten.training
    assert not any(p.requires_grad for p in rewritten.parameters())
