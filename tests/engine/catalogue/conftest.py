"""A small collection from sources strewn where HEALPix is awkward."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.catalogue.finish import finish_catalogue
from engine.catalogue.leaves import write_fragments
from engine.catalogue.schema import catalogue_schema, rows_to_table
from engine.file_states import FileStates
from engine.journal import Journal
from engine.plan import PlannedBrick, PlannedPartition
from model.posterior import QUANTILE_LEVELS, RedshiftGrid, summarise
from partitions.bricks import Brick
from partitions.healpix import Pixel, radec_to_pixel
from partitions.schema import BANDS

PLACES = {
    "north pole": (0.0, 90.0),
    "south pole": (123.0, -90.0),
    "RA 0": (0.0, 0.0),
    "corner of three base pixels": (90.0, float(np.degrees(np.arcsin(2 / 3)))),
    "corner of four base pixels": (45.0, 0.0),
    "edge between polar base pixels": (90.0, 70.0),
    "edge of a polar and an equatorial base pixel": (
        10.0,
        float(np.degrees(np.arcsin(2 / 3 * (1 - 10 / 45)))),
    ),
}
"""Name -> RA, DEC, degrees."""

EMPTY_PLACE = (89.999, 70.0)
"""In the pixel west of the edge between polar base pixels, which has no sources."""

NUM_SOURCES = 100
"""Strewn around each place."""


def strew(
    rng: np.random.Generator, ra_deg: float, dec_deg: float, num: int, radius_arcsec: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(num,) RA and DEC of positions spread over a disc; also at the poles."""
    ra, dec = np.radians([ra_deg, dec_deg])
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.cross(centre, east)
    radius = np.radians(radius_arcsec / 3600) * np.sqrt(rng.uniform(size=(num, 1)))
    angle = rng.uniform(0, 2 * np.pi, (num, 1))
    vectors = centre + radius * (np.cos(angle) * east + np.sin(angle) * north)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ra_out = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    # Better than arcsin(z) near the poles.
    dec_out = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    return ra_out, dec_out


@pytest.fixture(scope="session")
def sky_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at nside 32 whose sources lie around PLACES, within 30 arcsec; read only."""
    folder = tmp_path_factory.mktemp("runs") / "sky"
    rng = np.random.default_rng(8)
    places = [strew(rng, ra, dec, NUM_SOURCES, 30.0) for ra, dec in PLACES.values()]
    ra_deg, dec_deg = (np.concatenate(part) for part in zip(*places, strict=True))
    # One pixel is left empty: sources of another catalogue may still lie there.
    kept = radec_to_pixel(ra_deg, dec_deg, 5) != radec_to_pixel(*EMPTY_PLACE, 5)
    ra_deg, dec_deg = ra_deg[kept], dec_deg[kept]
    num = len(ra_deg)
    grid = RedshiftGrid.uniform(0.0, 4.0, 0.05)
    brick = Brick("0000p000", 1, 0.0, 0.0, -0.125, 0.125, -0.125, 0.125)
    partition = PlannedPartition(Pixel(5, 0), (PlannedBrick(brick, num, FileStates.of({})),))
    plan = replace(
        Journal(finished_run).read_plan(), redshift_range=(0.0, 4.0), partitions=(partition,)
    )
    folder.mkdir()
    journal = Journal(folder)
    journal.begin(plan)
    per_band = np.ones((num, len(BANDS)), np.float32)
    arrays = {
        "ra_deg": ra_deg,
        "dec_deg": dec_deg,
        "release": np.full(num, 10000, np.int16),
        "brickid": np.full(num, brick.brickid, np.int32),
        "objid": rng.permutation(num).astype(np.int32),
        "type_code": np.zeros(num, np.int8),
        "ebv": np.zeros(num, np.float32),
        "maskbits": np.zeros(num, np.int32),
        "desi_target": np.zeros(num, np.int64),
        "bgs_target": np.zeros(num, np.int64),
        "flux": per_band * rng.uniform(1, 9, (num, 1)).astype(np.float32),
        "flux_ivar": per_band,
        "mw_transmission": per_band,
    }
    summary = summarise(rng.uniform(size=(num, grid.num_bins)), grid, QUANTILE_LEVELS)
    table = rows_to_table(
        arrays, summary, np.zeros(num, np.int32), catalogue_schema(QUANTILE_LEVELS)
    )
    fragments = journal.fragments_folder / str(partition.pixel)
    receipt = {
        "plan_digest": plan.digest,
        "num_sources": num,
        "leaves": write_fragments(table, plan.order, fragments, journal.wip_folder),
        "bricks": {
            brick.name: {
                "num_sources": num,
                "area_deg2": brick.area_deg2,
                "covered_deg2": {"grz": brick.area_deg2},
                "targets_left_out": {},
            }
        },
        "quarantined": {},
        "finished_at": time.time(),
    }
    journal.record(partition.pixel, json.loads(json.dumps(receipt)))
    finish_catalogue(journal, plan)
    return folder
