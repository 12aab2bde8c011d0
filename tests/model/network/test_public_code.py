"""State_dicts of the public code, from real files of both formats, to golden logits."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from model.network import Wei2025, Wei2025Config, load_public_state_dict

InputsOf = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="module", params=["run.pth", "run.pt", "parallel.pt", "run.safetensors"])
def file(request: Any, golden: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("public") / request.param
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(golden.state, path)
    else:
        prefix = "module." if path.stem == "parallel" else ""
        torch.save({f"{prefix}{name}": value for name, value in golden.state.items()}, path)
    return path


def test_a_file_gives_the_golden_logits(file: Path, golden: Any) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    network = load_public_state_dict(file)
    assert torch.equal(torch.rand(1), expected)
    assert network.config == Wei2025Config(shared_tail=True, wise_px=64)
    assert not network.training
    with torch.inference_mode():
        logits = network.core(golden.images.float(), golden.features.float()).numpy()
    assert np.abs(logits - golden.logits).max() < 1e-4


def test_stored_arrays_reach_the_channels(golden: Any, inputs_of: InputsOf) -> None:
    """The same logits from bands and features, where the colours are the bands' differences."""
    network = load_public_state_dict(golden.state)
    inputs = inputs_of(network.config, 2)
    g, r, i, z = inputs["optical"].unbind(1)
    w1, w2 = inputs["wise"].unbind(1)
    images = torch.stack([g, r, i, z, g - r, r - i, i - z, w1, w2, w1 - w2], dim=1)
    with torch.inference_mode():
        expected = network.core(images, inputs["features"])
        assert torch.allclose(network(inputs), expected, atol=1e-5)


def test_sizes_are_the_tensors_own_and_half_precision_is_widened(golden: Any) -> None:
    state = {name: value.half() for name, value in golden.state.items()}
    state["estimate_model.fc2.weight"] = torch.zeros(20, 1024)
    state["estimate_model.fc2.bias"] = torch.zeros(20)
    state["catalog_encoder.layers.0.weight"] = torch.zeros(512, 85)
    network = load_public_state_dict(state)
    assert (network.config.num_bins, network.config.num_features) == (20, 85)
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    # The caller's tensors are copied, not held.
    state["image_encoder.fc1.bias"].fill_(9)
    assert float(network.state_dict()["core.image_encoder.fc1.bias"].max()) < 1


def test_another_channel_map(golden: Any) -> None:
    optical = ("g", "r", "i", "z", "W1", "W2", "g-r")
    template = Wei2025Config(
        optical_channels=optical, infrared_channels=("r-i", "i-z", "z-W1"), wise_px=32
    )
    network = load_public_state_dict(golden.state, template)
    assert network.config.optical_channels == optical
    assert network.config.shared_tail
    assert network.config.wise_px == 32


def drop(state: dict[str, Any]) -> None:
    for name in [name for name in state if "convseq2" in name]:
        del state[name]


def reshape(state: dict[str, Any]) -> None:
    state["image_encoder.conv01.weight"] = torch.zeros(64, 11, 5, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"missing image_encoder\.convseq2\.0\.bias, .* and 3 more"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected extra"),
        (
            reshape,
            r"image_encoder\.conv01\.weight \(64, 11, 5, 5\), expected \(64, 7, 5, 5\)",
        ),
        (lambda s: s.update({"image_encoder.fc0.bias": 3}), "no tensors image_encoder.fc0.bias"),
        (
            lambda s: s.update({"estimate_model.fc2.weight": torch.zeros(1, 1024)}),
            "1 output, a regressor's",
        ),
        (lambda s: s.clear(), "missing .* and 141 more"),
    ],
)
def test_a_misfit_is_named_in_one_line(
    golden: Any, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    state = dict(golden.state)
    change(state)
    with pytest.raises(ValueError, match=message) as raised:
        load_public_state_dict(state)
    assert "\n" not in str(raised.value)


class Harmful:
    """What a pickle could do."""

    def __reduce__(self) -> Any:
        return (print, ("this must not run",))


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": Harmful()}, protocol=2))


def write_harmful_torch(path: Path) -> None:
    torch.save({"a": Harmful()}, path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pt", lambda p: p.write_bytes(b""), "no file of tensors"),
        ("a.pt", lambda p: p.write_bytes(b"not tensors at all"), "no file of tensors"),
        ("a.pt", write_pickle, "no file of tensors"),
        ("a.pt", write_harmful_torch, "no file of tensors"),
        ("a.pt", lambda p: torch.save(torch.zeros(3), p), "holds a Tensor"),
        ("a.safetensors", lambda p: p.write_bytes(b"{}"), "no file of tensors"),
    ],
)
def test_other_files_are_refused_and_nothing_runs(
    name: str,
    write: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as raised:
        load_public_state_dict(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert "must not run" not in capsys.readouterr().out


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.pt", "none.safetensors"):
        with pytest.raises(FileNotFoundError):
            load_public_state_dict(tmp_path / name)


def test_it_is_a_network_to_go_on_with(golden: Any) -> None:
    network = load_public_state_dict(golden.state)
    assert isinstance(network, Wei2025)
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.is_meta for p in network.parameters())
