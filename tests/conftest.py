"""Where the real survey files are, and the session's data flow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Times on a shared machine say nothing about correctness.
settings.register_profile("engine", deadline=None)
settings.load_profile("engine")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real survey files; they are not part of the repository."""
    folder = Path(os.environ.get("PHOTOZ_REAL_DATA", REPOSITORY.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip(f"real survey files are not at {folder} (set PHOTOZ_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_bricks(real_data: Path) -> Path:
    """Folder of the real bricks: region folders `testcase9` (g, r, z), `testcase4` (z, W1, W2)."""
    return real_data / "legacypipe-bricks"
