"""Machines as data: a TOML profile says where workers run and what each may use."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path


class ProfileError(Exception):
    """A machine profile cannot be used."""


@dataclass(frozen=True)
class MachineProfile:
    """Where partitions run."""

    kind: str = "local"
    """`local`: worker processes on this machine."""
    workers: int = 2
    """Worker processes; each runs one partition at a time."""
    memory_limit: str = "auto"
    """Memory of one worker, for example `8GB`; `auto` shares the machine's evenly."""
    local_directory: str = ""
    """Scratch folder of the workers; empty for the system's temporary folder."""


def read_profile(path: Path) -> MachineProfile:
    """Read a profile.

    Raises
    ------
    ProfileError
        If the file is missing, no TOML, or has an unknown key (the nearest known one is named).
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"machine profile {path}: cannot be read ({error})") from None
    known = [field.name for field in fields(MachineProfile)]
    for key in data:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ProfileError(f"machine profile {path}: unknown key {key!r}{hint}")
    profile = MachineProfile(**data)
    if profile.kind != "local":
        raise ProfileError(f"machine profile {path}: kind={profile.kind!r}; known: 'local'")
    if profile.workers < 1:
        raise ProfileError(f"machine profile {path}: workers={profile.workers}; at least 1")
    return profile
