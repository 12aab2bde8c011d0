"""Stamps as a picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path


def test_picture_of_a_real_brick(
    engine: Callable[..., str], real_bricks: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "stamps.png"
    engine(
        "build",
        "--survey",
        real_bricks / "testcase9",
        "--brick",
        "0091p035",
        "--output",
        tmp_path,
        "--picture",
        picture,
    )
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 600
    assert height > 900  # a row for each of its seven galaxies
