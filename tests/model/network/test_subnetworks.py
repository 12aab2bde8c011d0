"""Encoders trained alone, put into the joint network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.network import Wei2025, Wei2025Config, load_subnetworks

InputsOf = Callable[..., dict[str, Tensor]]

JOINT = Wei2025Config(num_bins=7)


@pytest.mark.parametrize("parts", ["two", "one"])
def test_encoders_are_copied_and_the_head_is_kept(parts: str, inputs_of: InputsOf) -> None:
    joint = Wei2025(replace(JOINT, parts=parts))
    # Heads may differ: they are not copied.
    images = Wei2025(replace(joint.config, modality="images", num_bins=9)).eval()
    photometry = Wei2025(replace(joint.config, modality="photometry", head="regression")).eval()
    head = joint.core.estimate_model.fc1.weight.clone()
    report = load_subnetworks(joint, images, photometry)
    joint.eval()
    inputs = inputs_of(joint.config, 2)
    seen: list[Tensor] = []
    joint.core.estimate_model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images.core.estimate_model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    photometry.core.estimate_model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        for network in (joint, images, photometry):
            network(inputs)
    together, image_vector, photometry_vector = seen
    assert torch.equal(together, torch.cat([image_vector, photometry_vector], dim=1))
    assert torch.equal(joint.core.estimate_model.fc1.weight, head)
    assert set(report.copied) | set(report.kept) == set(joint.state_dict())
    assert {name.split(".")[1] for name in report.copied} == {"image_encoder", "catalog_encoder"}
    assert {name.split(".")[1] for name in report.kept} == {"estimate_model"}
    if parts == "two":
        assert report.num_parameters == 17_296_936 + 307_200
        assert str(report) == "copied 140 tensors of 17,604,136 parameters, kept 4"


def test_one_encoder_alone() -> None:
    joint, photometry = Wei2025(JOINT), Wei2025(replace(JOINT, modality="photometry"))
    before = {name: value.clone() for name, value in joint.state_dict().items()}
    report = load_subnetworks(joint, photometry_only=photometry)
    after = joint.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in report.kept)
    assert not any(torch.equal(before[name], after[name]) for name in report.copied)
    # A copy: what happens to the sub-network later is its own affair.
    torch.nn.init.zeros_(photometry.core.catalog_encoder.layers[0].weight)  # type: ignore[union-attr, index, arg-type]
    assert after["core.catalog_encoder.layers.0.weight"].any()


@pytest.mark.parametrize(
    ("joint", "images", "photometry", "message"),
    [
        ({"modality": "images"}, None, None, "joint network has modality 'images'"),
        ({}, {"modality": "photometry"}, None, "'photometry' has no image_encoder"),
        ({}, None, {"modality": "images"}, "'images' has no catalog_encoder"),
        ({}, {"parts": "one"}, None, "parts is 'one' in the sub-network, 'two' in the joint"),
        ({}, {"wise_px": 64}, None, "wise_px is 64 in the sub-network, 16"),
        ({}, {"shared_tail": True}, None, "shared_tail is True in the sub-network, False"),
        ({}, None, {"num_features": 85}, "num_features is 85 in the sub-network, 86"),
    ],
)
def test_other_settings_are_refused(
    joint: dict[str, object],
    images: dict[str, object] | None,
    photometry: dict[str, object] | None,
    message: str,
) -> None:
    def network(changes: dict[str, object] | None) -> Wei2025 | None:
        return None if changes is None else Wei2025(replace(JOINT, **changes))  # type: ignore[arg-type]

    with torch.device("meta"):
        networks = network(joint), network(images), network(photometry)
    with pytest.raises(ValueError, match=message):
        load_subnetworks(*networks)  # type: ignore[arg-type]
