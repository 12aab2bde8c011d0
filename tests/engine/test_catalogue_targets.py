"""Target bits of the catalogue against desitarget on the Tractor files; cuts left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy.table import Table, vstack

from partitions.dr10 import open_survey, read_bricks, read_tractor
from partitions.targets import (
    DESI_TARGET_BITS,
    TARGET_COLUMNS,
    UNKNOWN_PHOTSYS,
    release_to_photsys,
    target_bits,
)

Engine = Callable[..., str]


def read_rows(catalogue: Path) -> Any:
    return ds.dataset(catalogue / "photoz" / "dataset", format="parquet").to_table().to_pandas()


def test_bits_equal_desitargets_on_the_tractor_files(
    finished_run: Path, mock_survey: Path, desitarget_bits: Callable[..., Any]
) -> None:
    """The files read with astropy alone; RELEASE 10002 is told to be S."""
    inputs = vstack([Table.read(p) for p in sorted(mock_survey.glob("south/tractor/*/*.fits"))])
    columns = {name: np.asarray(inputs[name.lower()]) for name in TARGET_COLUMNS}
    desi, bgs = desitarget_bits(columns, np.full(len(inputs), "S"))
    keys = zip(inputs["release"], inputs["brickid"], inputs["objid"], strict=True)
    place = {tuple(int(part) for part in key): row for row, key in enumerate(keys)}
    rows = read_rows(finished_run / "catalogue")
    found = [place[key] for key in zip(rows.RELEASE, rows.BRICKID, rows.OBJID, strict=True)]
    np.testing.assert_array_equal(rows.DESI_TARGET, desi[found])
    np.testing.assert_array_equal(rows.BGS_TARGET, bgs[found])
    assert set(rows.PHOTSYS) == {"S"}
    assert set(rows.RELEASE) == {10000, 10002}
    for name in ("LRG", "ELG_LOP", "QSO", "BGS_ANY"):
        assert (rows.DESI_TARGET.to_numpy() >> DESI_TARGET_BITS[name] & 1).sum() >= 10, name


def test_verify_finds_bits_that_no_cut_sets(engine: Engine, run_copy: Path) -> None:
    path = min(run_copy.glob("catalogue/photoz/dataset/*/*/*.parquet"))
    table = pq.ParquetFile(path).read()
    bits = table["DESI_TARGET"].to_numpy().copy()
    bits[0] = 1 << DESI_TARGET_BITS["ELG_NORTH"]
    index = table.schema.get_field_index("DESI_TARGET")
    pq.write_table(table.set_column(index, table.schema.field(index), [bits]), path)
    text = engine("verify", run_copy / "catalogue", expect=1)
    assert "has bits that PHOTSYS 'S' lacks" in text


@pytest.fixture(scope="module")
def run_without_fiberflux_z(
    engine: Engine, mock_survey: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of two bricks; the Tractor table of one has no column fiberflux_z."""
    folder = tmp_path_factory.mktemp("columns")
    shutil.copytree(mock_survey, folder / "survey")
    names = list(read_bricks(open_survey(folder / "survey")))[:2]
    (tractor,) = (folder / "survey").glob(f"south/tractor/*/tractor-{names[0]}.fits")
    (tractor.parent / f"brick-{names[0]}.sha256sum").unlink()
    table = Table.read(tractor)
    table.remove_column("fiberflux_z")
    table.write(tractor, overwrite=True)
    (folder / "bricks.txt").write_text("\n".join(names))
    run = folder / "run"
    arguments = ("--survey", folder / "survey", "--bricks", folder / "bricks.txt")
    engine("run", *arguments, "--output", run, "--workers", 0)
    return run


def test_a_missing_column_is_told_and_its_bits_are_zero(
    engine: Engine, run_without_fiberflux_z: Path, finished_run: Path
) -> None:
    run = run_without_fiberflux_z
    status = json.loads(engine("status", run, "--json"))
    assert status["targets_left_out"] == {"LRG": {"no column FIBERFLUX_Z": 1}}
    assert "no LRG bits in 1 brick: no column FIBERFLUX_Z" in engine("status", run)
    rows, whole = read_rows(run / "catalogue"), read_rows(finished_run / "catalogue")
    changed = rows.merge(whole, on="TARGETID", suffixes=("", "_WHOLE"))
    assert len(changed) == len(rows)
    lrg = sum(1 << bit for name, bit in DESI_TARGET_BITS.items() if name[:3] in ("LRG", "LGE"))
    differs = changed.DESI_TARGET != changed.DESI_TARGET_WHOLE
    assert differs.any()
    assert changed.BRICKID[differs].nunique() == 1
    np.testing.assert_array_equal(
        changed.DESI_TARGET[differs], changed.DESI_TARGET_WHOLE[differs] & ~lrg
    )
    assert "passed" in engine("verify", run / "catalogue")


def test_area_of_a_class_leaves_out_bricks_without_its_cuts(
    engine: Engine, run_without_fiberflux_z: Path
) -> None:
    catalogue = run_without_fiberflux_z / "catalogue"
    ask = ("targets", catalogue, "--z", 0.3, 1.2, "--json", "--class")
    elg, lrg = (json.loads(engine(*ask, name)) for name in ("ELG", "LRG"))
    assert elg["left_out"] == {}
    assert lrg["left_out"] == {"no column FIBERFLUX_Z": 1}
    assert 0 < lrg["covered_deg2"] < 0.7 * elg["covered_deg2"]
    text = engine("targets", catalogue, "--class", "LRG", "--z", 0.3, 1.2)
    assert "no LRG bits in 1 brick, left out of the area: no column FIBERFLUX_Z" in text


def test_real_bricks_say_what_they_lack(real_bricks: Path) -> None:
    """legacypipe's own RELEASE 9999 is of no known system; one brick has no WISE columns."""
    reasons = {}
    for case in ("testcase9", "testcase4"):
        layout = open_survey(real_bricks / case)
        (brick,) = read_bricks(layout).values()
        table = read_tractor(layout, brick)
        found = target_bits(table.target_columns, release_to_photsys(table.release))
        reasons[case] = found.left_out
        assert not found.desi_target.any()
        assert not found.bgs_target.any()
    assert reasons["testcase4"] == dict.fromkeys(("ELG", "LRG", "BGS", "QSO"), UNKNOWN_PHOTSYS)
    assert reasons["testcase9"]["ELG"] == UNKNOWN_PHOTSYS
    assert reasons["testcase9"]["LRG"].startswith("no column FLUX_W1")
