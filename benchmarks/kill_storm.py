"""A run under a storm of SIGKILLs: the same catalogue, byte for byte, and how long it took.

    python benchmarks/kill_storm.py                 # writes benchmarks/results/kill_storm.json

A Dask scheduler, nannies with a worker each, and the driver (`engine run --profile`) are processes
of their own. One after another, at random moments of the run's progress, a worker, a nanny or the
driver is killed; a small supervisor starts nannies and driver again, as Slurm or Kubernetes would.
The scheduler is not killed. The finished catalogue is compared with that of one undisturbed
process.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from machine import describe_machine

from engine.deaths import read_deaths
from partitions.mock import MockConfig, write_mock_survey

RESULTS = Path(__file__).parent / "results"
_SHARES = {"worker": 0.6, "nanny": 0.25, "driver": 0.15}
_HANG_S = 180.0
"""Without a new receipt for so long the run hangs."""


@click.command()
@click.option("--kills", default=100, show_default=True)
@click.option("--fields", default=52, show_default=True, help="Four bricks each.")
@click.option("--image-size", default=400, show_default=True, help="Pixels.")
@click.option("--workers", default=3, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="Keep everything here.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "kill_storm.json")
def main(
    kills: int,
    fields: int,
    image_size: int,
    workers: int,
    seed: int,
    scratch: Path | None,
    output: Path,
) -> None:
    """Write the survey, run it undisturbed and in the storm, compare, record."""
    with tempfile.TemporaryDirectory(prefix="photoz-storm-") as temporary:
        folder = scratch or Path(temporary)
        survey = folder / "survey"
        if not survey.exists():
            print("writing the mock survey ...", flush=True)
            config = MockConfig(seed=seed, num_fields=fields, image_size_px=image_size)
            write_mock_survey(survey, config)
        print("the run without a storm ...", flush=True)
        serial = folder / "serial"
        begin = time.monotonic()
        subprocess.run(engine_command(survey, serial, "--workers", "0"), check=True)
        serial_s = time.monotonic() - begin
        stormy = folder / "storm"
        shutil.rmtree(stormy, ignore_errors=True)
        result = Storm(survey, stormy, kills, workers, seed, folder).weather()
        before, after = file_digests(serial), file_digests(stormy)
        result |= {
            "num_bricks": 4 * fields,
            "num_partitions": len(list((serial / "receipts").iterdir())),
            "serial_seconds": round(serial_s, 1),
            "num_files": len(before),
            "catalogues_equal": before == after,
            "files_that_differ": sorted(
                name for name in before | after if before.get(name) != after.get(name)
            ),
        }
    result = {"machine": describe_machine(), **result}
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if not result["catalogues_equal"] or result["driver_exit_code"] != 0:
        sys.exit("the storm changed the catalogue")


def engine_command(survey: Path, run: Path, *options: str) -> list[str]:
    """At nside 1024 every small brick is a partition of its own."""
    return [
        *(sys.executable, "-m", "engine", "run", "--survey", str(survey), "--output", str(run)),
        *("--healpix-nside", "1024", *options),
    ]


def file_digests(run: Path) -> dict[str, str]:
    """sha256 of every file of the catalogue."""
    catalogue = run / "catalogue"
    return {
        str(path.relative_to(catalogue)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(catalogue.rglob("*"))
        if path.is_file()
    }


class Storm:
    """The processes of a run, who restarts them, and who kills them."""

    def __init__(
        self, survey: Path, run: Path, num_kills: int, num_workers: int, seed: int, folder: Path
    ) -> None:
        self._survey, self._run, self._folder = survey, run, folder
        self._num_kills, self._num_workers = num_kills, num_workers
        self._random = random.Random(seed)
        self._kills: Counter[str] = Counter()
        self._starts: Counter[str] = Counter()
        self._nannies: list[subprocess.Popen[bytes]] = []
        self._driver: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()

    def weather(self) -> dict[str, Any]:
        """Run to the end, whatever is killed; returns what happened."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        profile = self._folder / "storm.toml"
        profile.write_text(
            f'kind = "address"\nscheduler = "{address}"\nworkers = {self._num_workers}\n'
        )
        log = (self._folder / "storm.log").open("wb")
        dask = [sys.executable, "-m", "distributed.cli"]
        pages = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        environment = os.environ | {
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "['deploy.worker_start']",
        }

        def start(*command: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

        def start_nanny() -> subprocess.Popen[bytes]:
            self._starts["nanny"] += 1
            return start(
                *(dask[0], "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"),
                *("--local-directory", str(self._folder / "dask"), *pages),
            )

        def start_driver() -> subprocess.Popen[bytes]:
            self._starts["driver"] += 1
            return start(*engine_command(self._survey, self._run, "--profile", str(profile)))

        begin = time.monotonic()
        scheduler = start(
            *(dask[0], "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"),
            *("--port", str(port), *pages),
        )
        self._nannies = [start_nanny() for _ in range(self._num_workers)]
        self._driver = start_driver()
        storm = threading.Thread(target=self._blow, daemon=True)
        storm.start()
        try:
            while True:
                time.sleep(0.2)
                if time.monotonic() - begin > 60 and self._seconds_since_receipt() > _HANG_S:
                    raise click.ClickException(f"no receipt for {_HANG_S} s; {log.name}")
                self._nannies = [
                    nanny if nanny.poll() is None else start_nanny() for nanny in self._nannies
                ]
                code = self._driver.poll()
                if code is None:
                    continue
                if code >= 0:
                    break
                self._driver = start_driver()
        finally:
            self._over.set()
            for process in (self._driver, *self._nannies, scheduler):
                process.kill()
                process.wait()
        storm.join()
        deaths = read_deaths(self._run)
        return {
            "seconds": round(time.monotonic() - begin, 1),
            "kills": dict(sorted(self._kills.items())),
            "num_kills": sum(self._kills.values()),
            "starts": dict(sorted(self._starts.items())),
            "driver_exit_code": code,
            "deaths_recorded": len(deaths),
            "most_deaths_of_a_brick": max(
                Counter(name for death in deaths for name in death.bricks).values(), default=0
            ),
            "bricks_set_aside": (self._run / "quarantined.txt").exists(),
            "workers": self._num_workers,
        }

    def _num_receipts(self) -> int:
        return len(list(self._run.glob("receipts/*.json")))

    def _seconds_since_receipt(self) -> float:
        times = [path.stat().st_mtime for path in self._run.glob("receipts/*.json")]
        return time.time() - max(times, default=0.0)

    def _blow(self) -> None:
        """Spread the kills over the run's progress, each at a random moment."""
        while not list(self._run.glob("plan.json")):
            time.sleep(0.05)
        plan = json.loads((self._run / "plan.json").read_text())
        num_partitions = len(plan["partitions"])
        for number in range(self._num_kills):
            due = int(0.95 * num_partitions * number / self._num_kills)
            while self._num_receipts() < due and not self._over.wait(0.05):
                pass
            if self._over.wait(self._random.uniform(0.0, 1.5)):
                return
            while not self._kill(self._draw()) and not self._over.wait(0.2):
                pass

    def _draw(self) -> str:
        return self._random.choices(list(_SHARES), list(_SHARES.values()))[0]

    def _kill(self, kind: str) -> bool:
        """Kill one process of a kind; False if none is there."""
        if kind == "driver":
            pids = [self._driver.pid] if self._driver and self._driver.poll() is None else []
        elif kind == "nanny":
            pids = [nanny.pid for nanny in self._nannies if nanny.poll() is None]
        else:
            pids = [pid for nanny in self._nannies for pid in worker_processes(nanny.pid)]
        if not pids:
            return False
        try:
            os.kill(self._random.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False
        self._kills[kind] += 1
        return True


def worker_processes(nanny: int) -> list[int]:
    """The worker that a nanny has started: its children, without Python's own helper process."""
    pids = []
    for children in Path(f"/proc/{nanny}/task").glob("*/children"):
        try:
            for pid in children.read_text().split():
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    pids.append(int(pid))
        except OSError:
            continue
    return pids


if __name__ == "__main__":
    main()
