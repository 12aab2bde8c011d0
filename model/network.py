"""The networks: stored arrays in, logits over redshift bins out.

Two networks share one interface, `forward(inputs) -> logits (N, Z)`, where `inputs` maps the
names of INPUT_NAMES to tensors of the stored arrays. Everything that turns stored arrays into
network inputs (dereddening, asinh scaling, colour channels, WISE interpolation, standardisation)
is the first layer, so that it runs on the device and travels with the weights.

* `Compact`: the default. A small residual network on the central pixels, about 30 MFLOP per
  source: thousands of sources per second and core.
* `Wei2025`: the source's two-part CNN-MLP, 3.04 GFLOP per source, for comparison.

No layer uses statistics of the batch: a prediction must not depend on its neighbours.

Shapes: N objects, B = 6 bands (g, r, i, z, W1, W2), C channels, H W pixels, F features, Z bins.

References
----------
* `Wei2025`: Wei et al. 2025, PASA, arXiv:2505.24175, and its public code (RuiNov1st/Zphot4ELG);
  its image part follows Pasquet et al. 2019, A&A 621, A26.
* Residual blocks without normalisation, with a gain that starts at 0: De & Smith 2020,
  arXiv:2002.10444 (SkipInit).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.moments import NUM_MOMENTS, ShapeMoments
from partitions.schema import BANDS, OPTICAL_BANDS, WISE_BANDS

INPUT_NAMES = (
    "optical",
    "wise",
    "features",
    "flux",
    "flux_ivar",
    "mw_transmission",
    "coverage",
)
"""The stored arrays that a network reads (specs: partitions.schema.ARRAY_SPECS)."""

Modality = Literal["both", "photometry", "images"]

_NUM_OPTICAL = len(OPTICAL_BANDS)
_SHAPE_WIDTH = 64
_NUM_BANDS = len(BANDS)

# Standardised features beyond this many robust standard deviations carry no more information,
# and one absurd magnitude must not swamp the others.
_FEATURE_CLIP = 8.0

# Below this transmission (5 mag of extinction) there is no DR10 source; padding rows have 0.
_MIN_TRANSMISSION = 0.01


class Standardiser(Protocol):
    """What `Compact` needs to know about its training set (see dataset.Standardisation)."""

    @property
    def feature_center(self) -> npt.NDArray[np.float32]:
        """(F,) centre of each feature."""
        ...

    @property
    def feature_scale(self) -> npt.NDArray[np.float32]:
        """(F,) spread of each feature."""
        ...

    @property
    def depth_center(self) -> npt.NDArray[np.float32]:
        """(B,) centre of the 1-sigma depth of each band."""
        ...

    @property
    def depth_scale(self) -> npt.NDArray[np.float32]:
        """(B,) spread of the depth."""
        ...

    @property
    def softening(self) -> npt.NDArray[np.float32]:
        """(B,) pixel noise."""
        ...


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
    """F, photometric features; the last one is E(B-V) and also feeds both image halves."""
    num_bins: int = 770
    """Z, redshift bins."""
    modality: Modality = "both"
    """The source's joint network; the other modalities zero the part that is not read."""
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


NetworkConfig = CompactConfig | Wei2025Config

_CONFIGS: dict[str, type[CompactConfig] | type[Wei2025Config]] = {
    "compact": CompactConfig,
    "wei2025": Wei2025Config,
}


def _check_modality(modality: str) -> None:
    if modality not in ("both", "photometry", "images"):
        raise ValueError(f"modality={modality!r}: expected 'both', 'photometry' or 'images'")


def config_to_dict(config: NetworkConfig) -> dict[str, Any]:
    """The configuration as JSON values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
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
    unknown = sorted(set(values) - {field.name for field in fields(cls)})
    if unknown:
        raise ValueError(f"unknown settings {unknown} of network {name!r}")
    config: NetworkConfig = cls(
        **{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    )
    return config


def _bands_present(coverage_NB: Tensor) -> Tensor:
    """(N, B) 1 where a band has an image, else 0."""
    return (coverage_NB > 0).to(torch.float32)


class RedshiftNetwork(nn.Module, ABC):
    """A network from stored arrays to logits over redshift bins."""

    config: NetworkConfig

    def standardise_with(self, standardiser: Standardiser) -> None:
        """Take over the statistics of a training set; a network may need none."""

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Raise ValueError unless the stamps have the sizes of the configuration."""
        for name, side in (("optical", self.config.optical_px), ("wise", self.config.wise_px)):
            shape = tuple(inputs[name].shape)
            if shape[-2:] != (side, side):
                raise ValueError(f"{name} has shape {shape}, the network wants {side} x {side} px")

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits (N, Z)."""


# --- compact ---------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """x + gain * conv(relu(conv(relu(x)))), the gain a learned scalar that starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y: Tensor = self.conv2(functional.relu(self.conv1(functional.relu(x))))
        return x + self.gain * y


class StampEncoder(nn.Module):
    """Stamps of some bands to one vector per source, with planes that say which bands exist."""

    def __init__(self, num_bands: int, channels: tuple[int, ...], stem_px: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2 * num_bands, channels[0], 5, stride=stem_px, padding=2)
        stages: list[nn.Module] = [ResidualBlock(channels[0])]
        for before, after in pairwise(channels):
            stages += [nn.ReLU(), nn.Conv2d(before, after, 3, stride=2, padding=1)]
            stages += [ResidualBlock(after)]
        self.stages = nn.Sequential(*stages)
        self.out_features = 2 * channels[-1]

    def forward(self, x_NBHW: Tensor, present_NB: Tensor) -> Tensor:
        """(N, B, H, W) scaled pixels, (N, B) presence -> (N, out_features)."""
        planes = present_NB[:, :, None, None].expand_as(x_NBHW)
        # A missing band is a zero image; the planes tell it from an empty sky.
        x = torch.cat([x_NBHW, planes], dim=1).contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.stages(self.stem(x)))
        # The mean sees the neighbourhood, the weighted mean the source in the middle.
        centred = (x * _centre_weight(x.shape[-1], x.device, x.dtype)).sum(dim=(2, 3))
        return torch.cat([x.mean(dim=(2, 3)), centred], dim=1)


def _centre_weight(side_px: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(H, W) Gaussian weights that sum to 1, of sigma H/6 around the middle."""
    offset = torch.arange(side_px, device=device, dtype=torch.float32) - (side_px - 1) / 2
    profile = torch.exp(-0.5 * (offset / (side_px / 6)) ** 2)
    weight = profile[:, None] * profile[None, :]
    normalised: Tensor = weight / weight.sum()
    return normalised.to(dtype)


def _perceptron(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear layers, each followed by GELU and dropout."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class Compact(RedshiftNetwork):
    """Residual encoders of optical and WISE stamps, moments, photometry, and a head on them all."""

    feature_center: Tensor
    feature_scale: Tensor
    depth_center: Tensor
    depth_scale: Tensor
    softening: Tensor

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config: CompactConfig = config
        # Statistics of the training set. They are kept once, beside the tensors in the weights,
        # hence not persistent here.
        for name, size in (("feature", config.num_features), ("depth", _NUM_BANDS)):
            self.register_buffer(f"{name}_center", torch.zeros(size), persistent=False)
            self.register_buffer(f"{name}_scale", torch.ones(size), persistent=False)
        self.register_buffer("softening", torch.ones(_NUM_BANDS), persistent=False)
        width = 0
        if config.modality != "photometry":
            self.optical = StampEncoder(_NUM_OPTICAL, config.optical_channels, stem_px=2)
            wise = (config.wise_channels,) * 2
            self.wise = StampEncoder(len(WISE_BANDS), wise, stem_px=1)
            self.moments = ShapeMoments(config.optical_px)
            self.shape = _perceptron((NUM_MOMENTS, _SHAPE_WIDTH), 0.0)
            width += self.optical.out_features + self.wise.out_features + _SHAPE_WIDTH
        if config.modality != "images":
            inputs = config.num_features + 4 * _NUM_BANDS
            self.photometry = _perceptron((inputs, config.hidden, config.hidden), config.dropout)
            width += config.hidden
        self.head = _perceptron((width, 2 * config.hidden, config.hidden), config.dropout)
        self.logits = nn.Linear(config.hidden, config.num_bins)

    def standardise_with(self, standardiser: Standardiser) -> None:
        """Take over feature, depth and pixel statistics of a training set."""
        for name in ("feature_center", "feature_scale", "depth_center", "depth_scale", "softening"):
            buffer: Tensor = getattr(self, name)
            values = torch.as_tensor(np.asarray(getattr(standardiser, name)), dtype=buffer.dtype)
            if values.shape != buffer.shape:
                raise ValueError(
                    f"{name} has shape {tuple(values.shape)}, the network has {tuple(buffer.shape)}"
                )
            buffer.copy_(values)

    def _signal(self, stamps: Tensor, transmission: Tensor, softening: Tensor) -> Tensor:
        """Dereddened pixels in units of the noise."""
        scale = (transmission * softening)[:, :, None, None]
        return stamps.to(torch.float32) / scale

    def _photometry_vector(self, inputs: Mapping[str, Tensor], transmission: Tensor) -> Tensor:
        """(N, F + 4 B): features, S/N, depth, presence and coverage of every band."""
        features = (inputs["features"] - self.feature_center) / self.feature_scale
        features = features.nan_to_num(0.0).clamp(-_FEATURE_CLIP, _FEATURE_CLIP)
        ivar = inputs["flux_ivar"].clamp(min=0)
        present = (ivar > 0).to(torch.float32)
        # Errors as S/N (asinh: any sign, wide range) and as dereddened 1-sigma depth in
        # magnitudes; both are defined for every flux, unlike a logarithmic magnitude error.
        signal_to_noise = 0.3 * torch.asinh(inputs["flux"] * ivar.sqrt()) * present
        sigma = 1 / (ivar.clamp(min=1e-12).sqrt() * transmission)
        depth_mag = 22.5 - 2.5 * torch.log10(sigma)
        depth = ((depth_mag - self.depth_center) / self.depth_scale).clamp(-8, 8) * present
        return torch.cat([features, signal_to_noise, depth, present, inputs["coverage"]], dim=1)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits (N, Z)."""
        self.check_inputs(inputs)
        transmission = inputs["mw_transmission"].clamp(min=_MIN_TRANSMISSION)
        parts: list[Tensor] = []
        if self.config.modality != "photometry":
            present = _bands_present(inputs["coverage"])
            encoders = {
                "optical": (self.optical, slice(0, _NUM_OPTICAL)),
                "wise": (self.wise, slice(_NUM_OPTICAL, _NUM_BANDS)),
            }
            for name, (encoder, bands) in encoders.items():
                signal = self._signal(inputs[name], transmission[:, bands], self.softening[bands])
                # Linear at the noise level and logarithmic far above it.
                parts.append(encoder(torch.asinh(signal), present[:, bands]))
                if name == "optical":
                    parts.append(self.shape(self.moments(signal)))
        if self.config.modality != "images":
            parts.append(self.photometry(self._photometry_vector(inputs, transmission)))
        logits: Tensor = self.logits(self.head(torch.cat(parts, dim=1)))
        return logits


# --- wei2025 ---------------------------------------------------------------------------------
# Parameter names below are the public code's, so that a state_dict of it loads strictly.


class Inception(nn.Module):
    """Four parallel branches: 1x1; 1x1 -> 3x3; 1x1 -> 5x5 (optional); 1x1 -> average pool."""

    def __init__(
        self, before: int, c1: int, c2: tuple[int, int], c3: tuple[int, int] | None, c4: int
    ) -> None:
        super().__init__()
        self.p1_1 = nn.Conv2d(before, c1, 1)
        self.p2_1 = nn.Conv2d(before, c2[0], 1)
        self.p2_2 = nn.Conv2d(c2[0], c2[1], 3, padding=1)
        self.has_5x5 = c3 is not None
        if c3 is not None:
            self.p3_1 = nn.Conv2d(before, c3[0], 1)
            self.p3_2 = nn.Conv2d(c3[0], c3[1], 5, padding=2)
        self.p4_1 = nn.Conv2d(before, c4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, c1 + c2[1] + c3[1] + c4, H, W)."""
        branches = [functional.relu(self.p1_1(x))]
        branches.append(functional.relu(self.p2_2(functional.relu(self.p2_1(x)))))
        if self.has_5x5:
            branches.append(functional.relu(self.p3_2(functional.relu(self.p3_1(x)))))
        # The 2x2 pool of stride 1 loses a row and a column; zeros at top and left replace them.
        pooled = functional.avg_pool2d(functional.relu(self.p4_1(x)), 2, stride=1)
        branches.append(functional.pad(pooled, (1, 0, 1, 0)))
        return torch.cat(branches, dim=1)


def _tail() -> nn.Sequential:
    """Three 3x3 convolutions without padding or activation: 348 -> 96 channels, 8 -> 2 px."""
    return nn.Sequential(nn.Conv2d(348, 96, 3), nn.Conv2d(96, 96, 3), nn.Conv2d(96, 96, 3))


class TwoPartImageEncoder(nn.Module):
    """Separate networks for the optical and infrared channels, joined by two linear layers."""

    def __init__(self, num_optical: int, num_infrared: int, shared_tail: bool) -> None:
        super().__init__()
        self.num_optical = num_optical
        self.shared_tail = shared_tail
        self.conv01 = nn.Conv2d(num_optical, 64, 5, padding=2)
        self.conv02 = nn.Conv2d(num_infrared, 64, 5, padding=2)
        for half in ("1", "2"):
            self.add_module(f"i0{half}", Inception(64, 64, (48, 64), (48, 64), 64))
            self.add_module(f"i1{half}", Inception(256, 92, (64, 92), (64, 92), 64))
            self.add_module(f"i2{half}", Inception(340, 128, (92, 128), (92, 128), 92))
            self.add_module(f"i3{half}", Inception(476, 128, (92, 128), (92, 128), 92))
            self.add_module(f"i4{half}", Inception(476, 128, (92, 128), None, 92))
        self.convseq1 = _tail()
        self.convseq2 = _tail()
        self.fc00 = nn.Linear(97, 1024)
        self.fc01 = nn.Linear(97, 1024)
        self.fc0 = nn.Linear(2048, 4096)
        self.dropout = nn.Dropout(0.3)
        self.fc1 = nn.Linear(4096, 1024)

    def _half(self, x: Tensor, half: str, tail: nn.Sequential) -> Tensor:
        """(N, C, 64, 64) -> (N, 96)."""
        modules = dict(self.named_children())
        x = functional.avg_pool2d(functional.relu(modules[f"conv0{half}"](x)), 2)
        x = functional.avg_pool2d(modules[f"i1{half}"](modules[f"i0{half}"](x)), 2)
        x = functional.avg_pool2d(modules[f"i3{half}"](modules[f"i2{half}"](x)), 2)
        x = tail(modules[f"i4{half}"](x))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)

    def forward(self, images: Tensor, ebv_N1: Tensor) -> Tensor:
        """(N, C, 64, 64) channels, optical first; (N, 1) E(B-V) -> (N, 1024)."""
        optical, infrared = images[:, : self.num_optical], images[:, self.num_optical :]
        infrared_tail = self.convseq1 if self.shared_tail else self.convseq2
        first = torch.cat([self._half(optical, "1", self.convseq1), ebv_N1], dim=1)
        second = torch.cat([self._half(infrared, "2", infrared_tail), ebv_N1], dim=1)
        x = torch.cat([self.fc00(first), self.fc01(second)], dim=1)
        x = self.dropout(functional.relu(self.fc0(x)))
        return functional.relu(self.fc1(x))


class CatalogueEncoder(nn.Module):
    """Two linear layers with GELU and dropout."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(num_features, 512), nn.Linear(512, 512)])
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, 512)."""
        for layer in self.layers:
            x = self.dropout(functional.gelu(layer(x)))
        return x


class EstimateHead(nn.Module):
    """Joined representation to logits."""

    def __init__(self, num_bins: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1024 + 512, 1024)
        self.fc2 = nn.Linear(1024, num_bins)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1536) -> (N, Z)."""
        logits: Tensor = self.fc2(functional.relu(self.fc1(x)))
        return logits


class Wei2025Core(nn.Module):
    """The source's joint network on ready-made channels and features."""

    def __init__(self, config: Wei2025Config) -> None:
        super().__init__()
        self.image_encoder = TwoPartImageEncoder(
            len(config.optical_channels), len(config.infrared_channels), config.shared_tail
        )
        self.catalog_encoder = CatalogueEncoder(config.num_features)
        self.estimate_model = EstimateHead(config.num_bins)
        self.modality = config.modality

    def forward(self, images: Tensor, features: Tensor) -> Tensor:
        """(N, C, 64, 64) channels, (N, F) features, E(B-V) last -> logits (N, Z)."""
        if self.modality == "photometry":
            image_part = features.new_zeros(len(features), 1024)
        else:
            image_part = self.image_encoder(images, features[:, -1:])
        if self.modality == "images":
            catalogue_part = features.new_zeros(len(features), 512)
        else:
            catalogue_part = self.catalog_encoder(features)
        logits: Tensor = self.estimate_model(torch.cat([image_part, catalogue_part], dim=1))
        return logits


def form_channels(images_NBHW: Tensor, present_NB: Tensor, channels: tuple[str, ...]) -> Tensor:
    """Channels named by a band or a difference of two; zero where a needed band is missing.

    Parameters
    ----------
    images_NBHW, present_NB
        Stamps of all six bands on one pixel grid; 1 where a band exists, else 0.
    """
    formed = []
    for channel in channels:
        indices = [BANDS.index(band) for band in channel.split("-")]
        value = images_NBHW[:, indices[0]]
        if len(indices) == 2:
            value = value - images_NBHW[:, indices[1]]
        # Without this a colour whose second band is missing would be the first band's image.
        exists = present_NB[:, indices].amin(dim=1)
        formed.append(value * exists[:, None, None])
    return torch.stack(formed, dim=1)


class Wei2025(RedshiftNetwork):
    """The source's network on stored arrays. Nothing is standardised or dereddened, as there."""

    side_px = 64
    """Side of the channels that the core takes."""

    def __init__(self, config: Wei2025Config) -> None:
        super().__init__()
        self.config: Wei2025Config = config
        self.core = Wei2025Core(config)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits (N, Z)."""
        self.check_inputs(inputs)
        size = (self.side_px, self.side_px)
        optical, wise = (inputs[name].to(torch.float32) for name in ("optical", "wise"))
        if optical.shape[-2:] != size:
            optical = functional.interpolate(optical, size, mode="bilinear", align_corners=False)
        if wise.shape[-2:] != size:
            wise = functional.interpolate(wise, size, mode="bilinear", align_corners=False)
        channels = self.config.optical_channels + self.config.infrared_channels
        present = _bands_present(inputs["coverage"])
        images = form_channels(torch.cat([optical, wise], dim=1), present, channels)
        images = images.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.core(images, inputs["features"].nan_to_num(0.0))
        return logits


def build_network(config: NetworkConfig) -> RedshiftNetwork:
    """A network with fresh parameters from torch's global random state."""
    network: RedshiftNetwork
    network = Compact(config) if isinstance(config, CompactConfig) else Wei2025(config)
    # Convolutions run about 40 % faster on CPU with the channels innermost.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
