"""The source's golden data, and inputs of any network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from model.network import NetworkConfig, Wei2025Config, Wei2025Core

GOLDEN = Path(__file__).parent / "golden"


def formula(size: int, j: int) -> npt.NDArray[np.float64]:
    """Pseudo-random numbers in [-1, 1) that any language can make."""
    x = 43758.5453 * np.sin(12.9898 * np.arange(size, dtype=np.float64) + 78.233 * j)
    return 2 * (x - np.floor(x)) - 1


@dataclass(frozen=True, eq=False)
class Golden:
    """What the public code is known to hold and to give."""

    shapes: dict[str, tuple[int, ...]]
    """Shape of each of its tensors."""
    state: dict[str, Tensor]
    """Its parameters, made by formula."""
    images: Tensor
    """(3, 10, 64, 64) float64."""
    features: Tensor
    """(3, 86) float64."""
    logits: npt.NDArray[np.float64]
    """(3, 770) of the public code in float64."""


@pytest.fixture(scope="session")
def golden() -> Golden:
    """The golden data, made once."""
    lines = (GOLDEN / "wei2025_state_dict.txt").read_text().splitlines()
    listed = [line.split() for line in lines if line[0] != "#"]
    shapes = {name: tuple(int(n) for n in shape.split("x")) for _, name, shape in listed}
    state = {}
    for j, (name, shape) in enumerate(sorted(shapes.items())):
        scale = 0.02 if name.endswith("bias") else 2.4 / np.sqrt(np.prod(shape[1:]))
        values = (formula(int(np.prod(shape)), j) * scale).astype(np.float32)
        state[name] = torch.from_numpy(values.reshape(shape))
    images = torch.from_numpy(formula(3 * 10 * 64 * 64, 1000).reshape(3, 10, 64, 64))
    features = torch.from_numpy(formula(3 * 86, 1001).reshape(3, 86))
    logits = np.load(GOLDEN / "wei2025_golden.npz")["logits"]
    return Golden(shapes, state, images, features, logits)


@pytest.fixture(scope="session")
def golden_core(golden: Golden) -> Wei2025Core:
    """The network with the golden parameters; not to be changed."""
    core = Wei2025Core(Wei2025Config(shared_tail=True)).eval()
    core.load_state_dict(golden.state, strict=True)
    return core


Inputs = dict[str, Tensor]


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., Inputs]:
    """The maker of inputs with every band present."""

    def make(config: NetworkConfig, count: int, seed: int = 0) -> Inputs:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        return {
            "optical": normal(count, 4, config.optical_px, config.optical_px),
            "wise": normal(count, 2, config.wise_px, config.wise_px),
            "features": normal(count, config.num_features),
            "flux": uniform(count, 6),
            "flux_ivar": uniform(count, 6) + 0.5,
            "mw_transmission": torch.full((count, 6), 0.9),
            "coverage": torch.ones(count, 6),
        }

    return make
