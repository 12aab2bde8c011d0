"""A Dask scheduler that is there already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError
from deploy.tls import security_of

_TIMEOUT_S = 30


@contextmanager
def open_address(profile: MachineProfile, num_workers: int) -> Iterator[OpenCluster]:
    """Connect to the scheduler and use the workers that it has; both stay when the run ends.

    Raises
    ------
    ProfileError
        If nobody answers within 30 s, or the scheduler file cannot be read.
    """
    address = _address(profile.scheduler)
    security = security_of(profile.tls)
    if address.startswith("tls://") and security is None:
        raise ProfileError(f"scheduler={address!r}: asks for certificates, and [tls] names none")
    try:
        client = Client(address, security=security, timeout=_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ProfileError(
            f"scheduler={profile.scheduler!r}: no Dask scheduler answered at {address} within "
            f"{_TIMEOUT_S} s ({_first_line(error)}); is it up, and reachable from here?"
        ) from None
    with client:
        yield OpenCluster(client, num_workers)


def _address(scheduler: str) -> str:
    """The address itself, or the one in a scheduler file."""
    if "://" in scheduler:
        return scheduler
    try:
        return str(json.loads(Path(scheduler).read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(
            f"scheduler={scheduler!r}: neither an address such as tcp://host:8786 nor a scheduler "
            f"file ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
