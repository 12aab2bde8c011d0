"""`engine submit` and `engine profiles` on the command line; tests/deploy has a real Slurm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.profiles import shipped_profiles

Engine = Callable[..., str]


def words_of(script: str) -> list[str]:
    """The command of a job script, as bash reads it."""
    line = next(line for line in script.splitlines() if line.startswith("command=("))
    code = f'{line}\nprintf "%s\\0" "${{command[@]}}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_dry_run_shows_the_script_and_writes_nothing(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    bricks = tmp_path / "bricks.txt"
    names = sorted(path.name for path in (mock_survey / "south" / "coadd").glob("*/*"))
    bricks.write_text(names[0])
    output = tmp_path / "it's a run"
    arguments = ["--survey", mock_survey, "--output", output, "--bricks", bricks, "--keep-arrays"]
    script = engine("submit", "--profile", "slurm-cpu", *arguments, "--dry-run")
    assert script.startswith("#!/bin/bash\n#SBATCH --job-name=photoz-it-s-a-run-")
    assert words_of(script) == [
        *(sys.executable, "-m", "engine", "run"),
        *("--healpix-nside", "32", "--keep-arrays", "--survey", str(mock_survey)),
        *("--bricks", f"{output}/submit/bricks.txt"),
        *("--output", str(output), "--profile", f"{output}/submit/profile.toml"),
    ]
    assert not output.exists()
    shown = engine("submit", "--profile", "slurm-cpu", *arguments, "--dry-run", "--json")
    assert json.loads(shown)["script"] == script


def test_mistakes_show_before_the_queue(
    engine: Engine, mock_survey: Path, finished_run: Path, tmp_path: Path
) -> None:
    survey = ["--survey", mock_survey, "--output", tmp_path / "run"]
    for arguments, words in (
        (["--profile", "slurm-cpus", *survey], "did you mean 'slurm-cpu'"),
        (["--profile", "laptop", *survey], "use engine run --profile laptop"),
        (["--profile", "existing-scheduler", *survey], "use engine run --profile existing"),
        (["--profile", "slurm-cpu", "--survey", tmp_path / "none"], str(tmp_path / "none")),
        (["--profile", "slurm-cpu", *survey, "--healpix-nside", 33], "--healpix-nside: "),
        (["--profile", "slurm-cpu", *survey, "--weights", tmp_path], str(tmp_path)),
        (
            ["--profile", "slurm-cpu", "--survey", mock_survey, "--output", finished_run,
             "--healpix-nside", 16],
            "nside",
        ),
        (
            ["--profile", "slurm-cpu", "--survey", mock_survey, "--output", tmp_path / "100%"],
            "choose a path without",
        ),
    ):  # fmt: skip
        assert words in engine("submit", *arguments, "--dry-run", expect=2)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("photoz")] == []


def test_without_slurm_it_is_said(
    engine: Engine, mock_survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["--profile", "slurm-cpu", "--survey", mock_survey, "--output", tmp_path / "run"]
    assert "squeue: not found" in engine("submit", *arguments, expect=2)
    assert not (tmp_path / "run").exists()


def test_profiles_are_listed_and_printed(engine: Engine) -> None:
    listed = engine("profiles")
    rows = json.loads(engine("profiles", "--json"))
    assert [row["name"] for row in rows] == list(shipped_profiles())
    for row in rows:
        assert f"{row['name']} " in listed
        assert row["summary"] in listed
    path = shipped_profiles()["slurm-gpu"]
    assert engine("profiles", "slurm-gpu") == path.read_text() + f"{path}\n"  # the path on stderr
    assert json.loads(engine("profiles", "slurm-gpu", "--json"))["slurm"]["constraint"] == "gpu"
    assert "did you mean" in engine("profiles", "slurm-gpus", expect=2)


def test_a_copied_profile_is_checked(engine: Engine, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped_profiles()["slurm-cpu"].read_text().replace("walltime", "waltime", 1))
    assert "unknown key 'slurm.waltime', did you mean 'walltime'" in engine(
        "profiles", mine, expect=2
    )


def test_kubernetes_manifests_are_shown(engine: Engine, tmp_path: Path) -> None:
    pytest.importorskip("deploy.kubernetes", reason="manifests are not there")
    yaml = pytest.importorskip("yaml")
    paths = ["--survey", "/survey/dr10", "--output", "/runs/cosmos"]
    options = ["--profile", "kubernetes-cuda", "--region", "149.5,150.7,1.6,2.8", "--dry-run"]
    manifests = list(yaml.safe_load_all(engine("submit", *options, *paths)))
    (job,) = [each for each in manifests if each["kind"] == "Job"]
    assert job["metadata"]["name"].startswith("photoz-cosmos-")
    words = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert words[words.index("--output") + 1] == "/runs/cosmos"
    assert words[words.index("--region") + 1] == "149.5,150.7,1.6,2.8"
    for wrong in (
        ["--survey", tmp_path, "--output", "/runs/x"],
        ["--survey", "/survey", "--output", tmp_path],
        ["--survey", "/survey"],
    ):
        assert "in a pod, expected a path below" in engine("submit", *options, *wrong, expect=2)
