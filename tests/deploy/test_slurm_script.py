"""The job script: what a shell makes of it, whatever paths and options hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.profiles import MachineProfile, ProfileError, Slurm
from deploy.settings import as_environment
from deploy.slurm_queue import job_name
from deploy.slurm_script import job_script, slurm_memory, walltime_s
from deploy.tls import tls_settings, write_temporary_tls

PROFILE = MachineProfile(kind="slurm", workers=4, memory_limit="8GB", threads=2)
MARK = "photoz-was-here"

# Texts that do something if a shell reads them as anything but a word.
_PIECES = st.sampled_from(
    [
        *(f"$(touch {MARK})", f"`touch {MARK}`", f"; touch {MARK};", f"' ; touch {MARK} '"),
        *(f'" ; touch {MARK} "', f"\ntouch {MARK}\n", f"& touch {MARK} &", f"| touch {MARK}"),
        *(
            f"\n#SBATCH --wrap=touch {MARK}\n",
            "${HOME}",
            "*",
            "~",
            "\\",
            "\t",
            "%j",
            "--",
            "=",
            "é",
        ),
        *("!", "#", " ", "'", '"', "(", ")", "<", ">", "\r", "{a,b}", "[0-9]"),
    ]
)
_TEXTS = st.lists(_PIECES | st.text(max_size=4), max_size=4).map("".join)
WORDS = _TEXTS.map(lambda text: text.replace("\0", ""))
NAMES = WORDS.map(lambda text: re.sub(r"[/%\\]", ":", text)[:40]).filter(
    lambda t: t not in ("", ".", "..")
)


def fake_commands(folder: Path) -> Path:
    """`engine` writes down its arguments, `srun` runs what it is given as task 1."""
    folder.mkdir()
    for name, text in {
        "engine": 'printf "%s\\0" "$@" > "$ARGV"\nprintenv -0 > "$ARGV.env"\nexit "${CODE:-0}"\n',
        "srun": '[ "$1" = --cpus-per-task=2 ] || exit 9\nshift\nSLURM_PROCID=1 exec "$@"\n',
        "scontrol": 'echo "scontrol $*" >> "$ARGV.slurm"\n',
        "sbatch": 'echo "sbatch $*" >> "$ARGV.slurm"\necho 77\n',
        "scancel": 'echo "scancel $*" >> "$ARGV.slurm"\n',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_commands(tmp_path_factory.mktemp("fake") / "bin")


def run_job(
    script: str, run_folder: Path, bin_folder: Path, argv_file: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script as Slurm would, from RUN/submit."""
    submit = run_folder / "submit"
    submit.mkdir(parents=True, exist_ok=True)
    (submit / "job.sh").write_text(script, newline="")
    return subprocess.run(
        ["bash", "job.sh"],
        cwd=submit,
        env={
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "ARGV": str(argv_file),
            "SLURM_JOB_ID": "12",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("layout", ["jobs", "allocation"])
@settings(max_examples=40)
@given(words=st.lists(WORDS, max_size=4), name=NAMES, value=WORDS)
def test_words_arrive_unchanged_and_nothing_is_run(
    tmp_path_factory: pytest.TempPathFactory,
    bin_folder: Path,
    layout: str,
    words: list[str],
    name: str,
    value: str,
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    run_folder = folder / name
    value = value.replace("\n", "")  # A profile refuses it.
    profile = replace(PROFILE, environment={"HOSTILE": value}, slurm=Slurm(layout=layout))
    arguments = ["run", *words, "--survey", f"/data/{name}", "--output", str(run_folder)]
    script = job_script(profile, run_folder, ["engine", *arguments])
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0

    done = run_job(script, run_folder, bin_folder, folder / "argv")

    assert done.returncode == 0, done.stderr
    arrived = (folder / "argv").read_bytes().decode().split("\0")[:-1]
    assert arrived == arguments
    environment = (folder / "argv.env").read_bytes().decode().split("\0")
    assert (f"HOSTILE={value}" in environment) == (layout == "allocation")
    assert not list(folder.rglob(MARK))
    shutil.rmtree(folder)


@given(name=NAMES, value=WORDS)
def test_directives_hold_checked_words_only(name: str, value: str) -> None:
    """Slurm reads `#SBATCH` up to the first command: there is nothing of a path in them."""
    run_folder = Path("/runs") / name
    script = job_script(PROFILE, run_folder, ["engine", "run", value])
    header = script.split("\nresume=")[0].splitlines()
    assert header == [
        "#!/bin/bash",
        f"#SBATCH --job-name={job_name(run_folder)}",
        "#SBATCH --output=driver.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --time=12:00:00",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --mem=7630M",
        "#SBATCH --signal=B:USR1@120",
        "#SBATCH --requeue",
    ]
    assert all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in job_name(run_folder))
    assert len(job_name(run_folder)) <= 48


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("queue", "debug\n#SBATCH --wrap=reboot"),
        ("account", "a b"),
        ("qos", "$(reboot)"),
        ("constraint", "`reboot`"),
        ("interface", "eth0;reboot"),
        ("directives", ("--gres=gpu:1 --wrap=reboot",)),
        ("directives", ("reboot",)),
        ("driver_directives", ("--comment='x'",)),
        ("walltime", "1:00:00; reboot"),
        ("driver_memory", "8GB\nreboot"),
    ],
)
def test_words_of_directives_are_refused(key: str, value: Any) -> None:
    profile = replace(PROFILE, slurm=replace(PROFILE.slurm, **{key: value}))
    with pytest.raises(ProfileError, match=f"slurm.{key}="):
        job_script(profile, Path("/runs/x"), ["engine"])


@pytest.mark.parametrize("name", ["100%", "a\\b"])
def test_paths_that_slurm_takes_for_patterns_are_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="choose a path without"):
        job_script(PROFILE, Path("/runs") / name, ["engine"])


def test_one_allocation_holds_driver_scheduler_and_workers() -> None:
    slurm = Slurm(
        layout="allocation", queue="gpu", account="m1", qos="regular", constraint="gpu",
        walltime="1-02:00:00", directives=("--gpus-per-node=4",), resume="chain",
    )  # fmt: skip
    lines = job_script(replace(PROFILE, slurm=slurm), Path("/runs/x"), ["engine"]).splitlines()
    for directive in (
        *("--partition=gpu", "--account=m1", "--qos=regular", "--constraint=gpu"),
        *("--time=1-02:00:00", "--ntasks=6", "--cpus-per-task=2", "--mem-per-cpu=3815M"),
        *("--gpus-per-node=4", "--no-requeue"),
    ):
        assert f"#SBATCH {directive}" in lines


@pytest.mark.parametrize("layout", ["jobs", "allocation"])
def test_shellcheck_finds_nothing(layout: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    profile = replace(PROFILE, slurm=Slurm(layout=layout))
    script = tmp_path / "job.sh"
    script.write_text(job_script(profile, tmp_path / "a 'b'", ["engine", "run", "$(x)"]))
    # Texts such as $(x) are not to be expanded; `jobs` is a word; traps call functions.
    command = [shellcheck, "--exclude=SC2016,SC2209,SC2329", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("code", "resume", "slurm_calls", "says"),
    [
        (0, "requeue", [], "exit code 0"),
        (2, "requeue", [], "exit code 2"),
        (3, "requeue", [], "exit code 3"),
        (1, "requeue", [], "exit code 1"),
        (130, "requeue", [], "exit code 130"),
        (143, "requeue", ["scontrol requeue 12"], "requeued"),
        (4, "requeue", ["scontrol requeue 12"], "requeued"),
        (137, "requeue", ["scontrol requeue 12"], "requeued"),
        (143, "none", [], "submit it again to go on"),
        (143, "chain", ["SUCCESSOR"], "job 77 goes on"),
        (0, "chain", ["SUCCESSOR", "scancel 77"], "exit code 0"),
        (2, "chain", ["SUCCESSOR", "scancel 77"], "exit code 2"),
    ],
)
def test_what_an_exit_code_leads_to(
    tmp_path: Path, bin_folder: Path, code: int, resume: str, slurm_calls: list[str], says: str
) -> None:
    profile = replace(PROFILE, slurm=Slurm(resume=resume))
    script = job_script(profile, tmp_path / "run", ["engine", "run"])
    done = run_job(script, tmp_path / "run", bin_folder, tmp_path / "argv", CODE=str(code))
    assert done.returncode == code
    assert says in done.stdout
    calls = tmp_path / "argv.slurm"
    successor = "sbatch --parsable --dependency=afterany:12 --kill-on-invalid-dep=yes job.sh"
    expected = [successor if call == "SUCCESSOR" else call for call in slurm_calls]
    assert (calls.read_text().splitlines() if calls.exists() else []) == expected


def test_two_attempts_without_a_receipt_are_the_last(tmp_path: Path, bin_folder: Path) -> None:
    """A receipt in between begins the count anew."""
    run_folder = tmp_path / "run"
    (run_folder / "receipts").mkdir(parents=True)
    script = job_script(PROFILE, run_folder, ["engine", "run"])

    def attempt(brings: str | None) -> str:
        engine = bin_folder.parent / f"engine-{brings}"
        engine.mkdir(exist_ok=True)
        receipt = f"touch ../receipts/{brings}.json\n" if brings else ""
        (engine / "engine").write_text(f"#!/bin/bash\n{receipt}exit 143\n")
        (engine / "engine").chmod(0o755)
        (engine / "scontrol").unlink(missing_ok=True)
        (engine / "scontrol").symlink_to(bin_folder / "scontrol")
        return run_job(script, run_folder, engine, tmp_path / "argv").stdout

    assert "requeued" in attempt(None)
    assert "requeued" in attempt("1")
    assert "requeued" in attempt(None)
    last = attempt(None)
    assert "two attempts in a row brought no new receipt" in last
    assert "requeued" not in last


@pytest.mark.parametrize(
    ("size", "num_shares", "expected"),
    [("8GB", 1, "7630M"), ("8 GiB", 1, "8192M"), ("1GB", 3, "318M"), ("1.5TB", 1, "1430512M"),
     ("1B", 1, "1M")],
)  # fmt: skip
def test_memory_is_rounded_up(size: str, num_shares: int, expected: str) -> None:
    assert slurm_memory(size, num_shares) == expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:30:00", 1800), ("48:00:00", 172800), ("1-02:03:04", 93784)]
)
def test_walltime(text: str, seconds: int) -> None:
    assert walltime_s(text) == seconds


# --- jobs that hold workers -----------------------------------------------------------------------


@settings(max_examples=25)
@given(name=NAMES, value=WORDS)
def test_worker_jobs_get_their_words_unchanged(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str
) -> None:
    """The script is dask-jobqueue's; what stands in it of paths and values is ours."""
    slurm_jobs = pytest.importorskip("deploy.slurm_jobs", reason="dask-jobqueue is not installed")
    folder = tmp_path_factory.mktemp("hostile")
    here = folder / name
    here.mkdir()
    python = here / "python"
    python.write_text('#!/bin/bash\nprintf "%s\\0" "$@" > "$ARGV"\nprintenv -0 > "$ARGV.env"\n')
    python.chmod(0o755)
    tls = write_temporary_tls(here)
    value = value.replace("\n", "")
    profile = replace(
        PROFILE, local_directory=str(here), environment={"HOSTILE": value},
        slurm=Slurm(interface="lo|x"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        options = slurm_jobs._cluster_options(profile, tls, here)
    for key in ("scheduler_options", "silence_logs", "security", "name"):
        del options[key]
    job = slurm_jobs._WorkerJob("tls://node:1", name="x-w-0", config_name="slurm", **options)

    done = run_job(job.job_script(), here, folder, folder / "argv")

    assert done.returncode == 0, done.stderr
    words = (folder / "argv").read_bytes().decode().split("\0")
    assert words[words.index("--local-directory") + 1] == str(here)
    assert words[words.index("--interface") + 1] == "lo|x"
    assert words[words.index("--nthreads") + 1] == "1"
    environment = (folder / "argv.env").read_bytes().decode().split("\0")
    assert f"HOSTILE={value}" in environment
    certificates = as_environment(tls_settings(tls))
    assert {f"{key}={text}" for key, text in certificates.items()} <= set(environment)
    assert not list(folder.rglob(MARK))
    shutil.rmtree(folder)


def test_workers_leave_before_the_time_limit() -> None:
    slurm_jobs = pytest.importorskip("deploy.slurm_jobs", reason="dask-jobqueue is not installed")
    for walltime, lifetime_s, stagger_s in (("04:00:00", 14220, 60), ("00:01:00", 30, 6)):
        profile = replace(PROFILE, slurm=Slurm(walltime=walltime))
        words = slurm_jobs.worker_arguments(profile)
        assert words[words.index("--lifetime") + 1] == f"{lifetime_s}s"
        assert words[words.index("--lifetime-stagger") + 1] == f"{stagger_s}s"
        assert lifetime_s + stagger_s < walltime_s(walltime)
