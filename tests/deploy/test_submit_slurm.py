"""Jobs that `engine submit` writes, on a real Slurm: time limits, cancelling, one allocation."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.profiles import Limits, MachineProfile, ProfileError, Slurm, read_profile
from deploy.slurm_allocation import join_allocation
from deploy.slurm_queue import job_name, queued_jobs, submit_script
from deploy.slurm_script import DRIVER_LOG, job_script
from tests.engine.test_resume import leaf_digests

# Stands for `engine run`: notes each attempt, brings a receipt or not, and drains on SIGTERM.
_ENGINE = """\
import pathlib, signal, sys, time
run, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
attempts = run / "attempts"
attempts.mkdir(exist_ok=True)
number = len(list(attempts.iterdir()))
(attempts / str(number)).touch()
def drain(*_):
    (run / "receipts" / f"{number}.json").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, drain)
if kind == "resumes" and number:
    sys.exit(0)
if kind == "mistake":
    sys.exit(2)
if kind == "stops":
    sys.exit(143)
print("at work", flush=True)
time.sleep(600)
"""


def submit_fake(run_folder: Path, kind: str, **slurm: Any) -> str:
    """Submit a small long-running program as `engine run` would be."""
    for name in ("submit", "receipts"):
        (run_folder / name).mkdir(parents=True)
    program = run_folder / "engine.py"
    program.write_text(_ENGINE)
    profile = MachineProfile(
        kind="slurm",
        memory_limit="1GB",
        limits=Limits(drain_seconds=20.0),
        slurm=Slurm(driver_memory="100MB", **slurm),
    )
    command = [sys.executable, str(program), str(run_folder), kind]
    script = run_folder / "submit" / "job.sh"
    script.write_text(job_script(profile, run_folder, command))
    return submit_script(script)


def wait_for_end(run_folder: Path, timeout_s: float) -> str:
    """Until no job of the run is queued; returns what the driver wrote."""
    name, log = job_name(run_folder), run_folder / "submit" / DRIVER_LOG
    deadline = time.monotonic() + timeout_s
    while queued := queued_jobs(name):
        assert time.monotonic() < deadline, (queued, log.exists() and log.read_text())
        time.sleep(0.3)
    return log.read_text()


def wait_for_text(path: Path, text: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, (text, path.exists() and path.read_text())
        time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def limited_run(slurm_conf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job with a time limit of one minute. Slurm looks at limits every 30 s: the other tests
    need not wait for it."""
    run = tmp_path_factory.mktemp("limited") / "a 'b' $(touch never)\n ü"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(slurm_conf))
        submit_fake(run, "resumes", driver_walltime="00:01:00", warning_seconds=59)
    return run


def test_a_user_s_mistake_ends_the_job(slurm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    submit_fake(run, "mistake", resume="chain")
    text = wait_for_end(run, 60)
    assert "ended with exit code 2" in text
    assert text.count("begins with") == 1


def test_a_run_that_gets_nowhere_is_not_resumed_for_ever(slurm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    submit_fake(run, "stops")
    text = wait_for_end(run, 60)
    assert text.count("requeued") == 1
    assert "two attempts in a row brought no new receipt" in text


def test_a_cancelled_job_stays_cancelled(slurm: Path, tmp_path: Path) -> None:
    """It is told to stop and keeps what it has done, but does not requeue itself."""
    run = tmp_path / "run"
    job = submit_fake(run, "works")
    log = run / "submit" / DRIVER_LOG
    wait_for_text(log, "at work")
    subprocess.run(["scancel", "--me", f"--name={job_name(run)}"], check=True)
    text = wait_for_end(run, 60)
    wait_for_text(log, "not resumed: it was cancelled")
    assert [path.name for path in (run / "receipts").iterdir()] == ["0.json"]
    assert "requeued" not in text
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True)
    assert "JobState=CANCELLED" in shown.stdout


def test_a_successor_goes_on_where_requeue_is_not_allowed(slurm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = submit_fake(run, "resumes", resume="chain")
    log = run / "submit" / DRIVER_LOG
    wait_for_text(log, "at work")
    # What Slurm does `warning_seconds` before the limit.
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    text = wait_for_end(run, 60)
    first, second = int(job), int(job) + 1
    assert f"job {first}: ended with exit code 143 and 1 receipts" in text
    assert f"job {second}: ended with exit code 0 and 1 receipts" in text
    assert "begins with" not in text.split(f"job {second}: ended")[1]


_DRIVER = """\
import json, os, signal, sys, time
from pathlib import Path
from deploy.cluster import open_cluster
from deploy.profiles import read_profile
from deploy.slurm_allocation import join_allocation

def wait_until(holds):
    while not holds():
        time.sleep(0.1)

def main():
    profile = read_profile(Path(sys.argv[1]))
    run = Path(sys.argv[2])
    join_allocation(profile)
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    with open_cluster(profile, profile.workers, run) as cluster:
        client = cluster.client
        wait_until(lambda: cluster.num_live() == 2)
        (killed, _) = client.run(os.getpid).values()
        os.kill(killed, signal.SIGKILL)
        pids = lambda: client.run(os.getpid, on_error="ignore").values()
        wait_until(lambda: killed not in pids() and cluster.num_live() == 2)
        info = client.scheduler_info(n_workers=-1)
        report = {
            "addresses": [info["address"], *info["workers"]],
            "ranks": sorted(client.run(lambda: os.environ["SLURM_PROCID"]).values()),
            "environment": list(client.run(lambda: os.environ["PHOTOZ_HOSTILE"]).values()),
            "lost": cluster.replace_lost(),
            "waiting_for": cluster.waiting_for(),
            "says": cluster.describe(),
            "sum": sum(client.gather(client.map(lambda x: x * x, range(20)))),
        }
        before = sorted(pids())
        print("at work", flush=True)
        wait_until(lambda: told)
        # Told to stop, the driver still has its workers.
        time.sleep(0.5)
        report["same_workers"] = sorted(pids()) == before
        report["after_stop"] = client.submit(lambda: 7, pure=False).result(timeout=20)
    (run / "report.json").write_text(json.dumps(report))
    sys.exit(143)

if __name__ == "__main__":
    main()
"""


def test_one_allocation_holds_everything(slurm: Path, tmp_path: Path) -> None:
    run = tmp_path / "it's $(touch never)"
    (run / "submit").mkdir(parents=True)
    hostile = "it's `x` $(touch never)"
    (run / "submit" / "profile.toml").write_text(
        f"""
        kind = "slurm"
        workers = 2
        memory_limit = "500MB"
        [environment]
        PHOTOZ_HOSTILE = {json.dumps(hostile)}
        [slurm]
        layout = "allocation"
        interface = "lo"
        resume = "none"
        """
    )
    (run / "driver.py").write_text(_DRIVER)
    command = [sys.executable, str(run / "driver.py"), str(run / "submit/profile.toml"), str(run)]
    script = run / "submit" / "job.sh"
    profile = read_profile(run / "submit" / "profile.toml")
    script.write_text(job_script(profile, run, command))
    job = submit_script(script)
    log = run / "submit" / DRIVER_LOG
    wait_for_text(log, "at work", 60)
    (meeting,) = (run / "submit").glob("allocation-*")
    assert stat.S_IMODE(meeting.stat().st_mode) == 0o700
    assert stat.S_IMODE((meeting / "key.pem").stat().st_mode) == 0o600
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    text = wait_for_end(run, 60)
    assert "ended with exit code 143" in text
    assert "Traceback" not in text
    assert not meeting.exists()
    report = json.loads((run / "report.json").read_text())
    assert len(report["addresses"]) == 3
    assert all(address.startswith("tls://") for address in report["addresses"])
    assert report["ranks"] == ["2", "3"]
    assert report["environment"] == [hostile] * 2
    assert (report["lost"], report["waiting_for"]) == ([], None)
    assert f"2 of 2 workers are there; they are tasks of Slurm job {job}" in report["says"]
    assert (report["sum"], report["same_workers"], report["after_stop"]) == (2470, True, 7)


def test_an_allocation_ends_with_its_driver(slurm: Path, tmp_path: Path) -> None:
    """Whether it never needs its workers, or is killed."""
    (tmp_path / "driver.py").write_text(
        "import os, sys\nfrom pathlib import Path\n"
        "from deploy.profiles import read_profile\n"
        "from deploy.slurm_allocation import join_allocation\n"
        "if __name__ == '__main__':\n"
        "    join_allocation(read_profile(Path(sys.argv[1])))\n"
        "    os.kill(os.getpid(), 9) if sys.argv[2] == 'killed' else sys.exit(3)\n"
    )
    profile_file = tmp_path / "profile.toml"
    profile_file.write_text(
        'kind = "slurm"\nworkers = 1\nmemory_limit = "500MB"\n'
        '[slurm]\nlayout = "allocation"\ninterface = "lo"\nresume = "none"\n'
    )
    for kind, code in (("done", 3), ("killed", 137)):
        run = tmp_path / kind
        (run / "submit").mkdir(parents=True)
        command = [sys.executable, str(tmp_path / "driver.py"), str(profile_file), kind]
        (run / "submit" / "profile.toml").write_text(profile_file.read_text())
        script = run / "submit" / "job.sh"
        script.write_text(job_script(read_profile(profile_file), run, command))
        submit_script(script)
        text = wait_for_end(run, 60)
        assert f"ended with exit code {code} and 0 receipts" in text
        assert not list((run / "submit").glob("allocation-*"))


def test_an_allocation_needs_three_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = MachineProfile(kind="slurm", memory_limit="1GB", slurm=Slurm(layout="allocation"))
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(ProfileError, match="no task of a Slurm job"):
        join_allocation(profile)
    for name, value in (
        ("PROCID", 1),
        ("NTASKS", 2),
        ("LOCALID", 1),
        ("JOB_ID", 1),
        ("STEP_ID", 0),
    ):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    with pytest.raises(ProfileError, match="2 tasks in the job"):
        join_allocation(profile)
    join_allocation(MachineProfile())  # Nothing to join.


# --- the engine itself ----------------------------------------------------------------------------

_PROFILE = """
kind = "slurm"
workers = 2
memory_limit = "2GB"
[slurm]
layout = "{layout}"
interface = "lo"
driver_memory = "2GB"
"""


def submit_run(
    engine: Callable[..., str], survey: Path, run_folder: Path, profile: str
) -> dict[str, Any]:
    """`engine submit` of a survey; waits for the end; returns what it printed and the log."""
    profile_file = run_folder.parent / f"{run_folder.name}.toml"
    profile_file.write_text(profile)
    arguments = ["--profile", profile_file, "--survey", survey, "--output", run_folder]
    report: dict[str, Any] = json.loads(engine("submit", *arguments, "--json"))
    report["text"] = wait_for_end(run_folder, 120)
    return report


@pytest.mark.parametrize("layout", ["jobs", "allocation"])
def test_a_survey_is_run(
    slurm: Path,
    tmp_path: Path,
    engine: Callable[..., str],
    mock_survey: Path,
    finished_run: Path,
    layout: str,
) -> None:
    """The same catalogue as in one process, byte for byte."""
    run_folder = tmp_path / f"a {layout} 'run'"
    report = submit_run(engine, mock_survey, run_folder, _PROFILE.format(layout=layout))
    assert "ended with exit code 0" in report["text"]
    assert "Traceback" not in report["text"]
    assert report["job_name"] == job_name(run_folder)
    assert leaf_digests(run_folder) == leaf_digests(finished_run)


def test_a_time_limit_is_survived(slurm: Path, limited_run: Path) -> None:
    """Slurm warned the job, the run stopped, and the next attempt of the same job ended it."""
    text = wait_for_end(limited_run, 120)
    attempts = [line.split(": ", 1)[1] for line in text.splitlines() if " job " in line]
    assert attempts == [
        "begins with 0 receipts",
        "time limit in about 59 s: the run is told to stop",
        "ended with exit code 143 and 1 receipts",
        "requeued",
        "begins with 1 receipts",
        "ended with exit code 0 and 1 receipts",
    ]


@pytest.mark.slow
def test_a_survey_is_run_through_a_lost_job_and_a_time_limit(
    slurm: Path,
    tmp_path: Path,
    engine: Callable[..., str],
    mock_survey: Path,
) -> None:
    """Of two jobs with workers one is cancelled and replaced; the other is suspended, so that the
    run cannot end before the driver's time limit. The requeued driver ends it."""
    serial = tmp_path / "serial"
    fine = ("--survey", mock_survey, "--healpix-nside", 512)
    engine("run", *fine, "--workers", 0, "--output", serial)
    run_folder = tmp_path / "run"
    profile = tmp_path / "machine.toml"
    limits = 'driver_walltime = "00:02:00"\nwarning_seconds = 60\n[limits]\ndrain_seconds = 2\n'
    profile.write_text(_PROFILE.format(layout="jobs") + limits)
    said = json.loads(
        engine("submit", *fine, "--profile", profile, "--output", run_folder, "--json")
    )
    assert said["watch"][0] == f"engine status {run_folder} --watch"
    workers = f"{said['job_name']}-w"
    deadline = time.monotonic() + 60
    while not list(run_folder.glob("receipts/*.json")):
        assert time.monotonic() < deadline, (run_folder / "submit" / DRIVER_LOG).read_text()
        time.sleep(0.02)
    suspended, cancelled = sorted(
        job for job, queued in queued_jobs(workers).items() if queued.state == "RUNNING"
    )
    subprocess.run(["scontrol", "suspend", suspended], check=True)
    subprocess.run(["scancel", cancelled], check=True)
    text = wait_for_end(run_folder, 200)
    assert f"worker jobs gone from the queue: {cancelled}; submitted in their place: " in text
    assert "time limit in about 60 s" in text
    assert "requeued" in text
    assert text.count("ended with exit code 143") == 1
    assert text.count("ended with exit code 0") == 1
    assert not queued_jobs(workers)
    assert leaf_digests(run_folder) == leaf_digests(serial)
    assert "passed" in engine("verify", run_folder / "catalogue")


@pytest.mark.slow
def test_an_array_of_jobs_makes_the_same_catalogue(
    slurm: Path, tmp_path: Path, mock_survey: Path, finished_run: Path
) -> None:
    """As docs/cluster.md says, for sites that want no scheduler inside jobs."""
    run_folder = tmp_path / "run"
    options = ("--survey", str(mock_survey), "--output", str(run_folder))
    command = shlex.join([sys.executable, "-m", "engine", "run", *options])
    array = ("--array=0-2", "--mem=1G", f"--output={tmp_path}/%a.log")
    subprocess.run(
        ["sbatch", "--wait", *array, f"--wrap={command} --index $SLURM_ARRAY_TASK_ID --of 3"],
        check=True,
        timeout=120,
    )
    assert "job 2 of 3" in (tmp_path / "2.log").read_text()
    assert leaf_digests(run_folder) == leaf_digests(finished_run)
