"""`Wei2025`: the source's CNN-MLP, 3.04 GFLOP per source, for comparison.

Parameter names are the public code's, so that a state_dict of it loads strictly.

The source pre-trains sub-networks on images alone and on photometry alone, without printing their
heads. Inferred here: the joint network without the other encoder, its head as much narrower at its
input. E(B-V) stays in the image part, as it does in the joint network.

Shapes: N objects, B = 6 bands (g, r, i, z, W1, W2), C channels, F features, Z bins.

References
----------
* Wei et al. 2025, PASA, arXiv:2505.24175, and its public code (RuiNov1st/Zphot4ELG).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.channels import form_channels
from model.network.config import Wei2025Config
from model.network.inception import OnePartImageEncoder, TwoPartImageEncoder
from model.network.interface import RedshiftNetwork, bands_present
from model.network.regression import PLACES_PER_UNIT, place_to_logits

_IMAGE_WIDTH = 1024
_CATALOGUE_WIDTH = 512


class CatalogueEncoder(nn.Module):
    """Two linear layers with GELU and dropout."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Linear(num_features, _CATALOGUE_WIDTH),
                nn.Linear(_CATALOGUE_WIDTH, _CATALOGUE_WIDTH),
            ]
        )
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, 512)."""
        for layer in self.layers:
            x = self.dropout(functional.gelu(layer(x)))
        return x


class EstimateHead(nn.Module):
    """Joined representation to logits."""

    def __init__(self, num_bins: int, num_inputs: int = _IMAGE_WIDTH + _CATALOGUE_WIDTH) -> None:
        super().__init__()
        self.fc1 = nn.Linear(num_inputs, 1024)
        self.fc2 = nn.Linear(1024, num_bins)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_inputs) -> (N, Z)."""
        logits: Tensor = self.fc2(functional.relu(self.fc1(x)))
        return logits


class RegressionHead(EstimateHead):
    """Joined representation to one number, and to the Gaussian around it."""

    def __init__(self, num_bins: int, num_inputs: int) -> None:
        super().__init__(1, num_inputs)
        self.num_bins = num_bins

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_inputs) -> (N, Z)."""
        x = functional.relu(self.fc1(x))
        # float32 even where the rest runs in bfloat16, whose 8 bits resolve z = 2 to 0.01.
        with torch.autocast(x.device.type, enabled=False):
            place = PLACES_PER_UNIT * self.fc2(x.to(torch.float32)).squeeze(1)
        return place_to_logits(place, self.num_bins)


def _image_encoder(config: Wei2025Config) -> nn.Module:
    num_optical, num_infrared = len(config.optical_channels), len(config.infrared_channels)
    if config.parts == "one":
        return OnePartImageEncoder(num_optical + num_infrared)
    return TwoPartImageEncoder(num_optical, num_infrared, config.shared_tail)


class Wei2025Core(nn.Module):
    """The source's network on ready-made channels and features."""

    def __init__(self, config: Wei2025Config) -> None:
        super().__init__()
        self.image_encoder: nn.Module | None = None
        self.catalog_encoder: nn.Module | None = None
        width = 0
        if config.modality != "photometry":
            self.image_encoder = _image_encoder(config)
            width += _IMAGE_WIDTH
        if config.modality != "images":
            self.catalog_encoder = CatalogueEncoder(config.num_features)
            width += _CATALOGUE_WIDTH
        head = RegressionHead if config.head == "regression" else EstimateHead
        self.estimate_model = head(config.num_bins, width)

    def forward(self, images: Tensor | None, features: Tensor) -> Tensor:
        """(N, Z) logits of what `embed` takes."""
        logits: Tensor = self.estimate_model(self.embed(images, features))
        return logits

    def embed(self, images: Tensor | None, features: Tensor) -> Tensor:
        """(N, 1536) vectors of the encoders, or that of the one there is.

        Parameters
        ----------
        images
            (N, C, 64, 64) channels, optical first; None without an image part.
        features
            (N, F), E(B-V) last; nothing else is read without a photometry part.
        """
        vectors = []
        if self.image_encoder is not None:
            vectors.append(self.image_encoder(images, features[:, -1:]))
        if self.catalog_encoder is not None:
            vectors.append(self.catalog_encoder(features))
        return torch.cat(vectors, dim=1)


class Wei2025(RedshiftNetwork):
    """The source's network on stored arrays. Nothing is standardised or dereddened, as there."""

    side_px = 64
    """Side of the channels that the core takes."""

    def __init__(self, config: Wei2025Config) -> None:
        super().__init__()
        self.config: Wei2025Config = config
        self.core = Wei2025Core(config)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, 1536) vectors of the encoders, or that of the one there is."""
        self.check_inputs(inputs)
        features = inputs["features"].nan_to_num(0.0)
        images = self._images(inputs) if self.core.image_encoder is not None else None
        return self.core.embed(images, features)

    def classify(self, embedding_ND: Tensor) -> Tensor:
        """(N, Z) logits."""
        logits: Tensor = self.core.estimate_model(embedding_ND)
        return logits

    def _images(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, C, 64, 64) channels of the configuration."""
        size = (self.side_px, self.side_px)
        optical, wise = (inputs[name].to(torch.float32) for name in ("optical", "wise"))
        if optical.shape[-2:] != size:
            optical = functional.interpolate(optical, size, mode="bilinear", align_corners=False)
        if wise.shape[-2:] != size:
            wise = functional.interpolate(wise, size, mode="bilinear", align_corners=False)
        channels = self.config.optical_channels + self.config.infrared_channels
        present = bands_present(inputs["coverage"])
        images = form_channels(torch.cat([optical, wise], dim=1), present, channels)
        return images.contiguous(memory_format=torch.channels_last)
