"""What is installed: the wheel holds the default weights and the mock's templates."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import engine
from model.weights import default_weights_path, load_weights

REPOSITORY = Path(engine.__file__).parents[1]


def test_default_weights_are_small_and_whole() -> None:
    weights = load_weights(default_weights_path())
    assert weights.network_config.name == "compact"
    size = sum(path.stat().st_size for path in default_weights_path().iterdir())
    assert size < 10_000_000


def test_wheel_holds_the_data_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*command, REPOSITORY], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("photoz_engine-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "model/data/compact/weights.safetensors",
        "model/data/compact/weights.json",
        "partitions/mock/data/templates.npz",
        "partitions/truth/data/surveys.toml",
        "deploy/laptop.toml",
    } <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
