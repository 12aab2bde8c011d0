"""Trained parameters of the source's public code, to a network.

The names of its tensors are this package's, so that reading them is a check of names and shapes.
Only the two-part joint network exists there; a regressor (one output) is not read. Its infrared
half goes through the optical half's tail, hence `shared_tail=True`; its second tail is dead weight
that it saves all the same.

References
----------
* RuiNov1st/Zphot4ELG, commit caba7f2: models/model.py.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from model.network.config import Wei2025Config
from model.network.wei2025 import Wei2025

# DataParallel puts it before every name.
_PREFIX = "module."
_FEATURES_TENSOR = "catalog_encoder.layers.0.weight"
_BINS_TENSOR = "estimate_model.fc2.weight"
_NAMES_SHOWN = 3

PublicSource = str | os.PathLike[str] | Mapping[str, Tensor]

PUBLIC_CODE_CONFIG = Wei2025Config(shared_tail=True, wise_px=64)
"""What the public code's network reads: g, r, i, z, g-r, r-i, i-z, W1, W2, W1-W2, and WISE stamps
of 64 x 64 native pixels (inferred: the code states neither, and one of its lists of channels
contradicts this one)."""


def load_public_state_dict(
    source: PublicSource, template: Wei2025Config = PUBLIC_CODE_CONFIG
) -> Wei2025:
    """The source's network with parameters trained by its public code.

    Parameters
    ----------
    source
        A file of tensors by name, read as safetensors where it is named so and else as torch's
        format with `weights_only=True` (nothing in it can run); or the tensors themselves.
        A `module.` before the names is taken off.
    template
        The channel map and the sizes of the stamps, which no tensor says; by default those of
        PUBLIC_CODE_CONFIG. Its numbers of features and bins are replaced by the tensors'.

    Returns
    -------
    Wei2025
        In evaluation mode, float32, on the CPU. `model.public_weights` makes an artefact of it.

    Raises
    ------
    ValueError
        If the file is no such file, or a tensor is missing, unexpected or of another shape; the
        message is one line that names tensors and both shapes.
    OSError
        If the file cannot be opened.
    """
    tensors = source if isinstance(source, Mapping) else _read_tensors(Path(source))
    state = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    # On the meta device: no memory, and the caller's random state is left alone.
    with torch.device("meta"):
        network = Wei2025(_config(state, template))
    problem = _misfit(state, {k: tuple(v.shape) for k, v in network.core.state_dict().items()})
    if problem:
        raise ValueError(problem)
    own = {
        name: value.detach().to("cpu", torch.float32, copy=True) for name, value in state.items()
    }
    network.core.load_state_dict(own, strict=True, assign=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name, without running anything of the file."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise ValueError(f"{path} is no file of tensors: {reason}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected tensors by name")
    return content


def _config(state: Mapping[str, Tensor], template: Wei2025Config) -> Wei2025Config:
    """As many features and bins as the tensors say; the template's where they do not."""
    features, bins = _shape(state.get(_FEATURES_TENSOR)), _shape(state.get(_BINS_TENSOR))
    return replace(
        template,
        shared_tail=True,
        num_features=features[1] if len(features) == 2 else template.num_features,
        num_bins=bins[0] if len(bins) == 2 else template.num_bins,
    )


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _misfit(state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why the tensors do not fit, in one line; None where they do."""
    complaints = []
    if _shape(state.get(_BINS_TENSOR))[:1] == (1,):
        complaints.append(f"{_BINS_TENSOR} has 1 output, a regressor's, expected redshift bins")
    missing = sorted(set(wanted) - set(state))
    if missing:
        complaints.append(f"missing {_some(missing)}")
    unexpected = sorted(set(state) - set(wanted), key=str)
    if unexpected:
        complaints.append(f"unexpected {_some(unexpected)}")
    strange = sorted(k for k in set(state) & set(wanted) if not isinstance(state[k], Tensor))
    if strange:
        complaints.append(f"no tensors {_some(strange)}")
    shapes = [
        f"{name} {tuple(state[name].shape)}, expected {wanted[name]}"
        for name in sorted(set(state) & set(wanted) - set(strange))
        if tuple(state[name].shape) != wanted[name]
    ]
    if shapes:
        complaints.append(f"other shapes: {_some(shapes)}")
    if not complaints:
        return None
    return f"not the public code's two-part network: {'; '.join(complaints)}"


def _some(items: Sequence[str]) -> str:
    """The first few and how many more."""
    more = len(items) - _NAMES_SHOWN
    return ", ".join(items[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
