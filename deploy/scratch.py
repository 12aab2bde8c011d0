"""A folder for what workers keep on this machine while they run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.profiles import MachineProfile


@contextmanager
def scratch_folder(profile: MachineProfile) -> Iterator[str]:
    """A folder for the workers' own files; removed afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="photoz-workers-", dir=profile.local_directory or None, ignore_cleanup_errors=True
    ) as folder:
        yield folder
