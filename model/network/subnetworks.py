"""Sub-networks trained alone, put together: the source's way to train its joint network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from model.network.config import Wei2025Config
from model.network.wei2025 import Wei2025

# Settings on which the two networks must agree for an encoder to mean the same in both.
_IMAGE_SETTINGS = (
    "parts",
    "shared_tail",
    "optical_channels",
    "infrared_channels",
    "optical_px",
    "wise_px",
)
_PHOTOMETRY_SETTINGS = ("num_features",)


@dataclass(frozen=True)
class CopiedSubnetworks:
    """What `load_subnetworks` did."""

    copied: tuple[str, ...]
    """Names of the joint network's tensors that were copied, as in its state_dict."""
    kept: tuple[str, ...]
    """Names of those that it kept: the head, and an encoder that was not given."""
    num_parameters: int
    """Numbers copied."""

    def __str__(self) -> str:
        return (
            f"copied {len(self.copied)} tensors of {self.num_parameters:,} parameters, "
            f"kept {len(self.kept)}"
        )


def load_subnetworks(
    joint: Wei2025, image_only: Wei2025 | None = None, photometry_only: Wei2025 | None = None
) -> CopiedSubnetworks:
    """Copy the encoders of sub-networks into a joint network; their heads are left behind.

    Parameters
    ----------
    joint
        A network of modality `both`; changed in place, on its own device.
    image_only
        A network with an image part, usually of modality `images`.
    photometry_only
        A network with a photometry part, usually of modality `photometry`.

    Raises
    ------
    ValueError
        If a network lacks the part, or was made with other settings; the message names the
        setting and both values.
    """
    if joint.config.modality != "both":
        raise ValueError(
            f"the joint network has modality {joint.config.modality!r}, expected 'both'"
        )
    sources = {
        "image_encoder": (image_only, _IMAGE_SETTINGS),
        "catalog_encoder": (photometry_only, _PHOTOMETRY_SETTINGS),
    }
    # Both are checked before either is copied: a refused call must change nothing.
    for name, (network, settings) in sources.items():
        if network is not None:
            _check(name, joint.config, network, settings)
    copied: list[str] = []
    for name, (network, _) in sources.items():
        if network is not None:
            source: nn.Module = getattr(network.core, name)
            target: nn.Module = getattr(joint.core, name)
            target.load_state_dict(source.state_dict(), strict=True)
            copied += [f"core.{name}.{tensor}" for tensor in target.state_dict()]
    state = joint.state_dict()
    return CopiedSubnetworks(
        copied=tuple(copied),
        kept=tuple(name for name in state if name not in set(copied)),
        num_parameters=sum(torch.numel(state[name]) for name in copied),
    )


def _check(name: str, joint: Wei2025Config, network: Wei2025, settings: tuple[str, ...]) -> None:
    """Raise unless the network has the encoder, for the same inputs."""
    if getattr(network.core, name) is None:
        raise ValueError(f"a network of modality {network.config.modality!r} has no {name}")
    for setting in settings:
        ours, theirs = getattr(joint, setting), getattr(network.config, setting)
        if ours != theirs:
            raise ValueError(
                f"{name}: {setting} is {theirs!r} in the sub-network, {ours!r} in the joint one"
            )
