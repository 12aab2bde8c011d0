"""What every network is: stored arrays in, logits over redshift bins out.

Shapes: N objects, B = 6 bands (g, r, i, z, W1, W2), H W pixels, F features, Z bins, D numbers of an
embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.network.config import NetworkConfig

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


def bands_present(coverage_NB: Tensor) -> Tensor:
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
    def embed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, D) embedding: what the encoders make of image and photometry.

        Raises
        ------
        ValueError
            If the stamps are not of the configuration's sizes.
        """

    @abstractmethod
    def classify(self, embedding_ND: Tensor) -> Tensor:
        """(N, Z) logits: the head."""

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, Z) logits; raises as `embed` does."""
        return self.classify(self.embed(inputs))
