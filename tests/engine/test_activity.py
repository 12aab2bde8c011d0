"""What is said of a run adds up, whatever its files say; and is right where it can be known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.activity import (
    FINISHED,
    FINISHING,
    PHASES,
    PLANNING,
    RUNNING,
    STOPPED,
    WAITING,
    RunFiles,
    run_activity,
)
from engine.activity_display import activity_lines, duration_text, log_line, worker_lines
from engine.deaths import Death, read_deaths
from engine.driver_state import DriverState, read_drivers
from engine.receipt_facts import ReceiptFacts
from engine.worker_state import STALE_S, WorkerState

NOW = 1_800_000_000.0


def facts(
    bricks: list[str],
    finished_at: float,
    elapsed_s: float,
    process: int = 1,
    host: str | None = None,
    num_quarantined: int = 0,
    sources_per_brick: int = 100,
) -> ReceiptFacts:
    num_bricks = len(bricks) - num_quarantined
    return ReceiptFacts(
        num_bricks=num_bricks,
        num_sources=sources_per_brick * num_bricks,
        num_rows=sources_per_brick * num_bricks,
        num_not_primary=0,
        num_dup=0,
        decoded={},
        covered_deg2={},
        targets_left_out={},
        seconds={"decode": 2.0 * num_bricks, "infer": 6.0 * num_bricks},
        quarantined=dict.fromkeys(bricks[num_bricks:], "truncated"),
        leaf_rows={},
        finished_at=finished_at,
        elapsed_s=elapsed_s,
        process=process,
        host=host,
    )


def driver(**changes: object) -> DriverState:
    usual = DriverState(
        host="login",
        pid=1,
        started_at=NOW - 1000,
        updated_at=NOW - 1,
        machine="profile slurm-gpu",
        num_workers=2,
        num_remaining=9,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


# --- anything -----------------------------------------------------------------------------------

_BRICKS = [f"{number:04d}p000" for number in range(30)]
_times = st.floats(NOW - 5000, NOW + 5)
_counts = st.integers(0, 40)


@st.composite
def run_files(draw: st.DrawFn) -> RunFiles:
    """Real plans and receipts; workers that say anything, of each other's partitions too."""
    sizes = draw(st.lists(st.integers(1, 5), max_size=6))
    planned: dict[str, list[str]] = {}
    for number, size in enumerate(sizes):
        begin = sum(sizes[:number])
        planned[f"5-{number}"] = _BRICKS[begin : begin + size]
    receipts = {
        name: facts(
            bricks,
            draw(_times),
            draw(st.floats(0, 500)),
            draw(st.integers(1, 3)),
            draw(st.sampled_from([None, "a", "b"])),
            draw(st.integers(0, len(bricks))),
        )
        for name, bricks in planned.items()
        if draw(st.booleans())
    }
    workers = [
        WorkerState(
            host=draw(st.sampled_from("ab")),
            pid=draw(st.integers(1, 3)),
            started_at=started_at,
            updated_at=draw(st.floats(started_at, NOW + 5)),
            decode_processes=draw(st.integers(0, 3)),
            partition=draw(st.sampled_from([None, "9-9", *planned])),
            bricks=draw(st.dictionaries(st.sampled_from(_BRICKS), _times, max_size=3)),
            ahead=draw(st.dictionaries(st.sampled_from(_BRICKS), _times, max_size=3)),
            num_bricks=draw(_counts),
            num_sources=draw(_counts),
            seconds=draw(st.dictionaries(st.sampled_from(["decode", "infer"]), st.floats(0, 99))),
            gpu_percent=draw(st.sampled_from([None, 0.0, 50.0])),
        )
        for started_at in draw(st.lists(_times, max_size=4))
    ]
    drivers = [
        driver(started_at=begin, updated_at=draw(st.floats(begin, NOW + 5)))
        for begin in draw(st.lists(_times, max_size=2))
    ]
    return RunFiles(
        planned=draw(st.sampled_from([planned, planned, planned, None])),
        receipts=receipts,
        workers=workers,
        drivers=drivers,
        gone={("a", 2)} if draw(st.booleans()) else set(),
        is_finished=len(receipts) == len(planned) and draw(st.booleans()),
        wip_changed_at=draw(_times),
    )


@given(run_files())
def test_the_parts_are_the_whole(files: RunFiles) -> None:
    said = run_activity(files, NOW)
    assert said.phase in PHASES
    partitions = (
        said.num_partitions_done,
        said.num_partitions_in_work,
        said.num_partitions_remaining,
    )
    bricks = (
        said.num_bricks_done,
        said.num_bricks_quarantined,
        said.num_bricks_done_in_work,
        said.num_bricks_in_work,
        said.num_bricks_remaining,
    )
    planned = files.planned or {}
    assert sum(partitions) == said.num_partitions == len(planned)
    assert sum(bricks) == said.num_bricks == sum(len(names) for names in planned.values())
    assert min(*partitions, *bricks, said.num_sources) >= 0
    assert said.num_workers_alive + said.num_workers_stale == len(said.workers)
    for rate in (said.recent, said.overall):
        assert rate is None or min(rate.bricks_per_s, rate.sources_per_s) >= 0
    assert said.eta_s is None or said.eta_s > 0
    assert not said.step_fractions or sum(said.step_fractions.values()) == pytest.approx(1)
    for fraction in (said.network_fraction, said.decode_fraction, said.gpu_percent):
        assert fraction is None or fraction >= 0


@given(run_files(), st.integers(40, 130))
def test_every_line_fits_the_terminal(files: RunFiles, width: int) -> None:
    death = Death("5-1", {"0001p000": 3.0}, "killed", "a", 2, NOW - 60)
    said = run_activity(replace(files, deaths=[death] * 7), NOW)
    lines = plain(activity_lines(said, width))
    assert all(len(line) <= width for line in lines)
    assert {line[:11] for line in lines} >= {"phase      ", "partitions ", "bricks     "}
    plainest = plain(activity_lines(said, width, "ascii"))
    assert "\n".join(plainest).isascii()
    assert [len(line) for line in plainest] == [len(line) for line in lines]
    assert all(len(line) <= 80 for line in worker_lines(said.workers))
    assert "\n" not in log_line(said)


def plain(lines: list[str]) -> list[str]:
    for code in ("\x1b[1m", "\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
        lines = [line.replace(code, "") for line in lines]
    return lines


# --- a run that is known ------------------------------------------------------------------------

BRICK_S = 10.0
NUM_WORKERS = 3
BRICKS_PER_PARTITION = 7


def steady_run(elapsed_s: float, num_partitions: int = 30) -> RunFiles:
    """Workers that began `elapsed_s` ago, do a brick every 10 s and take partitions in turn."""
    planned = {
        f"5-{number}": [f"{number:04d}p{brick:03d}" for brick in range(BRICKS_PER_PARTITION)]
        for number in range(num_partitions)
    }
    begin = NOW - elapsed_s
    receipts, workers = {}, []
    partition_s = BRICKS_PER_PARTITION * BRICK_S
    num_each, rest_s = divmod(elapsed_s, partition_s)
    for worker in range(NUM_WORKERS):
        pid, host = 100 + worker % 2, f"gpu{worker}"
        for turn in range(int(num_each)):
            name = f"5-{turn * NUM_WORKERS + worker}"
            end = begin + (turn + 1) * partition_s
            receipts[name] = facts(planned[name], end, partition_s, pid, host)
        num_bricks = int(rest_s // BRICK_S)
        name = f"5-{int(num_each) * NUM_WORKERS + worker}"
        all_bricks = int(num_each) * BRICKS_PER_PARTITION + num_bricks
        workers.append(
            WorkerState(
                host=host,
                pid=pid,
                started_at=begin,
                updated_at=NOW,
                decode_processes=2,
                partition=name,
                bricks={planned[name][num_bricks]: NOW - rest_s % BRICK_S - worker},
                num_bricks=all_bricks,
                num_sources=100 * all_bricks,
                seconds={"decode": 4.0 * all_bricks, "infer": 6.0 * all_bricks},
            )
        )
    drivers = [driver(started_at=begin, num_workers=NUM_WORKERS)]
    return RunFiles(planned, receipts, workers, drivers)


@pytest.mark.parametrize("elapsed_s", [50.0, 400.0, 640.0])
def test_rates_and_time_left_of_a_steady_run(elapsed_s: float) -> None:
    said = run_activity(steady_run(elapsed_s), NOW)
    assert said.phase == RUNNING
    assert said.num_bricks_done + said.num_bricks_done_in_work == 3 * elapsed_s // BRICK_S
    assert said.num_sources == 100 * (3 * elapsed_s // BRICK_S)
    assert said.num_bricks_in_work == said.num_partitions_in_work == NUM_WORKERS
    assert said.recent is not None
    assert said.overall is not None
    assert said.recent.bricks_per_s == pytest.approx(NUM_WORKERS / BRICK_S, rel=0.02)
    assert said.overall.sources_per_s == pytest.approx(100 * NUM_WORKERS / BRICK_S, rel=0.02)
    assert said.eta_s is not None
    left = 30 * BRICKS_PER_PARTITION - 3 * elapsed_s // BRICK_S
    assert said.eta_s == pytest.approx(left * BRICK_S / NUM_WORKERS, rel=0.02)
    assert said.network_fraction == pytest.approx(0.6, rel=0.02)
    assert said.decode_fraction == pytest.approx(0.4 / 2, rel=0.02)
    assert said.step_fractions == pytest.approx({"decode": 0.4, "infer": 0.6})
    assert said.longest is not None
    assert said.longest.host == "gpu2"


def test_a_night_between_two_attempts_is_no_time_of_the_run() -> None:
    files = steady_run(340.0)
    night, partition_s = NOW - 30_000.0, BRICKS_PER_PARTITION * BRICK_S
    earlier = {
        f"5-{number}": facts(
            list(files.planned[f"5-{number}"]), night + (number // 3) * partition_s, partition_s, 9
        )
        for number in range(24, 30)
    }
    said = run_activity(replace(files, receipts={**files.receipts, **earlier}), NOW)
    for rate in (said.overall, said.recent):
        assert rate is not None
        assert rate.bricks_per_s == pytest.approx(NUM_WORKERS / BRICK_S, rel=0.01)


def test_phases() -> None:
    files = steady_run(640.0)
    quiet = [replace(state, updated_at=NOW - STALE_S - 1) for state in files.workers]
    all_done = {name: facts(list(bricks), NOW - 100, 50) for name, bricks in files.planned.items()}
    cases = {
        RUNNING: files,
        WAITING: replace(files, workers=[]),
        STOPPED: replace(files, workers=quiet, drivers=[driver(updated_at=NOW - STALE_S - 1)]),
        PLANNING: replace(files, planned=None),
        FINISHING: replace(files, receipts=all_done, workers=[]),
        FINISHED: replace(files, receipts=all_done, drivers=[], is_finished=True),
    }
    assert {run_activity(case, NOW).phase for case in cases.values()} == set(PHASES)
    for phase, case in cases.items():
        assert run_activity(case, NOW).phase == phase
    merging = replace(files, receipts=all_done, workers=[], drivers=[], wip_changed_at=NOW - 3)
    assert run_activity(merging, NOW).phase == FINISHING
    assert run_activity(replace(merging, wip_changed_at=NOW - 600), NOW).phase == STOPPED


def test_workers_that_are_silent_or_gone_or_of_an_earlier_attempt() -> None:
    files = steady_run(640.0)
    first, second, third = files.workers
    silent = replace(second, updated_at=NOW - STALE_S - 1)
    earlier = replace(third, updated_at=files.drivers[0].started_at - 1)
    gone = {(first.host, first.pid)}
    said = run_activity(replace(files, workers=[first, silent, earlier], gone=gone), NOW)
    assert (said.num_workers_alive, said.num_workers_wanted, said.num_workers_stale) == (0, 3, 2)
    assert said.phase == WAITING
    assert said.num_partitions_in_work == said.num_bricks_in_work == 0
    text = " ".join(" ".join(activity_lines(said)).split())
    assert f"0 alive of 3, 2 not heard of (the longest: gpu1 process {second.pid} over" in text
    assert worker_lines(said.workers)[2].endswith("silent 0s")
    assert worker_lines(said.workers)[4].endswith("silent 1m01s")


def test_the_same_pid_on_two_hosts_is_two_processes() -> None:
    """Receipts that name no host are then counted against both, never for one too much."""
    files = steady_run(400.0)
    without = {name: replace(one, host=None) for name, one in files.receipts.items()}
    told = run_activity(files, NOW)
    untold = run_activity(replace(files, receipts=without), NOW)
    assert untold.num_bricks_done == told.num_bricks_done
    assert untold.num_bricks_done_in_work <= told.num_bricks_done_in_work == 15
    assert untold.num_bricks_in_work == told.num_bricks_in_work


def test_files_that_are_damaged_or_of_another_version_are_passed_over(tmp_path: Path) -> None:
    assert read_drivers(tmp_path) == read_deaths(tmp_path) == []
    state = driver(message="1 job replaced")
    (tmp_path / "driver.json").write_text(json.dumps({**vars(state), "later": 1}))
    (tmp_path / "driver-3.json").write_text('{"host": "a"')
    (tmp_path / "driver-4.json").write_text('{"host": "a"}')
    (tmp_path / "driver-5.json").write_text("[1]")
    assert read_drivers(tmp_path) == [state]
    death = Death("5-1", {"0001p000": 3.0}, "hung", "a", 2, NOW)
    (tmp_path / "deaths").mkdir()
    (tmp_path / "deaths" / "1.json").write_text(json.dumps(vars(death)))
    (tmp_path / "deaths" / "2.json").write_bytes(b"\xff\xfe")
    assert read_deaths(tmp_path) == [death]


def test_durations() -> None:
    assert [duration_text(s) for s in (0.4, 59.6, 90, 3600, 100_000)] == [
        "0s",
        "1m00s",
        "1m30s",
        "1h00m",
        "1d03h",
    ]
