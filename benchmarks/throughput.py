"""Throughput of one full-size brick, end to end and by step, beside the network alone.

    python benchmarks/throughput.py                 # writes benchmarks/results/throughput.json

A whole 3600 x 3600 brick in six bands at the density of DR10 is written by the mock survey and
run through the same `infer_partition` as every run, in a process of its own whose peak memory is
read from the kernel. The network alone then predicts the same arrays in the same process, so that
the two rates can be divided by each other: the ratio is the promise, the seconds are this
machine's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from machine import describe_machine, peak_memory_bytes

from engine.catalogue.finish import finish_catalogue
from engine.config import RunConfig
from engine.infer import infer_partition, make_task
from engine.journal import Journal
from engine.plan import make_plan
from engine.project import project
from engine.summary import run_status
from model.predict import Predictor
from model.weights import default_weights_path, load_weights
from partitions.mock import MockConfig, write_mock_survey
from partitions.store import read_arrays

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.option("--survey", type=click.Path(path_type=Path), help="Use this survey, not a mock one.")
@click.option("--worker", type=click.Path(path_type=Path), hidden=True)
def main(survey: Path | None, worker: Path | None) -> None:
    """Measure, print and record."""
    if worker is not None:
        assert survey is not None
        print(json.dumps(measure(survey, worker)))
        return
    with tempfile.TemporaryDirectory(prefix="photoz-benchmark-") as folder:
        if survey is None:
            survey = Path(folder) / "survey"
            print("writing one full-size mock brick ...", flush=True)
            write_mock_survey(survey, MockConfig.full_brick(), num_workers=1)
        command = [sys.executable, __file__, "--survey", str(survey), "--worker", f"{folder}/run"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = {"machine": describe_machine(), **json.loads(done.stdout)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "throughput.json").write_text(json.dumps(result, indent=1) + "\n")
    report(result)


def measure(survey: Path, run: Path) -> dict[str, Any]:
    """Run the survey in this process and take its times and its peak memory."""
    idle_bytes = peak_memory_bytes()
    plan = make_plan(RunConfig(survey, run, 32, default_weights_path()))
    journal = Journal(run)
    begin = time.perf_counter()
    with journal.locked():
        plan = journal.begin(plan)
        for partition in plan.partitions:
            infer_partition(make_task(plan, partition, journal, keep_arrays=True))
        inferred = time.perf_counter()
        finish_catalogue(journal, plan)
    end = time.perf_counter()
    peak_bytes = peak_memory_bytes()
    status = run_status(journal, plan)
    predictor = Predictor(load_weights(default_weights_path()), batch_size=plan.batch_size)
    network_s = 0.0
    for path in sorted((run / "arrays").glob("*/*.zarr")):
        arrays = read_arrays(path)
        start = time.perf_counter()
        predictor.predict(arrays)
        network_s += time.perf_counter() - start
    return {
        "num_bricks": status.num_bricks,
        "num_sources": status.num_sources,
        "num_rows_read": status.num_rows_read,
        "input_bytes": plan.num_bytes,
        "seconds": {
            "end_to_end": end - begin,
            **status.seconds,
            "finish": end - inferred,
            "network_alone": network_s,
        },
        "sources_per_s": {
            "end_to_end": status.num_sources / (end - begin),
            "network_alone": status.num_sources / network_s,
        },
        "end_to_end_share_of_network_alone": network_s / (end - begin),
        "peak_memory_bytes": peak_bytes,
        "idle_memory_bytes": idle_bytes,
        "projected_memory_bytes": project(plan).worker_memory_bytes,
    }


def report(result: dict[str, Any]) -> None:
    """Print a result as a table."""
    print(f"{result['machine']['processor']}, {result['machine']['cores']} cores, one process")
    print(f"{result['num_sources']:,} sources in {result['num_bricks']} brick(s)")
    for step, seconds in result["seconds"].items():
        rate = result["num_sources"] / seconds if seconds else float("inf")
        print(f"  {step:14s} {seconds:8.2f} s {rate:10,.0f} sources/s")
    share = result["end_to_end_share_of_network_alone"]
    print(f"end to end runs at {share:.2f} of the network alone")
    print(
        f"peak memory {result['peak_memory_bytes'] / 1e9:.2f} GB "
        f"(idle {result['idle_memory_bytes'] / 1e9:.2f}, "
        f"projected {result['projected_memory_bytes'] / 1e9:.2f})"
    )


if __name__ == "__main__":
    main()
