"""Queries over a large catalogue: `engine query` beside DuckDB on all files, pyarrow and lsdb.

    python benchmarks/query.py --scratch /big/disk          # writes benchmarks/results/query.json

Rows of a small mock run are repeated at random places of real pixels, about as many a leaf as DR10
has, one partition a leaf, and become a HATS collection by the engine's own fragments, receipts and
`finish_catalogue`. It stays in the scratch folder and is used again. Every method answers every
question in a process of its own, several times: seconds are the median, from the call to the rows
in memory, imports left out; files are in the page cache. Bytes are those of the first answer,
`rchar` of /proc/self/io: all that read calls return. All methods must find the same rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import duckdb
import lsdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from machine import describe_machine

from engine.catalogue.finish import finish_catalogue
from engine.catalogue.layout import COLLECTION_PROPERTIES, PRIMARY, leaf_path
from engine.catalogue.leaves import read_parquet, write_fragments
from engine.catalogue.read import read_leaf_pixels, read_properties
from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.cli import cli
from engine.journal import Journal
from engine.plan import PlannedPartition
from engine.query import Box, Cone, TargetIds, query
from engine.query.io_counter import bytes_read
from engine.targets import encode_targetid
from partitions.healpix import SPATIAL_INDEX_ORDER, Pixel, pixel_centres
from partitions.mock import MockConfig, write_mock_survey

RESULTS = Path(__file__).parent / "results" / "query.json"

ORDER = 5
FIRST_PIXEL = 6800  # Around RA 150, Dec +2.
# 2.8e9 sources of DR10 in 6,800 pixels.
ROWS_PER_LEAF = 415_000
MIN_LEAVES = 12
NUM_IDS = 1000

COLUMNS = ["TARGETID", "RA", "DEC", "Z_PHOT_MEDIAN"]

Question = dict[str, Any]
Method = Callable[[Path, Question], np.ndarray]


@click.command()
@click.option("--rows", default=20_000_000, help="Rows of the catalogue.", show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="Keeps the catalogue.")
@click.option("--repeats", default=3, help="Answers of each method.", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--worker", is_flag=True, hidden=True, help="One measurement, asked for on stdin.")
def main(rows: int, scratch: Path | None, repeats: int, output: Path, worker: bool) -> None:
    """Measure, print and record."""
    if worker:
        asked = json.load(sys.stdin)
        method = METHODS[asked["method"]]
        print(json.dumps(measure(method, Path(asked["catalogue"]), asked["question"], repeats)))
        return
    if scratch is None:
        raise click.UsageError("--scratch: name a folder for the catalogue, 5 GB for 20,000,000")
    catalogue = make_catalogue(scratch, rows)
    answers: dict[str, dict[str, Any]] = {}
    for name, question in make_questions(catalogue).items():
        for method_name in METHODS:
            answer = ask(method_name, catalogue, question, repeats)
            answers.setdefault(name, {})[method_name] = answer
            say(name, method_name, answer)
        if len({answer["ids_sha256"] for answer in answers[name].values()}) > 1:
            raise SystemExit(f"{name}: the methods do not find the same rows")
    written = json.loads((catalogue.parent / "written.json").read_text())
    result = {
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("duckdb", "lsdb", "hats", "pyarrow")},
        "catalogue": {
            "num_rows": int(read_properties(catalogue)["hats_nrows"]),
            "num_leaves": len(read_leaf_pixels(catalogue)),
            "num_bytes": {
                folder.name: sum(path.stat().st_size for path in folder.rglob("*.parquet"))
                for folder in sorted(catalogue.glob(f"{PRIMARY}*"))
            },
            **written,
        },
        "seconds_are": f"median of {repeats}, rows in memory, page cache warm",
        "bytes_are": "rchar of /proc/self/io, first answer",
        "questions": answers,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")


def ask(method: str, catalogue: Path, question: Question, repeats: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    asked = {"method": method, "catalogue": str(catalogue), "question": question}
    done = subprocess.run(
        [sys.executable, __file__, "--worker", "--repeats", str(repeats)],
        input=json.dumps(asked), check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def say(name: str, method: str, answer: dict[str, Any]) -> None:
    """One line."""
    print(
        f"{name:16s} {method:8s} {answer['seconds']:8.3f} s {answer['read_bytes'] / 1e6:10.2f} MB"
        f"  {answer['num_rows']:,} rows",
        flush=True,
    )


# --- the catalogue -------------------------------------------------------------------------------


def make_catalogue(scratch: Path, num_rows: int) -> Path:
    """The catalogue of that many rows in the scratch folder, written unless it is there."""
    journal = Journal(scratch / f"rows-{num_rows}")
    catalogue = journal.catalogue_folder
    if (catalogue / COLLECTION_PROPERTIES).exists():
        return catalogue
    begin = time.perf_counter()
    real = _mock_run(scratch)
    leaves = read_leaf_pixels(real / "catalogue")
    source = pa.concat_tables(
        read_parquet(leaf_path(real / "catalogue" / PRIMARY, leaf)) for leaf in leaves
    )
    schema = source.schema
    num_leaves = max(MIN_LEAVES, round(num_rows / ROWS_PER_LEAF))
    sizes = np.diff(np.linspace(0, num_rows, num_leaves + 1).astype(int)).tolist()
    pixels = [Pixel(ORDER, FIRST_PIXEL + number) for number in range(num_leaves)]
    plan = replace(
        Journal(real).read_plan(),
        order=ORDER,
        partitions=tuple(PlannedPartition(pixel, ()) for pixel in pixels),
    )
    with journal.locked():
        plan = journal.begin(plan)
        for pixel, size in zip(pixels, sizes, strict=True):
            fragments = journal.fragments_folder / str(pixel)
            rows = _leaf_rows(source, pixel, size, schema)
            written = write_fragments(rows, ORDER, fragments, journal.wip_folder)
            receipt = {"plan_digest": plan.digest, "leaves": written, "bricks": {}}
            journal.record(pixel, {**receipt, "quarantined": {}})
        finish_begin = time.perf_counter()
        finish_catalogue(journal, plan)
    end = time.perf_counter()
    shutil.rmtree(journal.fragments_folder)
    facts = {"fragments_s": finish_begin - begin, "finish_s": end - finish_begin}
    (journal.folder / "written.json").write_text(json.dumps(facts))
    print(f"wrote {num_rows:,} rows: {facts}", flush=True)
    return catalogue


def _mock_run(scratch: Path) -> Path:
    """A small finished run, whose rows are repeated."""
    run = scratch / "mock-run"
    if not (run / "catalogue" / COLLECTION_PROPERTIES).exists():
        survey = scratch / "mock-survey"
        if not survey.exists():
            write_mock_survey(
                survey, MockConfig(seed=11, num_fields=2, image_size_px=600), num_workers=1
            )
        arguments = ["run", "--survey", str(survey), "--output", str(run), "--workers", "0"]
        cli.main([*arguments, "--json"], standalone_mode=False)
    return run


def _leaf_rows(source: pa.Table, pixel: Pixel, num_rows: int, schema: pa.Schema) -> pa.Table:
    """Rows at random places of one pixel; a brick is a pixel three orders finer."""
    rng = np.random.default_rng(pixel.number)
    shift = 2 * (SPATIAL_INDEX_ORDER - pixel.order)
    index = (pixel.number << shift) + rng.integers(0, 1 << shift, num_rows)
    ra_deg, dec_deg = pixel_centres(index, SPATIAL_INDEX_ORDER)
    identity = {
        "RELEASE": np.full(num_rows, 10_000),
        "BRICKID": index >> (shift - 6),
        "OBJID": np.arange(num_rows),
    }
    values = {
        SPATIAL_INDEX_COLUMN: index,
        "RA": ra_deg,
        "DEC": dec_deg,
        "TARGETID": encode_targetid(*identity.values()),
        **identity,
    }
    rows = source.take(pa.array(rng.integers(0, source.num_rows, num_rows)))
    columns = [pa.array(values[field.name], type=field.type) if field.name in values
               else rows[field.name] for field in schema]  # fmt: skip
    return pa.table(columns, schema=schema)


# --- questions and methods -----------------------------------------------------------------------


def make_questions(catalogue: Path) -> dict[str, Question]:
    """What is asked; positions lie in the middle leaf or at its edges, ids there or anywhere."""
    pixels = read_leaf_pixels(catalogue)
    middle = pixels[len(pixels) // 2]
    ra_deg, dec_deg = (float(x[0]) for x in pixel_centres(np.array([middle.number]), ORDER))
    box = [ra_deg - 0.5, ra_deg + 0.5, dec_deg - 0.5, dec_deg + 0.5]
    rng = np.random.default_rng(0)
    near = _choose_ids(catalogue, [middle], NUM_IDS, rng)
    anywhere = _choose_ids(catalogue, pixels, -(-NUM_IDS // len(pixels)), rng)
    return {
        "cone 60 arcsec": {"cone": [ra_deg, dec_deg, 60]},
        "cone 1 deg": {"cone": [ra_deg, dec_deg, 3600]},
        "box 1 deg": {"box": box},
        "1 id": {"ids": near[:1]},
        "1000 ids, 1 leaf": {"ids": near},
        "1000 ids, all": {"ids": rng.permutation(anywhere)[:NUM_IDS].tolist()},
        "full scan": {"above": 1.2},
    }


def _choose_ids(
    catalogue: Path, leaves: list[Pixel], number: int, rng: np.random.Generator
) -> list[int]:
    """TARGETIDs, so many of each leaf."""
    chosen: list[int] = []
    for leaf in leaves:
        ids = read_parquet(leaf_path(catalogue / PRIMARY, leaf), ["TARGETID"])["TARGETID"]
        chosen += rng.choice(ids.to_numpy(), number, replace=False).tolist()
    return chosen


def by_engine(catalogue: Path, question: Question) -> np.ndarray:
    selections = []
    if "cone" in question:
        selections.append(Cone(*question["cone"]))
    if "box" in question:
        selections.append(Box(*question["box"]))
    if "ids" in question:
        selections.append(TargetIds(tuple(question["ids"])))
    where = f"Z_PHOT_MEDIAN > {question['above']}" if "above" in question else None
    with query(catalogue, *selections, columns=COLUMNS, where=where) as answer:
        return answer.read()["TARGETID"].to_numpy()


def _box_around(cone: list[float]) -> list[float]:
    ra_deg, dec_deg, radius_arcsec = cone
    half = radius_arcsec / 3600
    half_ra = half / float(np.cos(np.radians(abs(dec_deg) + half)))
    return [ra_deg - half_ra, ra_deg + half_ra, dec_deg - half, dec_deg + half]


def _separation_sql(ra_deg: float, dec_deg: float) -> str:
    return (
        f"2 * asin(sqrt(pow(sin(radians(DEC - {dec_deg!r}) / 2), 2) + cos(radians(DEC))"
        f" * cos(radians({dec_deg!r})) * pow(sin(radians(RA - {ra_deg!r}) / 2), 2)))"
    )


def by_duckdb(catalogue: Path, question: Question) -> np.ndarray:
    tests = []
    if "ids" in question:
        tests.append(f"TARGETID IN ({', '.join(map(str, question['ids']))})")
    if "above" in question:
        tests.append(f"Z_PHOT_MEDIAN > {question['above']}")
    if "cone" in question or "box" in question:
        a, b, c, d = question.get("box") or _box_around(question["cone"])
        tests.append(f"RA BETWEEN {a!r} AND {b!r} AND DEC BETWEEN {c!r} AND {d!r}")
    if "cone" in question:
        ra_deg, dec_deg, radius_arcsec = question["cone"]
        tests.append(f"{_separation_sql(ra_deg, dec_deg)} <= radians({radius_arcsec} / 3600)")
    files = f"{catalogue}/{PRIMARY}/dataset/Norder=*/Dir=*/Npix=*.parquet"
    statement = (
        f"SELECT {', '.join(COLUMNS)} FROM read_parquet('{files}', hive_partitioning = false)"
        f" WHERE {' AND '.join(tests)}"
    )
    return duckdb.sql(statement).to_arrow_table()["TARGETID"].to_numpy()


def by_pyarrow(catalogue: Path, question: Question) -> np.ndarray:
    test = pc.scalar(True)
    if "ids" in question:
        test = pc.field("TARGETID").isin(question["ids"])
    if "above" in question:
        test = pc.field("Z_PHOT_MEDIAN") > pa.scalar(question["above"])
    if "cone" in question or "box" in question:
        a, b, c, d = question.get("box") or _box_around(question["cone"])
        test = (
            (pc.field("RA") >= a) & (pc.field("RA") <= b)
            & (pc.field("DEC") >= c) & (pc.field("DEC") <= d)
        )  # fmt: skip
    rows = ds.dataset(catalogue / PRIMARY / "dataset").to_table(columns=COLUMNS, filter=test)
    if "cone" in question:
        ra_deg, dec_deg, radius_arcsec = question["cone"]
        dec = np.radians(rows["DEC"].to_numpy())
        haversine = (
            np.sin((dec - np.radians(dec_deg)) / 2) ** 2
            + np.cos(dec)
            * np.cos(np.radians(dec_deg))
            * np.sin(np.radians(rows["RA"].to_numpy() - ra_deg) / 2) ** 2
        )
        rows = rows.filter(2 * np.arcsin(np.sqrt(haversine)) <= np.radians(radius_arcsec / 3600))
    return rows["TARGETID"].to_numpy()


def by_lsdb(catalogue: Path, question: Question) -> np.ndarray:
    opened = lsdb.open_catalog(str(catalogue), columns=COLUMNS)
    if "cone" in question:
        opened = opened.cone_search(*question["cone"])
    elif "box" in question:
        a, b, c, d = question["box"]
        opened = opened.box_search((a, b), (c, d))
    elif "ids" in question:
        opened = opened.id_search(values={"TARGETID": question["ids"]})
    else:
        opened = opened.query(f"Z_PHOT_MEDIAN > {question['above']}")
    return opened.compute()["TARGETID"].to_numpy()


METHODS: dict[str, Method] = {
    "engine": by_engine,
    "duckdb": by_duckdb,
    "pyarrow": by_pyarrow,
    "lsdb": by_lsdb,
}


def measure(method: Method, catalogue: Path, question: Question, repeats: int) -> dict[str, Any]:
    """Ask several times in this process."""
    begin_bytes = bytes_read() or 0
    seconds, read_bytes = [], 0
    ids = np.empty(0, np.int64)
    for number in range(repeats):
        begin = time.perf_counter()
        ids = method(catalogue, question)
        seconds.append(time.perf_counter() - begin)
        if number == 0:
            read_bytes = (bytes_read() or 0) - begin_bytes
    digest = hashlib.sha256(np.sort(ids).astype(np.int64).tobytes()).hexdigest()
    return {
        "seconds": statistics.median(seconds),
        "seconds_first": seconds[0],
        "read_bytes": read_bytes,
        "num_rows": len(ids),
        "ids_sha256": digest,
    }


if __name__ == "__main__":
    main()
