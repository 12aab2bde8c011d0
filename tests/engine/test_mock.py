"""`engine mock`: made once, kept, and never mixed with another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Engine = Callable[..., str]
SMALL = ("--seed", 3, "--fields", 1, "--image-size", 300, "--workers", 1)


def test_mock_is_kept_and_another_is_refused(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    assert json.loads(engine("mock", folder, *SMALL, "--json"))["num_bricks"] == 4
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    engine("mock", folder, *SMALL)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    text = engine("mock", folder, *SMALL[2:], "--seed", 4, expect=2)
    assert '"seed": 3' in text
    assert '"seed": 4' in text


def test_settings_that_make_no_survey(engine: Engine, tmp_path: Path) -> None:
    text = engine("mock", tmp_path / "s", "--image-size", 5000, expect=2)
    assert "image_size_px=5000" in text
