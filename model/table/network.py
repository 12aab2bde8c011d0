"""A small perceptron: features of a row in, logits over redshift bins out.

No layer uses statistics of the batch: a prediction must not depend on its neighbours. Residual
blocks with normalisation were tried: they are no better (model/LOG.md).

Shapes: N rows, F features, Z bins.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network."""

    num_features: int
    """F."""
    num_bins: int
    """Z."""
    width: int = 128
    """Values between the layers."""
    num_layers: int = 3
    """Layers between the first and the last."""
    dropout: float = 0.1
    """Share of the values that each of these layers loses in training."""

    def __post_init__(self) -> None:
        sizes = self.num_features, self.num_bins, self.width
        if min(sizes) < 1 or self.num_layers < 0:
            raise ValueError(f"network of {self}: sizes must be at least 1, num_layers 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: expected 0 to 1, 1 excluded")


class TableNetwork(nn.Module):
    """Features to logits."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.first = nn.Linear(shape.num_features, shape.width)
        sizes = [shape.width] * shape.num_layers
        self.hidden = nn.ModuleList(nn.Linear(size, shape.width) for size in sizes)
        self.last = nn.Linear(shape.width, shape.num_bins)
        self.dropout = shape.dropout

    def forward(self, x_NF: Tensor) -> Tensor:
        """(N, F) standardised features -> (N, Z) logits."""
        x = nn.functional.gelu(self.first(x_NF))
        for layer in self.hidden:
            x = nn.functional.dropout(nn.functional.gelu(layer(x)), self.dropout, self.training)
        logits: Tensor = self.last(x)
        return logits
