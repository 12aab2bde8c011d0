"""The networks: the source's golden logits, counts, missing bands, modalities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.dataset import to_inputs
from model.network import (
    Compact,
    CompactConfig,
    NetworkConfig,
    Wei2025,
    Wei2025Config,
    Wei2025Core,
    build_network,
    config_from_dict,
    config_to_dict,
    form_channels,
)

FACTS = Path(__file__).parents[3] / "shared" / "facts"


def formula(size: int, j: int) -> np.ndarray:
    """Pseudo-random numbers in [-1, 1) that any language can make."""
    x = 43758.5453 * np.sin(12.9898 * np.arange(size, dtype=np.float64) + 78.233 * j)
    return 2 * (x - np.floor(x)) - 1


def formula_state(core: Wei2025Core) -> dict[str, Tensor]:
    """Formula-made parameters, by place in the sorted list of names."""
    state = {}
    for j, (name, tensor) in enumerate(sorted(core.state_dict().items())):
        fan_in = int(np.prod(tensor.shape[1:]))
        scale = 0.02 if name.endswith("bias") else 2.4 / np.sqrt(fan_in)
        values = (formula(tensor.numel(), j) * scale).astype(np.float32)
        state[name] = torch.from_numpy(values.reshape(tensor.shape))
    return state


def random_inputs(config: NetworkConfig, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Inputs with every band present."""
    torch.manual_seed(seed)
    return {
        "optical": torch.randn(count, 4, config.optical_px, config.optical_px),
        "wise": torch.randn(count, 2, config.wise_px, config.wise_px),
        "features": torch.randn(count, config.num_features),
        "flux": torch.rand(count, 6),
        "flux_ivar": torch.rand(count, 6) + 0.5,
        "mw_transmission": torch.full((count, 6), 0.9),
        "coverage": torch.ones(count, 6),
    }


@pytest.fixture(scope="module")
def core() -> Wei2025Core:
    network = Wei2025Core(Wei2025Config(shared_tail=True)).eval()
    network.load_state_dict(formula_state(network), strict=True)
    return network


def test_wei2025_has_the_public_codes_parameters(core: Wei2025Core) -> None:
    assert sum(p.numel() for p in core.parameters()) == 19_967_274
    listing = FACTS / "wei2025_state_dict.txt"
    if not listing.exists():
        pytest.skip(f"{listing.name}: the public code's list of tensors is not here")
    public = [line.split() for line in listing.read_text().splitlines() if line[0] != "#"]
    ours = {name: "x".join(map(str, t.shape)) for name, t in core.state_dict().items()}
    assert ours == {name: shape for _, name, shape in public}


def test_wei2025_reproduces_the_golden_logits(core: Wei2025Core) -> None:
    golden_file = FACTS / "wei2025_golden.npz"
    if not golden_file.exists():
        pytest.skip(f"{golden_file.name}: the public code's golden logits are not here")
    golden = np.load(golden_file)
    images = torch.from_numpy(formula(3 * 10 * 64 * 64, 1000).astype(np.float32))
    features = torch.from_numpy(formula(3 * 86, 1001).astype(np.float32))
    with torch.inference_mode():
        logits = core(images.reshape(3, 10, 64, 64), features.reshape(3, 86)).numpy()
    assert np.abs(logits - golden["logits"]).max() < 1e-4


def test_own_tail_is_used_unless_shared(core: Wei2025Core) -> None:
    own = Wei2025Core(Wei2025Config(shared_tail=False)).eval()
    own.load_state_dict(core.state_dict(), strict=True)
    images, features = torch.randn(1, 10, 64, 64), torch.randn(1, 86)
    with torch.inference_mode():
        assert not torch.allclose(own(images, features), core(images, features), atol=1e-3)


def test_wei2025_flops() -> None:
    # 3,038,936,064 with 85 features; the 86th adds 2 x 512.
    network = Wei2025(Wei2025Config()).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(random_inputs(network.config, 1))
    assert counter.get_total_flops() == 3_038_936_064 + 1024


def test_compact_stays_small() -> None:
    network = build_network(CompactConfig()).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(random_inputs(network.config, 1))
    assert 10e6 < counter.get_total_flops() < 40e6
    assert sum(p.numel() for p in network.parameters()) < 2_000_000


def test_dropout_is_off_in_evaluation() -> None:
    for config in (CompactConfig(), Wei2025Config()):
        network = build_network(config).eval()
        inputs = random_inputs(config, 2)
        with torch.inference_mode():
            assert torch.equal(network(inputs), network(inputs))
        network.train()
        with torch.inference_mode():
            assert not torch.equal(network(inputs), network(inputs))


def test_form_channels() -> None:
    images = torch.arange(6.0)[None, :, None, None].expand(2, 6, 3, 3)
    present = torch.ones(2, 6)
    present[1, 1] = 0
    channels = form_channels(images, present, ("g", "r", "r-g", "W2-z"))
    assert channels[0, :, 0, 0].tolist() == [0, 1, 1, 2]
    # Row 1 lacks r: its image and its colour are zero, not minus the other band.
    assert channels[1, :, 0, 0].tolist() == [0, 0, 0, 2]


@pytest.mark.parametrize("wise_px", [16, 64])
def test_wei2025_resizes_small_wise_stamps_only(wise_px: int) -> None:
    config = Wei2025Config(wise_px=wise_px, num_bins=5)
    network = build_network(config).eval()
    seen: list[Tensor] = []
    network.core.register_forward_pre_hook(lambda _, args: seen.append(args[0]))  # type: ignore[operator, union-attr]
    inputs = random_inputs(config, 1)
    with torch.inference_mode():
        network(inputs)
    assert seen[0].shape == (1, 10, 64, 64)
    assert torch.equal(seen[0][:, :4], inputs["optical"])
    assert torch.equal(seen[0][:, 7:9], inputs["wise"]) == (wise_px == 64)
    assert float(seen[0][:, 7].mean()) == pytest.approx(float(inputs["wise"][:, 0].mean()), abs=0.1)


def test_compact_dereddens_its_stamps(arrays_of) -> None:  # type: ignore[no-untyped-def]
    config = CompactConfig(modality="images")
    network = build_network(config).eval()
    inputs = to_inputs(arrays_of(4, seed=9), slice(None), 32, 8)
    clear = dict(inputs, mw_transmission=torch.ones(4, 6))
    dusty = dict(clear, mw_transmission=torch.full((4, 6), 0.5))
    for name in ("optical", "wise"):
        dusty[name] = clear[name] * 0.5
    with torch.inference_mode():
        assert torch.allclose(network(clear), network(dusty), atol=1e-4)


@pytest.mark.parametrize("kind", [CompactConfig, Wei2025Config])
@pytest.mark.parametrize("modality", ["photometry", "images"])
def test_a_modality_reads_only_its_inputs(kind, modality: str) -> None:  # type: ignore[no-untyped-def]
    config = kind(modality=modality)
    network = build_network(config).eval()
    inputs = random_inputs(config, 3)
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


@pytest.mark.parametrize("config", [CompactConfig(), Wei2025Config()], ids=lambda c: c.name)
def test_missing_values_give_finite_logits(config: NetworkConfig) -> None:
    network = build_network(config).eval()
    inputs = random_inputs(config, 2)
    inputs["features"][1, :-1] = float("nan")
    for name in ("flux", "flux_ivar", "coverage", "optical", "wise"):
        inputs[name][1] = 0
    inputs["optical"][0] = 60_000.0
    inputs["flux"][0] = 1e6
    with torch.inference_mode():
        assert torch.isfinite(network(inputs)).all()


def test_compact_tells_a_missing_band_from_an_empty_sky() -> None:
    network = build_network(CompactConfig(modality="images")).eval()
    inputs = random_inputs(network.config, 1)
    inputs["optical"][:, 2] = 0
    without = dict(inputs, coverage=torch.tensor([[1.0, 1, 0, 1, 1, 1]]))
    with torch.inference_mode():
        assert not torch.allclose(network(inputs), network(without))


@pytest.mark.parametrize(
    "config", [CompactConfig(hidden=32), Wei2025Config(wise_px=64, shared_tail=True)]
)
def test_configuration_round_trip(config: NetworkConfig) -> None:
    assert config_from_dict(config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "resnet"}, "unknown network 'resnet'"),
        ({"name": "compact", "depth": 3}, "depth"),
        ({"name": "compact", "modality": "text"}, "modality='text'"),
        ({"name": "compact", "optical_px": 20}, "optical_px=20"),
        ({"name": "wei2025", "optical_channels": ["u"]}, "'u'"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_dict(values)


def test_wrong_stamp_size_is_refused() -> None:
    network = build_network(CompactConfig())
    inputs = random_inputs(CompactConfig(optical_px=64), 1)
    with pytest.raises(ValueError, match=r"64, 64.* 32 x 32"):
        network(inputs)


def test_compact_parts_are_batch_independent() -> None:
    assert not [m for m in Compact(CompactConfig()).modules() if "Norm" in type(m).__name__]
