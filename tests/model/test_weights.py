"""The weights on disk: round trip, damage, strangers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artefact import content_digest
from model.dataset import Standardisation
from model.network import Wei2025Config, build_network
from model.posterior import RedshiftGrid
from model.weights import (
    JSON_FILE,
    TENSORS_FILE,
    Weights,
    WeightsError,
    default_weights_path,
    load_weights,
)
from partitions.photometry import FEATURE_NAMES


@pytest.fixture
def saved(tiny_weights: Weights, tmp_path: Path) -> Path:
    return tiny_weights.save(tmp_path / "weights")


def rewrite(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description and make its digest fit again."""
    path = directory / JSON_FILE
    description = json.loads(path.read_text())
    change(description)
    description["digest"] = content_digest((directory / TENSORS_FILE).read_bytes(), description)
    path.write_text(json.dumps(description))


def test_round_trip(tiny_weights: Weights, saved: Path) -> None:
    loaded = load_weights(saved)
    for name in (
        "network_config",
        "temperature",
        "bands",
        "feature_names",
        "quantile_levels",
        "provenance",
        "digest",
        "stamp_size",
    ):
        assert getattr(loaded, name) == getattr(tiny_weights, name), name
    assert np.array_equal(loaded.grid.edges, tiny_weights.grid.edges)
    assert np.array_equal(loaded.prior, tiny_weights.prior)
    assert loaded.tensors.keys() == tiny_weights.tensors.keys()
    for name, value in tiny_weights.tensors.items():
        assert np.array_equal(loaded.tensors[name], value), name
    for part in ("recalibration", "familiarity"):
        ours, theirs = getattr(tiny_weights, part), getattr(loaded, part)
        assert all(np.array_equal(getattr(ours, n), getattr(theirs, n)) for n in ours.names())
    for name in Standardisation.names():
        a, b = getattr(loaded.standardisation, name), getattr(tiny_weights.standardisation, name)
        assert np.array_equal(a, b), name


def test_bytes_are_a_function_of_the_content(saved: Path, tmp_path: Path) -> None:
    again = load_weights(saved).save(tmp_path / "again")
    for name in (JSON_FILE, TENSORS_FILE):
        assert (again / name).read_bytes() == (saved / name).read_bytes()
    assert sorted(p.name for p in again.iterdir()) == [JSON_FILE, TENSORS_FILE]


def test_every_part_is_in_the_digest(tiny_weights: Weights) -> None:
    tensors = dict(tiny_weights.tensors)
    first = next(name for name, value in tensors.items() if value.ndim)
    tensors[first] = tensors[first] + 1e-6
    edges = tiny_weights.grid.edges * 1.001
    changed = [
        replace(tiny_weights, tensors=tensors),
        replace(tiny_weights, temperature=1.5),
        replace(tiny_weights, grid=RedshiftGrid(edges)),
        replace(tiny_weights, prior=tiny_weights.prior[::-1].copy()),
        replace(tiny_weights, bands=("g", "r", "z")),
        replace(tiny_weights, standardisation=Standardisation.identity()),
        replace(tiny_weights, provenance={"seed": 9}),
        replace(tiny_weights, recalibration=None),
        replace(tiny_weights, familiarity=None),
    ]
    digests = {weights.digest for weights in changed}
    assert len(digests | {tiny_weights.digest}) == len(changed) + 1


@pytest.mark.parametrize("name", [JSON_FILE, TENSORS_FILE])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(WeightsError, match=f"cannot read .*{name}"):
        load_weights(saved)


@pytest.mark.parametrize("name", [JSON_FILE, TENSORS_FILE])
@pytest.mark.parametrize("position", [0.3, 0.9])
def test_one_damaged_byte_is_found(saved: Path, name: str, position: float) -> None:
    content = bytearray((saved / name).read_bytes())
    content[int(position * len(content))] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged|unknown fields"):
        load_weights(saved)


def test_a_truncated_file_is_found(saved: Path) -> None:
    for name in (TENSORS_FILE, JSON_FILE):
        content = (saved / name).read_bytes()
        (saved / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(WeightsError, match="damaged"):
            load_weights(saved)


def test_files_of_two_weights_do_not_mix(
    tiny_weights: Weights, saved: Path, tmp_path: Path
) -> None:
    other = replace(tiny_weights, prior=tiny_weights.prior[::-1].copy()).save(tmp_path / "other")
    (saved / TENSORS_FILE).write_bytes((other / TENSORS_FILE).read_bytes())
    with pytest.raises(WeightsError, match="of other weights"):
        load_weights(saved)


def test_another_format_version_is_refused(saved: Path) -> None:
    rewrite(saved, lambda d: d.update(format_version=99))
    with pytest.raises(WeightsError, match="format version 99, this version reads 2"):
        load_weights(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(bands=["g", "u"]), r"bands \['g', 'u'\]"),
        (lambda d: d.update(feature_names=["U-G", *FEATURE_NAMES[1:]]), "U-G"),
        (lambda d: d.update(feature_names=list(FEATURE_NAMES[:-1])), "85 features"),
        (lambda d: d["network"].update(name="resnet"), "unknown network 'resnet'"),
        (lambda d: d["network"].update(num_bins=61), "61 redshift bins, the grid 60"),
        (lambda d: d.update(temperature=-1.0), "temperature is -1"),
    ],
)
def test_strangers_are_refused_in_one_line(
    saved: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite(saved, change)
    with pytest.raises(WeightsError, match=message) as raised:
        load_weights(saved)
    assert "\n" not in str(raised.value)
    assert str(saved) in str(raised.value)


def test_parameters_of_another_shape_are_refused(saved: Path) -> None:
    rewrite(saved, lambda d: d["network"].update(hidden=64))
    with pytest.raises(WeightsError, match="parameters do not fit network 'compact'"):
        load_weights(saved).build_network()


def test_building_leaves_the_random_state_alone(tiny_weights: Weights) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tiny_weights.build_network()
    assert torch.equal(torch.rand(1), expected)


def test_wei2025_travels_too(tmp_path: Path) -> None:
    config = Wei2025Config(num_bins=20)
    network = build_network(config).eval()
    weights = Weights(
        network_config=config,
        tensors={name: value.numpy() for name, value in network.state_dict().items()},
        standardisation=Standardisation.identity(),
        grid=RedshiftGrid.uniform(0.0, 0.1),
        prior=np.full(20, 0.05),
    )
    loaded = load_weights(weights.save(tmp_path))
    assert loaded.network_config == config
    assert (loaded.stamp_size.optical_px, loaded.stamp_size.wise_px) == (64, 16)
    state = loaded.build_network().state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_default_weights_lie_in_the_package() -> None:
    assert default_weights_path().parts[-3:] == ("model", "data", "compact")
