"""The state of a training run at the end of an epoch: written by rename, read as plain data.

A run that is killed goes on from the last whole epoch with the same numbers: parameters, optimiser,
schedule, running mean, both random generators and the log are all in the file. The file also names
the run it belongs to, so that a state of other rows or settings is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.artefact import write_by_rename

CHECKPOINT_VERSION = 1


class CheckpointError(Exception):
    """A training state that cannot be used; one line: what, where, both values, what to do."""


def run_identity(
    settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, str]:
    """What a training run is a function of: its settings as text, and a digest of its rows.

    Parameters
    ----------
    settings
        JSON values.
    arrays
        Whatever of the rows tells one training set and split from another.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        digest.update(values.tobytes())
    text = json.dumps(settings, sort_keys=True)
    return {"settings": text, "rows": digest.hexdigest()}


def save_checkpoint(path: Path, identity: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Write a state (tensors, numbers, strings and containers of these) in place of the last."""
    buffer = io.BytesIO()
    torch.save(
        {"version": CHECKPOINT_VERSION, "identity": dict(identity), "state": dict(state)}, buffer
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_by_rename(path, buffer.getbuffer())


def load_checkpoint(path: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """The state of this run, on the CPU; None where there is none yet.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another version, or of another run.
    """
    if not path.exists():
        return None
    again = "name another output, or delete it to start anew"
    try:
        # weights_only: tensors and plain values, nothing that can run.
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, found, state = content["version"], content["identity"], content["state"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise CheckpointError(f"{path} holds no training state ({reason}): {again}") from None
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path} is of version {version}, this version reads {CHECKPOINT_VERSION}: {again}"
        )
    if found["settings"] != identity["settings"]:
        then, now = json.loads(found["settings"]), json.loads(identity["settings"])
        names = sorted(set(then) | set(now))
        odd = [
            f"{n}: {then.get(n)} then, {now.get(n)} now" for n in names if then.get(n) != now.get(n)
        ]
        raise CheckpointError(f"{path} is of a run with other settings ({'; '.join(odd)}): {again}")
    if found["rows"] != identity["rows"]:
        raise CheckpointError(
            f"{path} is of a run on other rows (digest {found['rows'][:12]} then, "
            f"{identity['rows'][:12]} now): {again}"
        )
    return dict(state)
