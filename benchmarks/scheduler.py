"""What driving a survey of DR10's size costs: the real driver, partitions that do nothing.

    python benchmarks/scheduler.py                  # writes benchmarks/results/scheduler.json

A plan of 366,898 bricks (see benchmarks/plan.py) goes through `engine.schedule.run_dask` on two
local workers with a function that returns at once. Scheduler and driver are this process: its CPU
seconds a partition and its memory are what is asked about. They are set beside the time that a
partition takes in earnest: its bricks times the seconds of one, from benchmarks/results/
throughput.json of one CPU core.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from machine import describe_machine, resident_memory_bytes
from plan import NUM_BRICKS, config_of, dr10_bricks, write_files, write_tables

from deploy.cluster import open_cluster
from deploy.profiles import MachineProfile
from engine.infer import PartitionDone, PartitionTask, make_task
from engine.journal import Journal
from engine.plan import make_plan
from engine.schedule import DriverRules, StopRequest, run_dask

RESULTS = Path(__file__).parent / "results"
NUM_SAMPLES = 20


def do_nothing(task: PartitionTask) -> PartitionDone:
    """In the place of `run_partition`."""
    return PartitionDone(str(task.pixel), len(task.bricks), 0, 0, 0.0)


@click.command()
@click.option("--bricks", "num_bricks", default=NUM_BRICKS, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "scheduler.json")
def main(num_bricks: int, output: Path) -> None:
    """Measure, print and record."""
    with tempfile.TemporaryDirectory(prefix="photoz-scheduler-") as folder:
        result = {"machine": describe_machine(), **measure(Path(folder), num_bricks)}
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "machine"}, indent=1))


def measure(folder: Path, num_bricks: int) -> dict[str, Any]:
    survey, run = folder / "survey", folder / "run"
    print("writing the brick tables ...", flush=True)
    bricks = dr10_bricks(num_bricks)
    write_tables(survey, bricks)
    write_files(survey, [str(name) for name in bricks["BRICKNAME"]], with_images=False)
    del bricks
    run.mkdir()
    plan = make_plan(config_of(survey, run))
    journal = Journal(run)
    tasks = [make_task(plan, partition, journal, False) for partition in plan.partitions]
    samples: list[dict[str, float]] = []
    every = max(1, len(tasks) // NUM_SAMPLES)
    num_done = 0

    def on_done(_task: PartitionTask, _done: PartitionDone) -> None:
        nonlocal num_done
        num_done += 1
        if num_done % every == 0:
            samples.append({"partitions": num_done, "memory_mb": resident_memory_bytes() / 1e6})
            print(f"{num_done}/{len(tasks)}, {samples[-1]['memory_mb']:.0f} MB", flush=True)

    with open_cluster(MachineProfile(), 2, run) as workers:
        before_mb = resident_memory_bytes() / 1e6
        begin, cpu_begin = time.perf_counter(), time.process_time()
        given_up = run_dask(
            tasks, workers, DriverRules(), on_done, print, StopRequest(), work=do_nothing
        )
        seconds, cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
    assert not given_up
    assert num_done == len(tasks)
    throughput = json.loads((RESULTS / "throughput.json").read_text())
    brick_s = throughput["seconds"]["end_to_end"] / throughput["num_bricks"]
    partition_s = brick_s * plan.num_bricks / len(tasks)
    return {
        "num_bricks": plan.num_bricks,
        "num_partitions": len(tasks),
        "seconds": seconds,
        "partitions_per_s": len(tasks) / seconds,
        "driver_cpu_s_per_partition": cpu_s / len(tasks),
        "core_seconds_of_a_real_partition": partition_s,
        "driver_share": cpu_s / len(tasks) / partition_s,
        "memory_mb_before": before_mb,
        "memory_mb_growth_after_first_sample": samples[-1]["memory_mb"] - samples[0]["memory_mb"],
        "samples": samples,
    }


if __name__ == "__main__":
    main()
