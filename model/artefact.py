"""What every file of trained numbers shares: a digest of its content, and writing by rename."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def content_digest(tensor_bytes: bytes, description: Mapping[str, Any]) -> str:
    """SHA-256 over the tensors file and the canonical JSON without the digest itself."""
    content = {key: value for key, value in description.items() if key != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(tensor_bytes + canonical.encode()).hexdigest()


def write_by_rename(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by `content`; a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
