"""Configurations as JSON: round trip, old weights, strangers."""

from __future__ import annotations

import json

import pytest

from model.network import (
    CompactConfig,
    NetworkConfig,
    Wei2025Config,
    config_from_dict,
    config_to_dict,
)

# As weights of before `parts` and `head` have it.
OLD_WEI2025 = (
    '{"num_features": 86, "num_bins": 770, "modality": "both", "optical_px": 64, "wise_px": 16, '
    '"optical_channels": ["g", "r", "i", "z", "g-r", "r-i", "i-z"], '
    '"infrared_channels": ["W1", "W2", "W1-W2"], "shared_tail": false, "name": "wei2025"}'
)


@pytest.mark.parametrize(
    "config",
    [
        CompactConfig(hidden=32),
        Wei2025Config(wise_px=64, shared_tail=True),
        Wei2025Config(parts="one", head="regression", modality="images"),
    ],
)
def test_round_trip(config: NetworkConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_old_weights_load_and_keep_their_digest() -> None:
    config = config_from_dict(json.loads(OLD_WEI2025))
    assert config == Wei2025Config()
    # The digest of weights is taken over these very values.
    assert config_to_dict(config) == json.loads(OLD_WEI2025)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "resnet"}, "unknown network 'resnet'"),
        ({"name": "compact", "depth": 3}, "depth"),
        ({"name": "compact", "modality": "text"}, "modality='text'"),
        ({"name": "compact", "optical_px": 20}, "optical_px=20"),
        ({"name": "wei2025", "optical_channels": ["u"]}, "'u'"),
        ({"name": "wei2025", "parts": "three"}, "parts='three'"),
        ({"name": "wei2025", "head": "ranking"}, "head='ranking'"),
        ({"name": "wei2025", "parts": "one", "shared_tail": True}, "no tail to share"),
        ({"name": "wei2025", "head": "regression", "num_bins": 1}, "at least 2"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_dict(values)
