"""A catalogue of the whole sky, written by the engine's own fragments and finish."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine.catalogue.leaves as leaves
from engine.catalogue.finish import finish_catalogue
from engine.catalogue.layout import leaf_path
from engine.catalogue.leaves import read_parquet, write_fragments
from engine.catalogue.read import primary_folder, read_leaf_pixels, read_schema
from engine.catalogue.votable import without_votable
from engine.journal import Journal
from engine.targets import encode_targetid
from partitions.healpix import radec_to_spatial_index

NUM_ROWS = 30_000
ORDER = 1
ROW_GROUP_ROWS = 120
CLUMPS = (
    *((0, 90), (0, -90), (0, 0), (0, 60), (90, 0), (180, 89)),
    *((45, 41.8103), (315, -41.8103)),  # Where base pixels meet.
)


@dataclass(frozen=True)
class AllSky:
    """The catalogue and the positions that went into it."""

    path: Path
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    targetid: np.ndarray

    def ids(self, mask: np.ndarray) -> set[int]:
        return set(self.targetid[mask].tolist())


def sky_positions() -> tuple[np.ndarray, np.ndarray]:
    """Uniform, with clumps where it is hard: poles, RA 0, corners of base pixels."""
    rng = np.random.default_rng(29)
    num_uniform = NUM_ROWS - 8 * 1000 - 10
    ra = [rng.uniform(0, 360, num_uniform)]
    dec = [np.degrees(np.arcsin(rng.uniform(-1, 1, num_uniform)))]
    for centre_ra, centre_dec in CLUMPS:
        widen = 1 / max(np.cos(np.radians(centre_dec)), 0.02)
        clump_ra = centre_ra + widen * rng.normal(0, 3, 1000)
        clump_dec = centre_dec + rng.normal(0, 3, 1000)
        is_beyond = np.abs(clump_dec) > 90  # Over the pole, on the opposite meridian.
        clump_ra = np.where(is_beyond, clump_ra + 180, clump_ra)
        ra.append(clump_ra % 360)
        dec.append(np.where(is_beyond, np.sign(clump_dec) * 180 - clump_dec, clump_dec))
    # On the poles, RA is any; on RA 0, once as 0 and once a rounding below 360.
    ra.append(np.array([0, 123.4, 271, 0, 200, 0, np.nextafter(360, 0), 10, 10, 45.0]))
    dec.append(np.array([90, 90, 90, -90, -90, 10, 10, 20, 20, 0.0]))
    return np.concatenate(ra), np.concatenate(dec)


def replace_columns(table: pa.Table, values: Mapping[str, np.ndarray]) -> pa.Table:
    """A table with other values of the same types."""
    for name, column in values.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pa.array(column, type=field.type))
    return table


def write_all_sky(run: Path, folder: Path) -> AllSky:
    """Rows of a real run, repeated at other positions, through fragments, receipt and finish."""
    real = run / "catalogue"
    schema = without_votable(read_schema(real))
    rows = pa.concat_tables(
        [read_parquet(leaf_path(primary_folder(real), pixel)) for pixel in read_leaf_pixels(real)]
    )
    rng = np.random.default_rng(7)
    rows = rows.take(pa.array(rng.integers(0, rows.num_rows, NUM_ROWS)))
    ra_deg, dec_deg = sky_positions()
    identity = {
        "RELEASE": np.full(NUM_ROWS, 10000),
        "BRICKID": 1 + np.arange(NUM_ROWS) // 50,
        "OBJID": np.arange(NUM_ROWS) % 50,
    }
    targetid = encode_targetid(*identity.values())
    index = radec_to_spatial_index(ra_deg, dec_deg)
    table = replace_columns(
        rows,
        {"_healpix_29": index, "RA": ra_deg, "DEC": dec_deg, "TARGETID": targetid, **identity},
    ).cast(schema)  # fmt: skip
    plan = Journal(run).read_plan()
    plan = replace(plan, order=ORDER, partitions=plan.partitions[:1])
    journal = Journal(folder)
    pixel = plan.partitions[0].pixel
    with journal.locked():
        plan = journal.begin(plan)
        fragments = journal.fragments_folder / str(pixel)
        written = write_fragments(table, ORDER, fragments, journal.wip_folder)
        receipt = {"plan_digest": plan.digest, "leaves": written, "bricks": {}, "quarantined": {}}
        journal.record(pixel, receipt)
        finish_catalogue(journal, plan)
    return AllSky(journal.catalogue_folder, ra_deg, dec_deg, targetid)


@pytest.fixture(scope="session")
def all_sky(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> AllSky:
    """30,000 rows in 48 leaves of several row groups each; read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "_ROW_GROUP_ROWS", ROW_GROUP_ROWS)
        made = write_all_sky(finished_run, tmp_path_factory.mktemp("all-sky") / "run")
    manifest = json.loads((made.path / "_engine" / "leaves.json").read_text())["leaves"]
    assert len(manifest) == 48
    assert pq.read_metadata(next(made.path.rglob("Npix=0.parquet"))).num_row_groups > 2
    return made
