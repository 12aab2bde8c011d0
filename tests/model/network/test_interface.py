"""What holds for every network: dropout, modalities, missing values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from model.network import CompactConfig, NetworkConfig, Wei2025Config, build_network

InputsOf = Callable[..., dict[str, Tensor]]

NETWORKS = [
    CompactConfig(),
    Wei2025Config(),
    Wei2025Config(parts="one"),
    Wei2025Config(head="regression"),
    Wei2025Config(modality="images"),
    Wei2025Config(modality="photometry"),
]


def label(config: NetworkConfig) -> str:
    """What is not the default."""
    default = type(config)()
    changed = [
        f.name for f in fields(config) if getattr(config, f.name) != getattr(default, f.name)
    ]
    return "-".join([config.name, *(str(getattr(config, name)) for name in changed)])


@pytest.mark.parametrize("config", NETWORKS, ids=label)
def test_dropout_is_off_in_evaluation_only(config: NetworkConfig, inputs_of: InputsOf) -> None:
    network = build_network(config).eval()
    inputs = inputs_of(config, 2)
    with torch.inference_mode():
        assert torch.equal(network(inputs), network(inputs))
    network.train()
    with torch.inference_mode():
        assert not torch.equal(network(inputs), network(inputs))


@pytest.mark.parametrize("kind", [CompactConfig, Wei2025Config])
@pytest.mark.parametrize("modality", ["photometry", "images"])
def test_a_modality_reads_only_its_inputs(
    kind: type[CompactConfig] | type[Wei2025Config], modality: str, inputs_of: InputsOf
) -> None:
    config = kind(modality=modality)  # type: ignore[arg-type]
    network = build_network(config).eval()
    inputs = inputs_of(config, 3)
    unread = ("optical", "wise") if modality == "photometry" else ("features", "flux", "flux_ivar")
    read = ("features",) if modality == "photometry" else ("optical",)
    for name in unread:
        changed = inputs[name] * 0.5
        if name == "features":
            # E(B-V), the last feature, also feeds the image part of wei2025.
            changed[:, -1] = inputs[name][:, -1]
        with torch.inference_mode():
            assert torch.equal(network(inputs), network(dict(inputs, **{name: changed}))), name
    for name in read:
        with torch.inference_mode():
            changed_logits = network(dict(inputs, **{name: inputs[name] * 0.5}))
        assert not torch.equal(network(inputs), changed_logits), name


@pytest.mark.parametrize("config", NETWORKS, ids=label)
def test_missing_values_give_finite_logits(config: NetworkConfig, inputs_of: InputsOf) -> None:
    network = build_network(config).eval()
    inputs = inputs_of(config, 2)
    inputs["features"][1, :-1] = float("nan")
    for name in ("flux", "flux_ivar", "coverage", "optical", "wise"):
        inputs[name][1] = 0
    inputs["optical"][0] = 60_000.0
    inputs["flux"][0] = 1e6
    with torch.inference_mode():
        logits = network(inputs)
    assert logits.shape == (2, config.num_bins)
    assert torch.isfinite(logits).all()
