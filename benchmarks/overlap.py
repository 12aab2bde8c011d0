"""How much decode processes gain: bricks built ahead of the network, beside one after another.

    python benchmarks/overlap.py                    # writes benchmarks/results/overlap.json

One partition of four whole bricks, 3600 x 3600 in six bands at the density of DR10, goes through
`infer_partition` with 0, 1 and 2 decode processes, each in a process of its own. On a machine with
few cores the network, which computes on the CPU here, and decoding share them: the ratio says what
overlap is worth on that machine, and what it cannot exceed.
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
from machine import describe_machine

from engine.config import RunConfig
from engine.infer import WorkerSettings, infer_partition, make_task
from engine.journal import Journal
from engine.plan import make_plan
from model.weights import default_weights_path
from partitions.mock import MockConfig, write_mock_survey
from partitions.mock.config import BRICK_SIDE_PX

RESULTS = Path(__file__).parent / "results"
NUM_PROCESSES = (0, 1, 2)


@click.command()
@click.option("--survey", type=click.Path(path_type=Path), help="Kept here, and used if there.")
@click.option("--worker", type=click.Path(path_type=Path), hidden=True)
@click.option("--decode-processes", type=int, default=0, hidden=True)
def main(survey: Path | None, worker: Path | None, decode_processes: int) -> None:
    """Measure, print and record."""
    if worker is not None:
        assert survey is not None
        print(json.dumps(measure(survey, worker, decode_processes)))
        return
    with tempfile.TemporaryDirectory(prefix="photoz-benchmark-") as folder:
        survey = survey or Path(folder) / "survey"
        if not survey.exists():
            print("writing four full-size mock bricks ...", flush=True)
            config = MockConfig(
                seed=3,
                num_fields=1,
                bricks_per_field=4,
                image_size_px=BRICK_SIDE_PX,
                density_per_deg2=124_000.0,
                special_bricks=False,
            )
            write_mock_survey(survey, config)
        measured = []
        for number in NUM_PROCESSES:
            command = [
                *(sys.executable, __file__, "--survey", str(survey)),
                *("--worker", f"{folder}/run-{number}", "--decode-processes", str(number)),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            measured.append(json.loads(done.stdout))
            print(measured[-1], flush=True)
    alone_s = measured[0]["seconds"]
    for row in measured:
        row["speed_beside_none"] = alone_s / row["seconds"]
    result = {"machine": describe_machine(), "decode_processes": measured}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overlap.json").write_text(json.dumps(result, indent=1) + "\n")
    for row in measured:
        print(
            f"{row['decode_processes']} decode processes: {row['seconds']:.1f} s, "
            f"{row['speed_beside_none']:.2f} times as fast as none; "
            f"the network computes {100 * row['network_share']:.0f} % of the time"
        )


def measure(survey: Path, run: Path, decode_processes: int) -> dict[str, Any]:
    """Do all partitions in this process; the first, which loads the network, is done twice."""
    plan = make_plan(RunConfig(survey, run, 8, default_weights_path()))
    journal = Journal(run)
    settings = WorkerSettings(decode_processes=decode_processes)
    with journal.locked():
        plan = journal.begin(plan)
        tasks = [make_task(plan, part, journal, False, settings) for part in plan.partitions]
        infer_partition(tasks[0])
        begin = time.perf_counter()
        receipts = [infer_partition(task) for task in tasks]
        seconds = time.perf_counter() - begin
    bricks = [facts for receipt in receipts for facts in receipt["bricks"].values()]
    infer_s = sum(facts["infer_s"] for facts in bricks)
    return {
        "decode_processes": decode_processes,
        "num_bricks": len(bricks),
        "num_sources": sum(receipt["num_sources"] for receipt in receipts),
        "seconds": seconds,
        "infer_seconds": infer_s,
        "build_seconds": sum(f["decode_s"] + f["build_s"] + f["write_s"] for f in bricks),
        "network_share": infer_s / seconds,
    }


if __name__ == "__main__":
    main()
