"""The GPU benchmark: all its steps run on a CPU, go on where they stopped, and claim no GPU."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner, Result

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = (
    "--device cpu --rows 4 --held-out 10 --epochs 1 --fields 1 --image-size 500 --seconds 0 "
    "--no-compile"
)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; scripts are not part of the package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


def run(gpu: ModuleType, *words: object, expect: int = 0) -> Result:
    """The script's command."""
    done = CliRunner().invoke(gpu.main, [str(word) for word in words])
    assert done.exit_code == expect, done.output
    return done


@pytest.mark.slow
def test_the_whole_script_runs_without_a_gpu(gpu: ModuleType, tmp_path: Path) -> None:
    results = BENCHMARKS / "results" / "gpu.json"
    before = results.read_bytes() if results.exists() else None
    scratch = tmp_path / "small"
    words = ("--scratch", scratch, *SMALL.split())
    run(gpu, *words)
    report = json.loads((scratch / "report.json").read_text())
    assert report["device"] == {"type": "cpu"}
    assert (results.read_bytes() if results.exists() else None) == before
    assert report["rows"]["train"] == 4
    assert report["accuracy"]["test_rows"] == 10
    found = {
        (row["method"], row["metric"]): row
        for row in report["accuracy"]["paired_differences"]
        if row["slice"] == "all"
    }
    difference = found["compact float32 - wei2025 float32", "sigma_nmad"]
    assert difference["num_rows"] == 10
    assert difference["error"] > 0
    # bfloat16 is not float32, and not far from it.
    for name in ("compact", "wei2025"):
        assert 0 < abs(found[f"{name} bfloat16 - {name} float32", "nll"]["value"]) < 0.1
    for name, config in (("compact", "log"), ("wei2025", "linear")):
        assert report[f"fit {name}"]["settings"]["grid"] == config
        assert report[f"fit {name}"]["epoch_seconds_median"] > 0
        assert report["training rates"][f"{name} float32 devices=1"]["rows_per_s"] > 0
    rates = report["inference rates"]
    assert {"wei2025 float32 aligned", "compact bfloat16", "wei2025 float32 predictor"} <= set(
        rates
    )
    assert all(row["sources_per_s"] > 0 for row in rates.values())
    # Nothing is done twice: without its rows a step that is done is not missed.
    for path in (scratch / "rows").glob("*.npy"):
        path.unlink()
    assert "..." not in run(gpu, *words).stdout
    other = run(gpu, *words, "--seconds", 1, expect=2)
    assert "name another --scratch" in other.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_cuda_device_it_says_so_in_one_line(gpu: ModuleType, tmp_path: Path) -> None:
    done = run(gpu, "--scratch", tmp_path / "scratch", expect=2)
    (line,) = done.stderr.splitlines()
    assert "sees no CUDA device" in line
    assert not (tmp_path / "scratch").exists()
