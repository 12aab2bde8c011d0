"""Queries over a large catalogue: `engine query` beside DuckDB on all files, pyarrow and lsdb.

    python benchmarks/query.py --scratch /big/disk          # writes benchmarks/results/query.json

Rows of a small mock run are repeated at random places of real pixels, about as many a leaf as DR10
has, and written by the real leaf writer; the catalogue stays in the scratch folder and is used
again. Every method answers every question in a process of its own, three times: seconds are the
least of the three, from the call to the rows in memory, imports left out; files are in the page
cache. Bytes are those of the first answer, `rchar` of /proc/self/io: all that read calls return.
All methods must find the same rows.
"""

from __future__ import annotations

import hashlib
import json
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

from engine.catalogue.finish import write_metadata
from engine.catalogue.leaves import (
    file_sha256,
    leaf_path,
    read_parquet,
    sort_rows,
    write_parquet,
)
from engine.catalogue.read import read_leaf_pixels, read_properties, read_schema
from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.cli import cli
from engine.journal import Journal
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
NUM_REPEATS = 3
NUM_IDS = 1000

COLUMNS = ["TARGETID", "RA", "DEC", "Z_PHOT_MEDIAN"]

Question = dict[str, Any]
Method = Callable[[Path, Question], np.ndarray]


@click.command()
@click.option("--rows", default=20_000_000, help="Rows of the catalogue.", show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True, help="Keeps it.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--worker", nargs=2, hidden=True, help="Method and question.")
def main(rows: int, scratch: Path, output: Path, worker: tuple[str, str] | None) -> None:
    """Measure, print and record."""
    catalogue = make_catalogue(scratch, rows)
    questions = make_questions(catalogue)
    if worker is not None:
        method, name = worker
        print(json.dumps(measure(METHODS[method], catalogue, questions[name])))
        return
    answers: dict[str, dict[str, Any]] = {}
    for name in questions:
        for method in METHODS:
            command = [sys.executable, __file__, "--rows", str(rows), "--scratch", str(scratch)]
            done = subprocess.run(
                [*command, "--worker", method, name], check=True, stdout=subprocess.PIPE, text=True
            )
            answers.setdefault(name, {})[method] = json.loads(done.stdout.splitlines()[-1])
            say(name, method, answers[name][method])
        if len({answer["ids_sha256"] for answer in answers[name].values()}) > 1:
            raise SystemExit(f"{name}: the methods do not find the same rows")
    leaves = read_leaf_pixels(catalogue)
    result = {
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("duckdb", "lsdb", "hats", "pyarrow")},
        "catalogue": {
            "num_rows": int(read_properties(catalogue)["hats_nrows"]),
            "num_leaves": len(leaves),
            "num_bytes": sum(leaf_path(catalogue, leaf).stat().st_size for leaf in leaves),
        },
        "seconds_are": f"least of {NUM_REPEATS}, rows in memory, page cache warm",
        "bytes_are": "rchar of /proc/self/io, first answer",
        "questions": answers,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")


def say(name: str, method: str, answer: dict[str, Any]) -> None:
    """One line."""
    print(
        f"{name:10s} {method:8s} {answer['seconds']:8.3f} s {answer['read_bytes'] / 1e6:10.2f} MB"
        f"  {answer['num_rows']:,} rows",
        flush=True,
    )


# --- the catalogue -------------------------------------------------------------------------------


def make_catalogue(scratch: Path, num_rows: int) -> Path:
    """The catalogue of that many rows in the scratch folder, written unless it is there."""
    journal = Journal(scratch / f"rows-{num_rows}")
    catalogue = journal.catalogue_folder
    if (catalogue / "hats.properties").exists():
        return catalogue
    begin = time.perf_counter()
    real = _mock_run(scratch)
    schema = read_schema(real / "catalogue")
    source = pa.concat_tables(
        read_parquet(leaf_path(real / "catalogue", pixel))
        for pixel in read_leaf_pixels(real / "catalogue")
    )
    num_leaves = max(MIN_LEAVES, round(num_rows / ROWS_PER_LEAF))
    manifest = {}
    for number, size in enumerate(np.diff(np.linspace(0, num_rows, num_leaves + 1).astype(int))):
        pixel = Pixel(ORDER, FIRST_PIXEL + number)
        path = leaf_path(catalogue, pixel)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(_leaf_rows(source, pixel, int(size), schema), path)
        manifest[str(pixel.number)] = {
            "rows": int(size),
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
    plan = replace(Journal(real).read_plan(), order=ORDER)
    write_metadata(journal, plan, schema, manifest, is_partial=False)
    print(f"wrote {num_rows:,} rows in {time.perf_counter() - begin:.0f} s", flush=True)
    return catalogue


def _mock_run(scratch: Path) -> Path:
    """A small finished run, whose rows are repeated."""
    run = scratch / "mock-run"
    if not (run / "catalogue" / "hats.properties").exists():
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
    return sort_rows(pa.table(columns, schema=schema))


# --- questions and methods -----------------------------------------------------------------------


def make_questions(catalogue: Path) -> dict[str, Question]:
    """What is asked; all positions lie in the middle leaf or at its edges."""
    pixels = read_leaf_pixels(catalogue)
    middle = pixels[len(pixels) // 2]
    ra_deg, dec_deg = (float(x[0]) for x in pixel_centres(np.array([middle.number]), ORDER))
    ids = read_parquet(leaf_path(catalogue, middle), ["TARGETID"])["TARGETID"].to_numpy()
    chosen = np.random.default_rng(0).choice(ids, NUM_IDS, replace=False)
    box = [ra_deg - 0.5, ra_deg + 0.5, dec_deg - 0.5, dec_deg + 0.5]
    return {
        "cone 60''": {"cone": [ra_deg, dec_deg, 60]},
        "cone 1 deg": {"cone": [ra_deg, dec_deg, 3600]},
        "box 1 deg": {"box": box},
        "1000 ids": {"ids": chosen.tolist()},
        "full scan": {"above": 1.2},
    }


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
    files = f"{catalogue}/dataset/Norder=*/Dir=*/Npix=*.parquet"
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
    rows = ds.dataset(catalogue / "dataset").to_table(columns=COLUMNS, filter=test)
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
        opened = opened[opened["TARGETID"].isin(question["ids"])]
    else:
        opened = opened.query(f"Z_PHOT_MEDIAN > {question['above']}")
    return opened.compute()["TARGETID"].to_numpy()


METHODS: dict[str, Method] = {
    "engine": by_engine,
    "duckdb": by_duckdb,
    "pyarrow": by_pyarrow,
    "lsdb": by_lsdb,
}


def measure(method: Method, catalogue: Path, question: Question) -> dict[str, Any]:
    """Ask three times in this process."""
    begin_bytes = bytes_read() or 0
    seconds, read_bytes = [], 0
    ids = np.empty(0, np.int64)
    for number in range(NUM_REPEATS):
        begin = time.perf_counter()
        ids = method(catalogue, question)
        seconds.append(time.perf_counter() - begin)
        if number == 0:
            read_bytes = (bytes_read() or 0) - begin_bytes
    digest = hashlib.sha256(np.sort(ids).astype(np.int64).tobytes()).hexdigest()
    return {
        "seconds": min(seconds),
        "seconds_first": seconds[0],
        "read_bytes": read_bytes,
        "num_rows": len(ids),
        "ids_sha256": digest,
    }


if __name__ == "__main__":
    main()
