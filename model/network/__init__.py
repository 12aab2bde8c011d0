"""The networks: stored arrays in, logits over redshift bins out.

All share one interface, `forward(inputs) -> logits (N, Z)`, where `inputs` maps the names of
INPUT_NAMES to tensors of the stored arrays. Everything that turns stored arrays into network
inputs (dereddening, asinh scaling, colour channels, WISE interpolation, standardisation) is the
first layer, so that it runs on the device and travels with the weights.

* `Compact`: the default, about 30 MFLOP per source.
* `Wei2025`: the source's CNN-MLP, 3.04 GFLOP per source, for comparison: in two parts or one, as
  the joint network or one of its sub-networks, as classifier or regressor. `aligned` rewrites it
  for tensor cores; `load_public_state_dict` reads what the public code trained.

No layer uses statistics of the batch: a prediction must not depend on its neighbours.
"""

from model.network.aligned import aligned
from model.network.build import build_network
from model.network.channels import form_channels
from model.network.compact import Compact, ResidualBlock, StampEncoder
from model.network.config import (
    CompactConfig,
    Head,
    Modality,
    NetworkConfig,
    Parts,
    Wei2025Config,
    config_from_dict,
    config_to_dict,
)
from model.network.inception import (
    ImageEncoder,
    Inception,
    OnePartImageEncoder,
    TwoPartImageEncoder,
)
from model.network.interface import INPUT_NAMES, RedshiftNetwork, Standardiser
from model.network.public_code import PUBLIC_CODE_CONFIG, PublicSource, load_public_state_dict
from model.network.regression import logits_to_place, place_to_logits
from model.network.subnetworks import CopiedSubnetworks, load_subnetworks
from model.network.wei2025 import (
    CatalogueEncoder,
    EstimateHead,
    RegressionHead,
    Wei2025,
    Wei2025Core,
)

__all__ = [
    "INPUT_NAMES",
    "PUBLIC_CODE_CONFIG",
    "CatalogueEncoder",
    "Compact",
    "CompactConfig",
    "CopiedSubnetworks",
    "EstimateHead",
    "Head",
    "ImageEncoder",
    "Inception",
    "Modality",
    "NetworkConfig",
    "OnePartImageEncoder",
    "Parts",
    "PublicSource",
    "RedshiftNetwork",
    "RegressionHead",
    "ResidualBlock",
    "StampEncoder",
    "Standardiser",
    "TwoPartImageEncoder",
    "Wei2025",
    "Wei2025Config",
    "Wei2025Core",
    "aligned",
    "build_network",
    "config_from_dict",
    "config_to_dict",
    "form_channels",
    "load_public_state_dict",
    "load_subnetworks",
    "logits_to_place",
    "place_to_logits",
]
