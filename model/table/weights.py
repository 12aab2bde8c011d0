"""The weights of a table: everything that turns rows into posteriors, in a directory of two files.

`table.safetensors` holds the numbers, `table.json` the rest and a digest of both: no pickle,
nothing in the files can run. It is a format of its own: these weights know their bands and columns
by the table's names, those of `model.weights` the arrays of a survey.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
import torch

from model.artefact import content_digest, write_by_rename
from model.posterior import RedshiftGrid
from model.table.features import TableStandardisation, num_features, value_names
from model.table.network import NetworkShape, TableNetwork
from model.table.rows import TableLayout
from model.weights import WeightsError

FORMAT = "photoz-table-weights"
FORMAT_VERSION = 1
TENSORS_FILE = "table.safetensors"
JSON_FILE = "table.json"

_JSON_FIELDS = {
    *("format", "format_version", "layout", "shape", "num_members"),
    *("temperature", "reading", "provenance", "digest"),
}


@dataclass(frozen=True, eq=False)
class TableWeights:
    """Trained networks with all that their use needs."""

    layout: TableLayout
    """Bands and extra columns of the rows."""
    shape: NetworkShape
    """Of every member."""
    members: tuple[Mapping[str, npt.NDArray[Any]], ...]
    """Parameters of each member by name, as in the network's state_dict."""
    standardisation: TableStandardisation
    """Statistics of the training rows."""
    grid: RedshiftGrid
    """The redshift bins."""
    prior: npt.NDArray[np.float64]
    """(Z,) distribution of the training redshifts: the posterior of a row without any band."""
    temperature: float = 1.0
    """The logarithm of the members' mean is divided by it; fitted on validation rows."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """How such rows are read from a table: columns, units, fill values. Not read here."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: rows, settings, versions, metrics on validation rows."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise WeightsError(problem)

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return content_digest(self._tensor_bytes(), self._description())

    def build_networks(self) -> tuple[TableNetwork, ...]:
        """The members, in evaluation mode.

        Raises
        ------
        WeightsError
            If the parameters do not fit the network.
        """
        networks = []
        for parameters in self.members:
            # fork_rng: the discarded initial parameters must not advance the caller's state.
            with torch.random.fork_rng(devices=[]):
                network = TableNetwork(self.shape)
            state = {name: torch.from_numpy(np.array(value)) for name, value in parameters.items()}
            try:
                network.load_state_dict(state, strict=True)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise WeightsError(f"parameters do not fit the network: {reason}") from error
            networks.append(network.eval())
        return tuple(networks)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the two files, each by rename, the description last; return the directory."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        tensor_bytes, description = self._tensor_bytes(), self._description()
        description["digest"] = content_digest(tensor_bytes, description)
        text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False) + "\n"
        write_by_rename(target / TENSORS_FILE, tensor_bytes)
        write_by_rename(target / JSON_FILE, text.encode())
        return target

    def _tensor_bytes(self) -> bytes:
        arrays = {
            f"member.{number}.{name}": value
            for number, parameters in enumerate(self.members)
            for name, value in parameters.items()
        }
        for name in TableStandardisation.names():
            arrays[f"standardisation.{name}"] = getattr(self.standardisation, name)
        arrays |= {"grid.edges": self.grid.edges, "prior": self.prior}
        return safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in arrays.items()})

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "layout": asdict(self.layout),
            "shape": asdict(self.shape),
            "num_members": len(self.members),
            "temperature": self.temperature,
            "reading": dict(self.reading),
            "provenance": dict(self.provenance),
        }


def _problem(weights: TableWeights) -> str | None:
    """Why these parts do not belong together, in one line; None where they do."""
    wanted, found = num_features(weights.layout), weights.shape.num_features
    if wanted != found:
        return f"network reads {found} features, the layout has {wanted}: they must agree"
    num_values = len(value_names(weights.layout))
    for name in TableStandardisation.names():
        expected = len(weights.layout.bands) if name == "softening" else num_values
        values = getattr(weights.standardisation, name)
        if values.shape != (expected,):
            return f"standardisation {name} has shape {values.shape}, expected ({expected},)"
    num_bins = weights.shape.num_bins
    if weights.grid.num_bins != num_bins or weights.prior.shape != (num_bins,):
        return (
            f"network has {num_bins} redshift bins, the grid {weights.grid.num_bins}, the prior "
            f"{weights.prior.size}: they must agree"
        )
    if not weights.members:
        return "weights have no member"
    if not (np.isfinite(weights.temperature) and weights.temperature > 0):
        return f"temperature is {weights.temperature}, expected a positive number"
    return None


def load_table_weights(directory: str | os.PathLike[str]) -> TableWeights:
    """Read and check a directory of weights.

    Raises
    ------
    WeightsError
        If a file is missing or damaged, or of another format or version.
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
        return _assemble(description, safetensors.numpy.load(tensor_bytes))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{source}: cannot use these weights: {reason}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read {path} ({error.strerror}): the weights of a table are a directory with "
            f"{TENSORS_FILE} and {JSON_FILE}, as `engine table train` writes it"
        ) from error


def _check_description(source: Path, description: Any, tensor_bytes: bytes) -> None:
    """Format, version and digest; before anything of the content is believed."""
    path = source / JSON_FILE
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise WeightsError(f"{path} does not say that it is of the format {FORMAT}")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format version {version}, this version reads {FORMAT_VERSION}: retrain, "
            "or use the version that wrote it"
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


def _assemble(
    description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> TableWeights:
    def under(prefix: str) -> dict[str, npt.NDArray[Any]]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    layout = dict(description["layout"])
    layout |= {name: tuple(layout[name]) for name in ("bands", "extra")}
    return TableWeights(
        layout=TableLayout(**layout),
        shape=NetworkShape(**description["shape"]),
        members=tuple(under(f"member.{n}.") for n in range(description["num_members"])),
        standardisation=TableStandardisation(**under("standardisation.")),
        grid=RedshiftGrid(arrays["grid.edges"]),
        prior=arrays["prior"],
        temperature=float(description["temperature"]),
        reading=description["reading"],
        provenance=description["provenance"],
    )
