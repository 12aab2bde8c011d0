"""`Compact`, the default: a small residual network on the central pixels.

About 30 MFLOP per source: thousands of sources per second and core.

Shapes: N objects, B = 6 bands (g, r, i, z, W1, W2), C channels, H W pixels, F features, Z bins.

References
----------
* Residual blocks without normalisation, with a gain that starts at 0: De & Smith 2020,
  arXiv:2002.10444 (SkipInit).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.moments import NUM_MOMENTS, ShapeMoments
from model.network.config import CompactConfig
from model.network.interface import RedshiftNetwork, Standardiser, bands_present
from partitions.schema import BANDS, OPTICAL_BANDS, WISE_BANDS

_NUM_OPTICAL = len(OPTICAL_BANDS)
_SHAPE_WIDTH = 64
_NUM_BANDS = len(BANDS)

# Standardised features beyond this many robust standard deviations carry no more information,
# and one absurd magnitude must not swamp the others.
_FEATURE_CLIP = 8.0

# Below this transmission (5 mag of extinction) there is no DR10 source; padding rows have 0.
_MIN_TRANSMISSION = 0.01


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

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, D) vectors of the encoders, side by side."""
        self.check_inputs(inputs)
        transmission = inputs["mw_transmission"].clamp(min=_MIN_TRANSMISSION)
        parts: list[Tensor] = []
        if self.config.modality != "photometry":
            present = bands_present(inputs["coverage"])
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
        return torch.cat(parts, dim=1)

    def classify(self, embedding_ND: Tensor) -> Tensor:
        """(N, Z) logits."""
        logits: Tensor = self.logits(self.head(embedding_ND))
        return logits
