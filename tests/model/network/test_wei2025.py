"""The source's network: golden logits, counts, parts, channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.network import (
    Wei2025,
    Wei2025Config,
    Wei2025Core,
    build_network,
    form_channels,
)

InputsOf = Callable[..., dict[str, Tensor]]


def num_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def num_flops(network: torch.nn.Module, inputs: dict[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(inputs)
    return counter.get_total_flops()


def test_tensors_are_the_public_codes(golden: Any, golden_core: Wei2025Core) -> None:
    ours = {name: tuple(t.shape) for name, t in golden_core.state_dict().items()}
    assert ours == golden.shapes


def test_golden_logits(golden: Any, golden_core: Wei2025Core) -> None:
    with torch.inference_mode():
        logits = golden_core(golden.images.float(), golden.features.float()).numpy()
    assert np.abs(logits - golden.logits).max() < 1e-4


def test_own_tail_is_used_unless_shared(golden: Any, golden_core: Wei2025Core) -> None:
    own = Wei2025Core(Wei2025Config(shared_tail=False)).eval()
    own.load_state_dict(golden_core.state_dict(), strict=True)
    images, features = golden.images[:1].float(), golden.features[:1].float()
    with torch.inference_mode():
        assert not torch.allclose(own(images, features), golden_core(images, features), atol=1e-3)


@pytest.mark.parametrize(("num_features", "total"), [(85, 19_966_762), (86, 19_967_274)])
def test_parameters(num_features: int, total: int) -> None:
    core = Wei2025Core(Wei2025Config(num_features=num_features))
    assert num_parameters(core) == total
    assert core.image_encoder is not None
    assert core.catalog_encoder is not None
    assert num_parameters(core.image_encoder) == 17_296_936
    assert num_parameters(core.catalog_encoder) == 306_688 + 512 * (num_features - 85)
    assert num_parameters(core.estimate_model) == 2_363_138
    assert num_parameters(core.image_encoder.convseq2) == 466_848  # type: ignore[arg-type]


@pytest.mark.parametrize(("num_features", "flops"), [(85, 3_038_936_064), (86, 3_038_937_088)])
def test_flops(num_features: int, flops: int, inputs_of: InputsOf) -> None:
    network = Wei2025(Wei2025Config(num_features=num_features)).eval()
    assert num_flops(network, inputs_of(network.config, 1)) == flops


def test_one_part_is_one_column_for_all_channels(inputs_of: InputsOf) -> None:
    two, one = Wei2025(Wei2025Config()), Wei2025(Wei2025Config(parts="one"))
    assert set(one.state_dict()) < set(two.state_dict())
    shapes = {name: value.shape for name, value in two.state_dict().items()}
    other = {name for name, value in one.state_dict().items() if value.shape != shapes[name]}
    assert other == {"core.image_encoder.conv01.weight", "core.image_encoder.fc0.weight"}
    # Without the infrared column, its linear layer and half of the first joint layer; with three
    # more channels in the first convolution.
    infrared = sum(
        value.numel()
        for name, value in two.state_dict().items()
        if any(f".{part}." in name for part in ("conv02", "i02", "i12", "i22", "i32", "i42"))
    )
    removed = infrared + 466_848 + (97 * 1024 + 1024) + 1024 * 4096 - 3 * 64 * 25
    assert num_parameters(one) == num_parameters(two) - removed
    share = num_flops(one.eval(), inputs_of(one.config, 1)) / 3_038_937_088
    assert 0.5 < share < 0.55


def test_a_subnetwork_has_its_part_alone() -> None:
    joint = num_parameters(Wei2025(Wei2025Config()))
    images = Wei2025(Wei2025Config(modality="images"))
    photometry = Wei2025(Wei2025Config(modality="photometry"))
    assert images.core.catalog_encoder is None
    assert photometry.core.image_encoder is None
    assert num_parameters(images) == joint - 307_200 - 512 * 1024
    assert num_parameters(photometry) == joint - 17_296_936 - 1024 * 1024


def test_form_channels() -> None:
    images = torch.arange(6.0)[None, :, None, None].expand(2, 6, 3, 3)
    present = torch.ones(2, 6)
    present[1, 1] = 0
    channels = form_channels(images, present, ("g", "r", "r-g", "W2-z"))
    assert channels[0, :, 0, 0].tolist() == [0, 1, 1, 2]
    # Row 1 lacks r: its image and its colour are zero, not minus the other band.
    assert channels[1, :, 0, 0].tolist() == [0, 0, 0, 2]


@pytest.mark.parametrize("wise_px", [16, 64])
def test_only_small_wise_stamps_are_resized(wise_px: int, inputs_of: InputsOf) -> None:
    config = Wei2025Config(wise_px=wise_px, num_bins=5)
    network = build_network(config).eval()
    assert isinstance(network, Wei2025)
    seen: list[Tensor] = []
    assert network.core.image_encoder is not None
    network.core.image_encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    inputs = inputs_of(config, 1)
    with torch.inference_mode():
        network(inputs)
    assert seen[0].shape == (1, 10, 64, 64)
    assert torch.equal(seen[0][:, :4], inputs["optical"])
    assert torch.equal(seen[0][:, 7:9], inputs["wise"]) == (wise_px == 64)
    assert float(seen[0][:, 7].mean()) == pytest.approx(float(inputs["wise"][:, 0].mean()), abs=0.1)
