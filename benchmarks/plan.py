"""What planning a survey of DR10's size costs: seconds and peak memory of every step.

    python benchmarks/plan.py                       # writes benchmarks/results/plan.json
    python benchmarks/plan.py --tree-bricks 366898  # all files of every brick: 3 million inodes

Real: the brick grid (desiutil computes the survey's own: names, ids, centres, edges), the number of
bricks (366,898), the mean number of sources in one (7,705), the columns of the tables, the weights.
Not real: which bricks of the grid DR10 has (here the 366,898 farthest from the Galactic plane with
Dec < 34, which is |b| > 18.1 deg), the counts of single bricks (drawn from a log-normal
distribution with a scatter of 0.4), every file but the tables. Files are empty and have the sizes
of DR10's: sparse, so that no disk is filled.

Two surveys are planned. `tables`: every brick has a Tractor file and no image, which is the least
that makes it a brick of the survey. `tree`: some of the bricks (--tree-bricks), seven files each;
its time for a brick, times 366,898, is what a release on a local disk would take. Receipts are made
up for all partitions, of the shape and size of real ones. Every step has a process of its own, so
that its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from desiutil.brick import Bricks
from machine import describe_machine, peak_memory_bytes

from engine.atomic import to_json
from engine.config import RunConfig
from engine.file_states import iterate_file_states
from engine.infer import make_task
from engine.journal import Journal
from engine.plan import RunPlan, changed_bricks, make_plan, refuse_other_plan
from engine.project import project
from engine.summary import run_status
from model.weights import default_weights_path
from partitions.bricks import SurveyLayout
from partitions.dr10 import open_survey, read_survey_bricks
from partitions.schema import BANDS

RESULTS = Path(__file__).parent / "results"
NUM_BRICKS = 366_898
MAX_DEC_DEG = 34.0
MEAN_SOURCES = 7705
NSIDE = 32
TRACTOR_BYTES = 18_000_000
IMAGE_BYTES = 7_000_000
SERVER_S = 5e-4
"""What a parallel file system may take for one answer."""


def dr10_bricks(num_bricks: int = NUM_BRICKS) -> Table:
    """Bricks of the real grid, those farthest from the Galactic plane among Dec < MAX_DEC_DEG."""
    grid = Bricks(0.25).to_table()
    grid = grid[grid["DEC"] < MAX_DEC_DEG]
    latitude = SkyCoord(grid["RA"], grid["DEC"], unit="deg").galactic.b.deg
    far = np.argsort(-np.abs(latitude), kind="stable")[:num_bricks]
    return grid[np.sort(far)]


def write_tables(root: Path, bricks: Table) -> None:
    """`survey-bricks.fits.gz` of the whole sky and the release's own table, with DR10's columns."""
    rng = np.random.default_rng(10)
    scatter = 0.4
    (root / "south").mkdir(parents=True)
    grid = Bricks(0.25).to_table()
    grid.remove_column("AREA")
    grid["BRICKNAME"] = grid["BRICKNAME"].astype("S8")
    grid.write(root / "survey-bricks.fits.gz")
    num = len(bricks)
    drawn = rng.lognormal(-(scatter**2) / 2, scatter, num)
    table = Table({"brickname": bricks["BRICKNAME"].astype("S8")})
    table["ra"], table["dec"] = bricks["RA"], bricks["DEC"]
    for band in "griz":
        table[f"nexp_{band}"] = rng.integers(1, 9, num, dtype="i2")
        table[f"nexphist_{band}"] = rng.integers(0, 9, (num, 11), dtype="i4")
    table["nobjs"] = np.rint(MEAN_SOURCES * drawn).astype("i4")
    for name in ("psf", "simp", "rex", "exp", "dev", "comp", "ser", "dup"):
        table[f"n{name}"] = (table["nobjs"] // 8).astype("i4")
    for name in ("psfsize", "psfdepth", "galdepth", "trans", "cosky", "ext"):
        for band in "griz":
            table[f"{name}_{band}"] = rng.random(num, dtype="f4")
    table["ebv"] = rng.random(num, dtype="f4")
    table["wise_nobs"] = rng.integers(0, 99, (num, 4), dtype="i2")
    table["trans_wise"] = rng.random((num, 4), dtype="f4")
    for band in ("w1", "w2", "w3", "w4"):
        table[f"ext_{band}"] = rng.random(num, dtype="f4")
    table["brickid"] = bricks["BRICKID"]
    for name in ("ra1", "ra2", "dec1", "dec2", "area"):
        table[name] = bricks[name.upper()]
    table["survey_primary"] = np.ones(num, bool)
    table["in_desi"] = np.asarray(bricks["DEC"]) > -20
    table.write(root / "south" / "survey-bricks-dr10-south.fits.gz")


def write_files(root: Path, names: list[str], with_images: bool) -> None:
    """Empty files of the sizes of DR10's; without images only the Tractor tables."""
    layout = SurveyLayout(root, root / "south")
    (layout.folder / "coadd").mkdir(exist_ok=True)
    for aaa in sorted({name[:3] for name in names}):
        (layout.folder / "tractor" / aaa).mkdir(parents=True, exist_ok=True)
    for name in names:
        _write_sparse(layout.brick_path("tractor", name), TRACTOR_BYTES)
        if with_images:
            layout.coadd_folder(name).mkdir(parents=True)
            for band in BANDS:
                _write_sparse(layout.brick_path("image", name, band), IMAGE_BYTES)


def _write_sparse(path: str, num_bytes: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.ftruncate(descriptor, num_bytes)
    os.close(descriptor)


def write_receipts(run: Path) -> None:
    """A receipt for every partition, with what `engine.infer` records of each brick."""
    journal = Journal(run)
    plan = journal.read_plan()
    covered = dict.fromkeys(("g", "r", "i", "z", "grz"), 0.06243555132677201)
    for partition in plan.partitions:
        bricks = {
            planned.brick.name: {
                "num_rows": planned.num_rows,
                "num_not_primary": 1200,
                "num_dup": 7,
                "num_unwanted": 0,
                "num_sources": (planned.num_rows or 0) - 1207,
                "decoded": dict.fromkeys(BANDS, 1),
                "num_tiles": 5216,
                "num_tiles_decoded": 5216,
                "area_deg2": planned.brick.area_deg2,
                "covered_deg2": covered,
                "targets_left_out": {},
                **dict.fromkeys(("decode_s", "build_s", "write_s", "infer_s"), 2.2005547140033741),
            }
            for planned in partition.bricks
        }
        receipt = {
            "plan_digest": plan.digest,
            "partition": str(partition.pixel),
            "num_sources": sum(facts["num_sources"] for facts in bricks.values()),
            "leaves": {str(partition.pixel.number): {"rows": 400_000, "bytes": 100_000_000}},
            "bricks": bricks,
            "quarantined": {},
            "write_s": 4.5,
            "elapsed_s": 500.25,
            "finished_at": 1795656198.3789878,
            "process": 26584,
            "engine_version": plan.engine_version,
        }
        # Not by `record`: flushing 6,900 files to the disk is not what is measured.
        (journal.receipts_folder / f"{partition.pixel}.json").write_bytes(to_json(receipt))


class Steps:
    """Seconds of named steps, and the peak memory so far after each."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [
            {"step": "imports", "seconds": None, "peak_gb": peak_memory_bytes() / 1e9}
        ]

    def do(self, step: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begin
        self.rows.append({"step": step, "seconds": seconds, "peak_gb": peak_memory_bytes() / 1e9})
        return result


def config_of(survey: Path, run: Path) -> RunConfig:
    return RunConfig(survey, run, NSIDE, default_weights_path())


def measure_tables(survey: Path, run: Path) -> dict[str, Any]:
    """The brick tables and directory listings alone."""
    steps = Steps()
    listed = steps.do("read_survey_bricks", lambda: read_survey_bricks(open_survey(survey)))
    return {"num_bricks": len(listed.bricks), "steps": steps.rows}


def measure_begin(survey: Path, run: Path) -> dict[str, Any]:
    """What `engine run` does before its first brick, in a new run directory."""
    steps = Steps()
    run.mkdir(parents=True, exist_ok=True)
    journal = Journal(run)
    begin = time.perf_counter()
    plan: RunPlan = steps.do("make_plan", lambda: make_plan(config_of(survey, run)))
    steps.do("digest", lambda: plan.digest)
    steps.do("begin: write plan.json", lambda: journal.begin(plan))
    steps.do("remaining", lambda: journal.remaining(plan))
    steps.do("run_status", lambda: run_status(journal, plan))
    steps.do("project", lambda: project(plan))
    steps.do("make_tasks", lambda: [make_task(plan, p, journal, False) for p in plan.partitions])
    return {
        "num_bricks": plan.num_bricks,
        "num_partitions": len(plan.partitions),
        "num_rows": plan.num_rows,
        "input_bytes": plan.num_bytes,
        "plan_json_bytes": journal.plan_path.stat().st_size,
        "seconds": time.perf_counter() - begin,
        "peak_gb": peak_memory_bytes() / 1e9,
        "steps": steps.rows,
    }


def measure_resume(survey: Path, run: Path) -> dict[str, Any]:
    """What `engine run` does when all partitions are done."""
    steps = Steps()
    journal = Journal(run)
    begin = time.perf_counter()
    new: RunPlan = steps.do("make_plan", lambda: make_plan(config_of(survey, run)))
    old: RunPlan = steps.do("read_plan", journal.read_plan)
    steps.do("refuse_other_plan", partial(refuse_other_plan, old, new, run))
    steps.do("changed_bricks", partial(changed_bricks, old, new))
    del old
    plan: RunPlan = steps.do("begin: all of these", lambda: journal.begin(new))
    steps.do("remaining", lambda: journal.remaining(plan))
    steps.do("run_status", lambda: run_status(journal, plan))
    steps.do("list_quarantined", lambda: journal.list_quarantined(plan))
    return {
        "seconds": time.perf_counter() - begin,
        "peak_gb": peak_memory_bytes() / 1e9,
        "receipts_bytes": sum(p.stat().st_size for p in journal.receipts_folder.iterdir()),
        "steps": steps.rows,
    }


def measure_status(survey: Path, run: Path) -> dict[str, Any]:
    """What `engine status` does."""
    steps = Steps()
    journal = Journal(run)
    plan: RunPlan = steps.do("read_plan", journal.read_plan)
    steps.do("run_status", lambda: run_status(journal, plan))
    return {"peak_gb": peak_memory_bytes() / 1e9, "steps": steps.rows}


def measure_server(survey: Path, run: Path) -> dict[str, Any]:
    """File states where every stat waits for a file server: SERVER_S are slept before each."""
    steps = Steps()
    layout = open_survey(survey)
    names = list(read_survey_bricks(layout).bricks)
    ask = os.stat

    def ask_server(path: str) -> os.stat_result:
        time.sleep(SERVER_S)
        return ask(path)

    os.stat = ask_server  # type: ignore[assignment]
    steps.do("file states", lambda: sum(1 for _ in iterate_file_states(layout, names)))
    return {"num_bricks": len(names), "server_s": SERVER_S, "steps": steps.rows}


MEASURES = {
    "tables": measure_tables,
    "begin": measure_begin,
    "resume": measure_resume,
    "status": measure_status,
    "server": measure_server,
}


def in_process(measure: str, survey: Path, run: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", measure, str(survey), str(run)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    print(f"\n{measure} {survey.name}", flush=True)
    for row in result["steps"]:
        seconds = "      " if row["seconds"] is None else f"{row['seconds']:6.2f}"
        print(f"  {seconds} s  {row['peak_gb']:5.2f} GB  {row['step']}", flush=True)
    return result


@click.command()
@click.option("--bricks", "num_bricks", default=NUM_BRICKS, show_default=True)
@click.option("--tree-bricks", default=20_000, show_default=True, help="Bricks with all files.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Where files are written.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "plan.json")
@click.option("--measure", nargs=3, type=(click.Choice(list(MEASURES)), Path, Path), hidden=True)
def main(
    num_bricks: int,
    tree_bricks: int,
    scratch: Path | None,
    output: Path,
    measure: tuple[str, Path, Path] | None,
) -> None:
    """Measure, print and record."""
    if measure is not None:
        print(json.dumps(MEASURES[measure[0]](*measure[1:])))
        return
    folder = Path(tempfile.mkdtemp(prefix="photoz-plan-", dir=scratch))
    try:
        report = benchmark(folder, num_bricks, tree_bricks)
    finally:
        shutil.rmtree(folder)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"machine": describe_machine(), **report}, indent=1) + "\n")
    begin = report["begin"]
    server_s = seconds_of(report, "tree_server", "file states")
    server_s *= begin["num_bricks"] / report["tree_server"]["num_bricks"]
    print(f"\nfile states of all bricks at {1e3 * SERVER_S} ms each: about {server_s:.0f} s")
    print(
        f"\n{begin['num_bricks']:,} bricks: {begin['seconds']:.1f} s, {begin['peak_gb']:.2f} GB; "
        f"with all files about {report['release_seconds']:.0f} s"
    )


def benchmark(folder: Path, num_bricks: int, tree_bricks: int) -> dict[str, Any]:
    bricks = dr10_bricks(num_bricks)
    names = [str(name) for name in bricks["BRICKNAME"]]
    every = max(1, len(names) // tree_bricks) if tree_bricks else 0
    chosen = names[::every][:tree_bricks] if every else []
    print(f"writing tables of {len(names):,} bricks and {7 * len(chosen):,} files ...", flush=True)
    tables, tree = folder / "tables", folder / "tree"
    write_tables(tables, bricks)
    shutil.copytree(tables, tree)
    write_files(tables, names, with_images=False)
    write_files(tree, chosen, with_images=True)
    run = folder / "run"
    report: dict[str, Any] = {"tables": in_process("tables", tables, run)}
    report["begin"] = in_process("begin", tables, run)
    write_receipts(run)
    report["resume"] = in_process("resume", tables, run)
    report["status"] = in_process("status", tables, run)
    report["tree_tables"] = in_process("tables", tree, run)
    report["tree_begin"] = in_process("begin", tree, folder / "tree-run")
    report["tree_server"] = in_process("server", tree, folder / "tree-run")
    report["release_seconds"] = release_seconds(report)
    return report


def seconds_of(report: dict[str, Any], measure: str, step: str) -> float:
    """What one step took."""
    rows = report[measure]["steps"]
    return float(next(row["seconds"] for row in rows if row["step"] == step))


def release_seconds(report: dict[str, Any]) -> float:
    """`begin` with all files: that of the tables, and the tree's files times its share.

    What a tree's `make_plan` takes beyond reading tables is in proportion to its bricks.
    """

    def seconds(measure: str, step: str) -> float:
        return seconds_of(report, measure, step)

    files_s = seconds("tree_begin", "make_plan") - seconds("tree_tables", "read_survey_bricks")
    files_s *= report["begin"]["num_bricks"] / report["tree_begin"]["num_bricks"]
    own_s = seconds("begin", "make_plan") - seconds("tables", "read_survey_bricks")
    return float(report["begin"]["seconds"]) - own_s + files_s


if __name__ == "__main__":
    main()
