"""The weights: everything that turns arrays into posteriors, in one directory of two files.

`weights.safetensors` holds the numbers (network parameters, standardisation, grid, prior,
recalibration, embeddings of the training rows),
`weights.json` the rest (network configuration, bands, feature names, temperature, provenance) and
a digest of both. No pickle: nothing in the files can run. The bytes are a function of the content,
so equal weights have equal digests on any machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
import torch

from model.artefact import content_digest, write_by_rename
from model.calibrate import Recalibration
from model.dataset import Standardisation
from model.familiarity import Familiarity
from model.network import (
    NetworkConfig,
    RedshiftNetwork,
    build_network,
    config_from_dict,
    config_to_dict,
)
from model.posterior import QUANTILE_LEVELS, RedshiftGrid
from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS, StampSize

WEIGHTS_FORMAT_VERSION = 2
TENSORS_FILE = "weights.safetensors"
JSON_FILE = "weights.json"

_JSON_FIELDS = {
    "format_version",
    "network",
    "bands",
    "feature_names",
    "quantile_levels",
    "temperature",
    "provenance",
    "digest",
}


class WeightsError(Exception):
    """Weights that cannot be used; the message is one line: what, where, and what to do."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained network with all that its use needs."""

    network_config: NetworkConfig
    """Shape of the network."""
    tensors: Mapping[str, npt.NDArray[Any]]
    """Parameters by name, as in the network's state_dict."""
    standardisation: Standardisation
    """Statistics of the training rows, with the training range."""
    grid: RedshiftGrid
    """The redshift bins."""
    prior: npt.NDArray[np.float64]
    """(Z,) distribution of the training redshifts: the posterior of a row without photometry."""
    temperature: float = 1.0
    """Logits are divided by it; fitted on validation rows."""
    recalibration: Recalibration | None = None
    """What is then done to the posteriors; fitted on validation rows. None leaves them."""
    familiarity: Familiarity | None = None
    """The embeddings of the training rows; None where there were none, and nothing is far."""
    bands: tuple[str, ...] = BANDS
    """Bands it was trained on; others are treated as missing."""
    feature_names: tuple[str, ...] = FEATURE_NAMES
    """Names of the features, in the order of the arrays."""
    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS
    """Cumulative probabilities of the quantiles in a prediction."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: rows, epochs, losses, seed, versions, validation metrics, settings."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise WeightsError(problem)

    @property
    def stamp_size(self) -> StampSize:
        """Smallest stored stamps that the network can read."""
        return StampSize(self.network_config.optical_px, self.network_config.wise_px)

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return content_digest(self._tensor_bytes(), self._description())

    def build_network(self) -> RedshiftNetwork:
        """The network with these parameters, in evaluation mode.

        Raises
        ------
        WeightsError
            If the parameters do not fit the network's configuration.
        """
        # fork_rng: the discarded initial parameters must not advance the caller's random state.
        with torch.random.fork_rng(devices=[]):
            network = build_network(self.network_config)
        state = {name: torch.from_numpy(np.array(value)) for name, value in self.tensors.items()}
        try:
            network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise WeightsError(
                f"parameters do not fit network {self.network_config.name!r}: {reason}"
            ) from error
        network.standardise_with(self.standardisation)
        return network.eval()

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the two files, each by rename, the description last; return the directory."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        tensor_bytes, description = self._tensor_bytes(), self._description()
        description["digest"] = content_digest(tensor_bytes, description)
        write_by_rename(target / TENSORS_FILE, tensor_bytes)
        text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False) + "\n"
        write_by_rename(target / JSON_FILE, text.encode())
        return target

    def _tensor_bytes(self) -> bytes:
        arrays = {f"network.{name}": value for name, value in self.tensors.items()}
        for name in Standardisation.names():
            arrays[f"standardisation.{name}"] = getattr(self.standardisation, name)
        for prefix in ("recalibration", "familiarity"):
            part = getattr(self, prefix)
            for name in part.names() if part is not None else ():
                arrays[f"{prefix}.{name}"] = getattr(part, name)
        arrays["grid.edges"] = self.grid.edges
        arrays["prior"] = self.prior
        return safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in arrays.items()})

    def _description(self) -> dict[str, Any]:
        return {
            "format_version": WEIGHTS_FORMAT_VERSION,
            "network": config_to_dict(self.network_config),
            "bands": list(self.bands),
            "feature_names": list(self.feature_names),
            "quantile_levels": list(self.quantile_levels),
            "temperature": self.temperature,
            "provenance": dict(self.provenance),
        }


def _problem(weights: Weights) -> str | None:
    """Why these parts do not belong together, in one line; None where they do."""
    config = weights.network_config
    unknown = [band for band in weights.bands if band not in BANDS]
    if unknown or not weights.bands:
        return f"weights name bands {list(weights.bands)}, expected a part of {list(BANDS)}"
    strangers = [name for name in weights.feature_names if name not in FEATURE_NAMES]
    if strangers:
        return (
            f"weights need features {strangers}, which this version does not compute "
            f"({len(FEATURE_NAMES)} are known): use the version that trained them, or retrain"
        )
    if tuple(weights.feature_names) != FEATURE_NAMES or config.num_features != len(FEATURE_NAMES):
        return (
            f"weights list {len(weights.feature_names)} features for a network of "
            f"{config.num_features}, expected the {len(FEATURE_NAMES)} of the arrays in their "
            "order: retrain"
        )
    if config.num_bins != weights.grid.num_bins or weights.prior.shape != (config.num_bins,):
        return (
            f"network has {config.num_bins} redshift bins, the grid {weights.grid.num_bins}, the "
            f"prior {weights.prior.size}: they must agree"
        )
    if not (np.isfinite(weights.temperature) and weights.temperature > 0):
        return f"temperature is {weights.temperature}, expected a positive number"
    return None


def default_weights_path() -> Path:
    """Directory of the weights that ship with the package."""
    return Path(str(resources.files("model").joinpath("data", "compact")))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read {path} ({error.strerror}): a weights directory holds {TENSORS_FILE} and "
            f"{JSON_FILE}; train first, or name another directory"
        ) from error


def load_weights(directory: str | os.PathLike[str]) -> Weights:
    """Read and check a weights directory.

    Raises
    ------
    WeightsError
        If a file is missing or damaged, the format is of another version, or the content does
        not fit this version's bands, features or networks.
    """
    source = Path(directory)
    text, tensor_bytes = _read(source / JSON_FILE), _read(source / TENSORS_FILE)
    try:
        description = json.loads(text)
    except ValueError as error:
        raise WeightsError(
            f"{source / JSON_FILE} is no JSON ({error}): damaged, copy or train it again"
        ) from error
    _check_description(source, description, tensor_bytes)
    try:
        arrays = safetensors.numpy.load(tensor_bytes)
        return _assemble(description, arrays)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{source}: cannot use these weights: {reason}") from error


def _check_description(source: Path, description: Any, tensor_bytes: bytes) -> None:
    """Version and digest; before anything of the content is believed."""
    path = source / JSON_FILE
    if not isinstance(description, dict):
        raise WeightsError(f"{path} holds a {type(description).__name__}, expected an object")
    version = description.get("format_version")
    if version != WEIGHTS_FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format version {version}, this version reads {WEIGHTS_FORMAT_VERSION}: "
            "retrain, or use the version that wrote it"
        )
    if set(description) != _JSON_FIELDS:
        odd = sorted(set(description) ^ _JSON_FIELDS)
        raise WeightsError(f"{path} has missing or unknown fields {odd}: damaged, copy it again")
    try:
        found = content_digest(tensor_bytes, description)
    except ValueError as error:
        raise WeightsError(f"{path} holds NaN or infinity: damaged, copy it again") from error
    if found != description["digest"]:
        raise WeightsError(
            f"{source} has digest {found}, its {JSON_FILE} says {description['digest']}: "
            "a file is damaged or of other weights, copy or train it again"
        )


def _assemble(description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Weights:
    def under(prefix: str) -> dict[str, npt.NDArray[Any]]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    recalibration, familiarity = under("recalibration."), under("familiarity.")
    return Weights(
        network_config=config_from_dict(description["network"]),
        tensors=under("network."),
        standardisation=Standardisation(**under("standardisation.")),
        grid=RedshiftGrid(arrays["grid.edges"]),
        prior=arrays["prior"],
        temperature=float(description["temperature"]),
        recalibration=Recalibration(**recalibration) if recalibration else None,
        familiarity=Familiarity(**familiarity) if familiarity else None,
        bands=tuple(description["bands"]),
        feature_names=tuple(description["feature_names"]),
        quantile_levels=tuple(description["quantile_levels"]),
        provenance=description["provenance"],
    )
