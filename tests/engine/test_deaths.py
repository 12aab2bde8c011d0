"""Which bricks are blamed for dead processes, and which are not."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.deaths import (
    HUNG,
    KILLED,
    Death,
    bricks_to_blame,
    death_of,
    forget_deaths,
    read_deaths,
    record_death,
)
from engine.schedule import settle_deaths
from engine.worker_state import BEAT_S, WorkerMonitor, WorkerState


def death(bricks: dict[str, float], cause: str = KILLED, at: float = 0.0) -> Death:
    return Death("9-1", bricks, cause, "node1", 17, at)


def test_a_brick_over_which_processes_always_die_is_blamed_at_the_third() -> None:
    deaths = [death({"0001p000": 2.0})] * 2
    assert bricks_to_blame(deaths, 100.0, 200, max_deaths=3) == {}
    blamed = bricks_to_blame([*deaths, death({"0001p000": 1.0})], 100.0, 200, max_deaths=3)
    assert blamed == {"0001p000": "3 processes died while it was read"}


def test_a_few_bad_bricks_do_not_excuse_each_other() -> None:
    """Five of 366,898 bricks kill whoever reads them, after a minute each."""
    deaths = [death({f"000{number}p000": 60.0}) for number in range(5) for _ in range(3)]
    assert len(bricks_to_blame(deaths, 1.5e6, 366_898, max_deaths=3)) == 5


def test_a_hanging_brick_is_blamed_at_the_second() -> None:
    assert bricks_to_blame([death({"0001p000": 9.0}, HUNG)], 100.0, 9, 3) == {}
    twice = [death({"0001p000": 9.0}, HUNG)] * 2
    assert bricks_to_blame(twice, 100.0, 9, 3) == {
        "0001p000": "reading it did not come to an end, 2 times"
    }


@pytest.mark.parametrize("kills_per_s", [0.1, 0.3, 1.0])
def test_random_kills_hardly_ever_blame_a_brick(kills_per_s: float) -> None:
    """One worker on 40 bricks of 1 s each, killed at random; what was killed goes to the end of the
    queue, as in `engine.schedule`."""
    num_runs_with_blame = 0
    for seed in range(100):
        rng = random.Random(seed)
        deaths: list[Death] = []
        work_s = 0.0
        waiting = deque(f"{number:04d}p000" for number in range(40))
        blamed: set[str] = set()
        while waiting:
            name = waiting.popleft()
            until_kill = rng.expovariate(kills_per_s)
            if until_kill >= 1.0:
                work_s += 1.0
                continue
            deaths.append(death({name: until_kill}))
            blamed |= bricks_to_blame(deaths, work_s, 40, max_deaths=3).keys()
            if name not in blamed:
                waiting.append(name)
        num_runs_with_blame += bool(blamed)
    assert num_runs_with_blame <= 5


@given(st.lists(st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1e6))), st.floats(0, 1e9))
def test_nobody_is_blamed_for_fewer_deaths_than_allowed(
    bricks: list[dict[str, float]], work_s: float
) -> None:
    deaths = [death(names) for names in bricks]
    blamed = bricks_to_blame(deaths, work_s, 10, max_deaths=3)
    counts = {name: sum(name in names for names in bricks) for name in "abcde"}
    assert set(blamed) <= {name for name, count in counts.items() if count >= 3}


def test_deaths_are_kept_and_forgotten(tmp_path: Path) -> None:
    first, second = death({"a": 1.0}, at=2.0), death({"b": 1.0}, HUNG, at=1.0)
    record_death(tmp_path, first)
    record_death(tmp_path, second)
    (tmp_path / "deaths" / "damaged.json").write_text("{")
    assert read_deaths(tmp_path) == [second, first]
    forget_deaths(tmp_path, ["b", "c"])
    assert read_deaths(tmp_path) == [first]


def state(**changes: object) -> WorkerState:
    now = time.time()
    fields = {"host": "node1", "pid": 17, "started_at": now - 99, "updated_at": now - 40}
    return WorkerState(**{**fields, "partition": "9-1", **changes})  # type: ignore[arg-type]


def test_death_of_a_process_that_was_reading() -> None:
    begin = time.time() - 50
    found = death_of(state(bricks={"a": begin}, ahead={"b": begin}))
    assert found.cause == KILLED
    # Last heard of 10 s after it began, dead within a beat.
    assert list(found.bricks) == ["a"]
    assert abs(found.bricks["a"] - 10 - BEAT_S) < 1


def test_death_of_a_process_that_ended_itself_blames_what_hung() -> None:
    begin = time.time() - 50
    found = death_of(state(bricks={"a": begin, "b": begin}, hung=["b"]))
    assert (found.cause, list(found.bricks)) == (HUNG, ["b"])


def test_what_dead_processes_left_is_settled_and_live_ones_are_left_alone(tmp_path: Path) -> None:
    here = socket.gethostname()
    now = time.time()
    states = {
        "dead": state(host=here, pid=2**22 - 3, bricks={"a": now - 50}),
        "idle and dead": state(host=here, pid=2**22 - 4, partition=None),
        "alive": state(host=here, pid=os.getppid(), bricks={"b": now - 50}),
        "elsewhere, fresh": state(updated_at=now, bricks={"c": now}),
        "elsewhere, stale": state(pid=18, updated_at=now - 999, bricks={"d": now - 999}),
        "our own number": state(host=here, pid=os.getpid(), bricks={"e": now - 50}),
    }
    folder = tmp_path / "workers"
    folder.mkdir()
    for one in states.values():
        (folder / one.path_name).write_text(json.dumps(vars(one)))
    settle_deaths(tmp_path)
    assert {name for one in read_deaths(tmp_path) for name in one.bricks} == {"a", "d", "e"}
    left = {path.name for path in folder.iterdir()}
    assert left == {states["alive"].path_name, states["elsewhere, fresh"].path_name}


def test_monitor_names_a_brick_before_it_is_touched(tmp_path: Path) -> None:
    monitor = WorkerMonitor(tmp_path, brick_limit_s=1e9)
    monitor.start()
    path = tmp_path / "workers" / monitor.state.path_name
    with monitor.partition("9-1"), monitor.brick("0001p000"):
        said = json.loads(path.read_text())
        assert (said["partition"], list(said["bricks"])) == ("9-1", ["0001p000"])
    assert json.loads(path.read_text())["partition"] is None
    monitor.stop()
    assert not path.exists()
