"""Machines as data: a TOML profile says where workers run and what each may use."""

from __future__ import annotations

import re
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
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"machine profile {path}: cannot be read ({error})") from None
    known = [field.name for field in fields(MachineProfile)]
    for key in data:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ProfileError(f"machine profile {path}: unknown key {key!r}{hint}")
    for known_field in fields(MachineProfile):
        value = data.get(known_field.name, known_field.default)
        if type(value) is not type(known_field.default):
            raise ProfileError(
                f"machine profile {path}: {known_field.name}={value!r}; expected a value such as "
                f"{known_field.default!r}"
            )
    profile = MachineProfile(**data)
    if profile.kind != "local":
        raise ProfileError(f"machine profile {path}: kind={profile.kind!r}; known: 'local'")
    if profile.workers < 1:
        raise ProfileError(f"machine profile {path}: workers={profile.workers}; at least 1")
    if profile.local_directory and not Path(profile.local_directory).is_dir():
        raise ProfileError(
            f"machine profile {path}: local_directory={profile.local_directory!r} is no folder"
        )
    if not re.fullmatch(r"auto|\d+(\.\d+)? *([kMGT]i?)?B", profile.memory_limit):
        raise ProfileError(
            f"machine profile {path}: memory_limit={profile.memory_limit!r}; "
            'expected "auto" or a size such as "8GB"'
        )
    return profile
