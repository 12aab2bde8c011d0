"""`engine status` on real runs: watched from a second process, killed, resumed; on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.activity import FINISHED, PHASES, RUNNING, STOPPED
from engine.worker_state import STALE_S, WorkerMonitor, read_worker_states

Engine = Callable[..., str]

_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "engine", *(str(argument) for argument in arguments)]


def activity(engine: Engine, run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine("status", run, "--json"))["activity"]
    return found


def snapshot(folder: Path) -> dict[str, int]:
    """Every file and folder with its modification time."""
    paths = (folder, *folder.rglob("*"))
    return {str(path): path.stat().st_mtime_ns for path in paths}


def age_states(run: Path, seconds: float) -> None:
    """Let the files of processes be of an earlier time."""
    for path in (*run.glob("driver*.json"), *run.glob("workers/*.json")):
        state = json.loads(path.read_text())
        state["updated_at"] -= seconds
        path.write_text(json.dumps(state))


def write_driver(run: Path, name: str = "driver.json", **changes: object) -> None:
    state = {
        **{"host": socket.gethostname(), "pid": os.getpid(), "machine": "2 workers"},
        **{"started_at": time.time() - 5, "updated_at": time.time(), "num_workers": 2},
        **{"dashboard_url": None, "message": "1 job replaced", "num_remaining": 1},
    }
    (run / name).write_text(json.dumps({**state, **changes}))


@pytest.fixture
def open_run(run_copy: Path) -> tuple[Path, str, list[str]]:
    """A run of which one partition is not done; its name and its bricks."""
    receipt = min((run_copy / "receipts").iterdir())
    bricks = list(json.loads(receipt.read_text())["bricks"])
    receipt.unlink()
    return run_copy, receipt.stem, bricks


@contextmanager
def worker(run: Path, partition: str, brick: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has a brick in work, and says so as workers do."""
    script = f"""
from pathlib import Path
from engine.worker_state import WorkerMonitor
monitor = WorkerMonitor(Path({str(run)!r}), float("inf"))
monitor.start()
monitor.add(7, {{"decode": 0.25, "infer": 0.75}})
with monitor.partition({partition!r}), monitor.brick({brick!r}):
    print("begun", flush=True)
    input()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_of_this_host_is_seen_and_missed(
    engine: Engine, open_run: tuple[Path, str, list[str]]
) -> None:
    run, partition, bricks = open_run
    assert activity(engine, run)["phase"] == STOPPED
    write_driver(run)
    assert activity(engine, run)["phase"] == "waiting for workers"
    with worker(run, partition, bricks[0]) as process:
        said = activity(engine, run)
        assert said["phase"] == RUNNING
        assert (said["num_partitions_in_work"], said["num_partitions_remaining"]) == (1, 0)
        num_done = min(1, len(bricks) - 1)
        assert (said["num_bricks_in_work"], said["num_bricks_done_in_work"]) == (1, num_done)
        assert said["longest"]["brick"] == bricks[0]
        assert (said["num_workers_alive"], said["num_workers_wanted"]) == (1, 2)
        assert said["step_fractions"] == {"decode": 0.25, "infer": 0.75}
        text = engine("status", run, "--workers")
        assert re.search(rf"^ +{process.pid}  {partition} +{bricks[0]} ", text, re.MULTILINE)
        assert "workers    1 alive of 2" in text
        assert "news       1 job replaced" in text
        process.kill()
        process.wait()
    # It is believed for a while, then looked for: its number is nobody's.
    assert activity(engine, run)["num_workers_alive"] == 1
    age_states(run, 20)
    write_driver(run, started_at=time.time() - 100)
    said = activity(engine, run)
    assert said["phase"] == "waiting for workers"
    assert said["num_workers_stale"] == 1


def test_a_worker_of_another_host_is_believed_until_it_is_stale(
    engine: Engine, open_run: tuple[Path, str, list[str]]
) -> None:
    """Its number is looked up nowhere: on this host it may be another process's or nobody's."""
    run, partition, bricks = open_run
    monitor = WorkerMonitor(run, float("inf"))
    monitor.state.host, monitor.state.pid = "elsewhere", 2**22 + 1
    (run / "workers").mkdir(exist_ok=True)
    with monitor.partition(partition), monitor.brick(bricks[0]):
        age_states(run, STALE_S - 10)
        assert activity(engine, run)["phase"] == RUNNING
        age_states(run, 11)
        assert activity(engine, run)["phase"] == STOPPED
        text = " ".join(engine("status", run).split())
        assert (
            f"1 not heard of (the longest: elsewhere process {2**22 + 1} over {bricks[0]}" in text
        )


def test_nothing_is_written_into_the_run(
    engine: Engine, open_run: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    run, _, _ = open_run
    write_driver(run)
    WorkerMonitor(run, float("inf")).start()
    before = {name: at for name, at in snapshot(run).items() if "/workers" not in name}
    metrics = tmp_path / "photoz.prom"
    engine("status", run, "--prometheus", metrics, "--workers")
    assert {name: at for name, at in snapshot(run).items() if "/workers" not in name} == before
    families = {f.name: f for f in text_string_to_metric_families(metrics.read_text())}
    assert families["photoz_workers"].samples[0].labels["run"] == str(run)
    inside = engine("status", run, "--prometheus", run / "photoz.prom", expect=2)
    assert "it lies in the run directory" in inside
    assert inside.count("\n") == 1


def test_a_run_that_begins_has_no_plan_yet(engine: Engine, tmp_path: Path) -> None:
    assert "no run there" in engine("status", tmp_path, "--watch", expect=2)
    write_driver(tmp_path)
    assert json.loads(engine("status", tmp_path, "--json"))["activity"]["phase"] == "planning"
    assert "planning, 2 workers" in engine("status", tmp_path)


def test_watch_ends_with_the_code_of_the_run(
    engine: Engine, finished_run: Path, run_copy: Path
) -> None:
    line = engine("status", finished_run, "--watch", "--every", 60)
    assert re.fullmatch(r"[-\d]+T[:\d]+Z  finished  partitions 3/3  bricks 8/8  .*\n", line), line
    lines = engine("status", finished_run, "--watch", "--json").splitlines()
    assert [json.loads(line)["activity"]["phase"] for line in lines] == [FINISHED]
    path = min((run_copy / "receipts").iterdir())
    receipt = json.loads(path.read_text())
    name, _ = receipt["bricks"].popitem()
    receipt["quarantined"][name] = "image-g: truncated"
    path.write_text(json.dumps(receipt))
    assert "bricks 7/8  quarantined 1" in engine("status", run_copy, "--watch", expect=3)
    assert "quarantined" in engine("status", run_copy)
    assert "--watch" in engine("status", run_copy, "--every", 3, expect=2)


@pytest.mark.slow
def test_a_run_is_watched_while_it_is_killed_and_resumed(
    engine: Engine, mock_survey: Path, tmp_path: Path
) -> None:
    run, metrics = tmp_path / "run", tmp_path / "photoz.prom"
    run_command = command(
        *("run", "--survey", mock_survey, "--output", run),
        *("--healpix-nside", 512, "--workers", 0),
    )
    killed = subprocess.Popen(run_command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(run.glob("receipts/*.json")):
        assert killed.poll() is None
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    age_states(run, 20)
    num_done = len(list(run.glob("receipts/*.json")))
    said = activity(engine, run)
    assert said["phase"] == STOPPED
    assert said["num_partitions_done"] == num_done
    assert said["eta_s"] is None
    resumed = subprocess.Popen(run_command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    text = engine(
        *("status", run, "--watch", "--json", "--every", 0.2, "--prometheus", metrics)
    )  # Returns when the run is finished.
    assert resumed.wait() == 0
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["activity"]["phase"] == STOPPED
    states = [line["activity"] for line in lines]
    assert {state["phase"] for state in states} <= set(PHASES)
    assert states[-1]["phase"] == FINISHED
    done = [state["num_partitions_done"] for state in states]
    assert done[0] == num_done
    assert done == sorted(done)
    assert done[-1] == 8
    assert len(set(done)) > 2  # It was watched while it went on.
    for state in states:
        assert (
            state["num_partitions"]
            == 8
            == (
                state["num_partitions_done"]
                + state["num_partitions_in_work"]
                + state["num_partitions_remaining"]
            )
        )
    last = json.loads(engine("status", run, "--json"))
    assert {**last, "activity": 0} == {**lines[-1], "activity": 0}
    values = {
        tuple(sample.labels.values())[1]: sample.value
        for family in text_string_to_metric_families(metrics.read_text())
        for sample in family.samples
        if sample.name == "photoz_partitions"
    }
    assert values == {"done": 8, "in_work": 0, "remaining": 0}


@pytest.mark.slow
def test_on_a_terminal_it_redraws_and_ctrl_c_ends_it(
    open_run: tuple[Path, str, list[str]],
) -> None:
    run, partition, bricks = open_run
    write_driver(run, machine="profile slurm-gpu-of-a-centre-with-a-long-name", num_workers=128)
    monitor = WorkerMonitor(run, float("inf"))
    monitor.start()
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with monitor.partition(partition), monitor.brick(bricks[0]):
        watching = subprocess.Popen(
            command("status", os.path.relpath(run), "--watch", "--workers", "--every", 0.2),
            stdout=child,
            stderr=subprocess.STDOUT,
        )
        os.close(child)
        text = ""
        while text.count("\x1b[H") < 4:
            text += os.read(parent, 4096).decode()
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 0
    monitor.stop()
    os.close(parent)
    drawing = text.split("\x1b[H")[2]
    assert drawing.rstrip().endswith("\x1b[J")
    assert "\x1b[1m" in drawing  # The phase is bold.
    lines = _CODES.sub("", drawing).replace("\r", "").splitlines()
    assert len(lines) < 24
    assert max(len(line) for line in lines[1:]) <= 80
    for label in ("phase", "partitions", "bricks", "workers", "longest", "news"):
        assert [line for line in lines if line.startswith(label.ljust(11))], label
    assert any(f"{os.getpid()}  {partition}" in line for line in lines)
    assert read_worker_states(run) == []
