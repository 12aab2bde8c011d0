"""A configuration to its network."""

from __future__ import annotations

import torch

from model.network.compact import Compact
from model.network.config import CompactConfig, NetworkConfig
from model.network.interface import RedshiftNetwork
from model.network.wei2025 import Wei2025


def build_network(config: NetworkConfig) -> RedshiftNetwork:
    """A network with fresh parameters from torch's global random state."""
    network: RedshiftNetwork
    network = Compact(config) if isinstance(config, CompactConfig) else Wei2025(config)
    # Convolutions run about 40 % faster on CPU with the channels innermost.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
