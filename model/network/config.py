"""What shapes a network, as data: it is saved with the weights and rebuilds the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from partitions.schema import BANDS

Modality = Literal["both", "photometry", "images"]
Parts = Literal["two", "one"]
Head = Literal["classification", "regression"]

# Settings that the first weights did not have. They are written only where they differ from their
# default, so that weights from before them keep their digest.
_ADDED_LATER = {"added_later": True}


@dataclass(frozen=True)
class CompactConfig:
    """Shape of the default network. Channels are multiples of 16, as tensor cores like them."""

    num_features: int = 86
    """F, photometric features."""
    num_bins: int = 400
    """Z, redshift bins."""
    modality: Modality = "both"
    """Which inputs are read: both, photometry alone, or images alone."""
    optical_px: int = 32
    """Side of the central optical crop, 0.262 arcsec/px."""
    wise_px: int = 8
    """Side of the central WISE crop, 2.75 arcsec/px."""
    optical_channels: tuple[int, ...] = (32, 64, 96)
    """Channels at each resolution; the first is at half the crop's, each next at half of that."""
    wise_channels: int = 32
    """Channels of the WISE branch."""
    hidden: int = 256
    """Width of the photometry part and of the head's last layer."""
    dropout: float = 0.1
    """Dropout of the photometry part and of the head, in training only."""
    name: Literal["compact"] = "compact"
    """Which network this configures."""

    @property
    def cpu_batch_size(self) -> int:
        """Rows per forward pass that ran fastest on a CPU: their activations stay in its cache."""
        return 128

    def __post_init__(self) -> None:
        _check_modality(self.modality)
        shrink = 2 ** len(self.optical_channels)
        if self.optical_px % shrink or self.optical_px < shrink:
            raise ValueError(f"optical_px={self.optical_px} must be a multiple of {shrink}")
        if self.wise_px % 2 or self.wise_px < 2:
            raise ValueError(f"wise_px={self.wise_px} must be even")


@dataclass(frozen=True)
class Wei2025Config:
    """Shape of the source's network; its channel map is part of the saved model."""

    num_features: int = 86
    """F, photometric features; the last one is E(B-V) and also feeds the image part."""
    num_bins: int = 770
    """Z, redshift bins."""
    modality: Modality = "both"
    """The joint network, or one of the sub-networks that the source trains first: photometry alone
    has no image part, images alone have no photometry part (E(B-V) apart)."""
    optical_px: int = 64
    """Side of the optical stamps."""
    wise_px: int = 16
    """Side of the stored WISE stamps. 64 is the paper's likely reading (64 native pixels, a 176
    arcsec field). Any other size is resized to 64 x 64 bilinearly: 16 covers 44 arcsec, far more
    than the object, and is what the arrays store by default."""
    optical_channels: tuple[str, ...] = ("g", "r", "i", "z", "g-r", "r-i", "i-z")
    """Channels of the optical half: a band, or the difference of two."""
    infrared_channels: tuple[str, ...] = ("W1", "W2", "W1-W2")
    """Channels of the infrared half."""
    shared_tail: bool = False
    """True repeats the public code, whose infrared half goes through the optical half's last
    three convolutions and never uses its own."""
    name: Literal["wei2025"] = "wei2025"
    """Which network this configures."""
    parts: Parts = field(default="two", metadata=_ADDED_LATER)
    """`two`: separate networks for optical and infrared channels. `one`: one for all of them."""
    head: Head = field(default="classification", metadata=_ADDED_LATER)
    """`classification`: a logit per bin. `regression`: one number, a place on the grid; its
    posterior is a Gaussian around it (model.network.regression)."""

    @property
    def cpu_batch_size(self) -> int:
        """Rows per forward pass on a CPU: 14.6 MB of activations a row leave the cache early."""
        return 16

    def __post_init__(self) -> None:
        _check_modality(self.modality)
        for channel in self.optical_channels + self.infrared_channels:
            unknown = [band for band in channel.split("-") if band not in BANDS]
            if unknown or channel.count("-") > 1:
                raise ValueError(f"channel {channel!r}: expected a band of {BANDS} or 'a-b' of two")
        if self.parts not in ("two", "one"):
            raise ValueError(f"parts={self.parts!r}: expected 'two' or 'one'")
        if self.head not in ("classification", "regression"):
            raise ValueError(f"head={self.head!r}: expected 'classification' or 'regression'")
        if self.parts == "one" and self.shared_tail:
            raise ValueError("shared_tail=True with parts='one': one part has no tail to share")
        if self.head == "regression" and self.num_bins < 2:
            raise ValueError(f"num_bins={self.num_bins}: a regression head needs at least 2")


NetworkConfig = CompactConfig | Wei2025Config

_CONFIGS: dict[str, type[CompactConfig] | type[Wei2025Config]] = {
    "compact": CompactConfig,
    "wei2025": Wei2025Config,
}


def _check_modality(modality: str) -> None:
    if modality not in ("both", "photometry", "images"):
        raise ValueError(f"modality={modality!r}: expected 'both', 'photometry' or 'images'")


def config_to_dict(config: NetworkConfig) -> dict[str, Any]:
    """The configuration as JSON values; a setting added later only where it is not the default."""
    unwritten = {
        item.name
        for item in fields(config)
        if item.metadata.get("added_later") and getattr(config, item.name) == item.default
    }
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
        if name not in unwritten
    }


def config_from_dict(values: Mapping[str, Any]) -> NetworkConfig:
    """Inverse of `config_to_dict`.

    Raises
    ------
    ValueError
        If the network or one of its settings is unknown.
    """
    name = values.get("name")
    if name not in _CONFIGS:
        raise ValueError(f"unknown network {name!r}: expected one of {sorted(_CONFIGS)}")
    cls: Any = _CONFIGS[name]
    unknown = sorted(set(values) - {item.name for item in fields(cls)})
    if unknown:
        raise ValueError(f"unknown settings {unknown} of network {name!r}")
    config: NetworkConfig = cls(
        **{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    )
    return config
