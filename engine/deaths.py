"""Processes that died over a brick, and which bricks are to blame for it.

    RUN/deaths/<id>.json    one per death: the bricks in work, and for how long they had been

A brick that kills the process that reads it, or never lets it go on, must not stop a run; a brick
that happened to be in work when somebody pulled a plug must not be left out. So a brick is blamed
only for deaths that chance does not explain.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.stats import poisson

from engine.atomic import to_json, write_atomic
from engine.worker_state import BEAT_S, WorkerState

DEATHS_FOLDER = "deaths"
KILLED = "killed"
HUNG = "hung"
MAX_HANGS = 2
"""A brick that was cut off this often for taking too long is set aside: a stuck file server may
have a bad hour, hence not at the first."""
_MAX_EXPECTED = 0.001
"""Bricks that the formula may blame by chance. Deaths are counted until a brick succeeds, which it
does not know of; in simulated storms that kill two of three attempts one run in a hundred blames
a brick (tests/engine/test_deaths.py)."""


@dataclass(frozen=True)
class Death:
    """One process that died, or was ended, in the middle of a partition."""

    partition: str
    bricks: dict[str, float]
    """Bricks in work -> seconds they had been."""
    cause: str
    """`killed`, or `hung`: ended because a brick took longer than the limit."""
    host: str
    pid: int
    at: float
    """Unix time, s."""


def record_death(folder: Path, death: Death) -> None:
    """Write a death into a run directory."""
    path = folder / DEATHS_FOLDER / f"{uuid.uuid4().hex[:12]}.json"
    write_atomic(path, to_json(asdict(death)))


def read_deaths(folder: Path) -> list[Death]:
    """All deaths of a run, oldest first; files that cannot be read are passed over."""
    deaths = []
    for path in (folder / DEATHS_FOLDER).glob("*.json"):
        with suppress(OSError, ValueError, TypeError):
            deaths.append(Death(**json.loads(path.read_text())))
    return sorted(deaths, key=lambda death: death.at)


def forget_deaths(folder: Path, bricks: Iterable[str]) -> None:
    """Remove the deaths in which one of these bricks was in work: they are given another chance."""
    wanted = set(bricks)
    for path in (folder / DEATHS_FOLDER).glob("*.json"):
        with suppress(OSError, ValueError, TypeError):
            if wanted & Death(**json.loads(path.read_text())).bricks.keys():
                path.unlink()


def death_of(state: WorkerState) -> Death:
    """The death of a process from the last that it said of itself.

    It died at most one beat after it was last heard of. If it ended itself over a brick that
    hung, only that one was the cause.
    """
    begun = {name: state.bricks[name] for name in state.hung if name in state.bricks}
    now = time.time()
    end = min(now, state.updated_at + BEAT_S)
    return Death(
        partition=state.partition or "",
        bricks={
            name: round(max(0.0, end - begin), 3) for name, begin in (begun or state.bricks).items()
        },
        cause=HUNG if begun else KILLED,
        host=state.host,
        pid=state.pid,
        at=now,
    )


def bricks_to_blame(
    deaths: Iterable[Death], work_s: float, num_bricks: int, max_deaths: int
) -> dict[str, str]:
    """Bricks that are to be set aside -> why.

    A brick that hung `MAX_HANGS` times. And one over which at least `max_deaths` processes died,
    if that is more than chance: with D deaths elsewhere in T seconds of all work, a brick that was
    in work for t seconds meets on average D t / T. That as many deaths as it has seen come about
    by chance (Poisson), times the number of bricks that could have been so unlucky, must be
    below 0.001. Where processes die all over the place no brick is blamed.

    Parameters
    ----------
    deaths
        All deaths of the run.
    work_s
        Seconds of work in all finished partitions, summed over workers.
    num_bricks
        Bricks of the run.
    max_deaths
        Fewer deaths than this never blame a brick.
    """
    killed, hangs = Counter[str](), Counter[str]()
    exposure_s: defaultdict[str, float] = defaultdict(float)
    num_killed = 0
    for death in deaths:
        if death.cause == HUNG:
            hangs.update(death.bricks.keys())
            continue
        num_killed += 1
        for name, seconds in death.bricks.items():
            killed[name] += 1
            exposure_s[name] += seconds
    total_s = work_s + sum(exposure_s.values())
    blamed = {}
    for name, count in killed.items():
        if count < max_deaths:
            continue
        elsewhere_s = max(total_s - exposure_s[name], 1e-9)
        expected = (num_killed - count) / elsewhere_s * exposure_s[name]
        if num_bricks * float(poisson.sf(count - 1, expected)) < _MAX_EXPECTED:
            blamed[name] = f"{count} processes died while it was read"
    for name, count in hangs.items():
        if count >= MAX_HANGS:
            blamed[name] = f"reading it did not come to an end, {count} times"
    return dict(sorted(blamed.items()))
