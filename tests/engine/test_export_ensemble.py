"""The qp ensemble, read back with qp and tables_io as RAIL does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.dataset as ds
import pytest
import qp
import tables_io

from engine.export.ensemble import extended_levels, extended_redshifts

Engine = Callable[..., str]


@pytest.fixture(scope="module")
def rows(finished_run: Path) -> dict[str, Any]:
    """The catalogue in the order of its leaves, read with pyarrow's own data set reader."""
    table = ds.dataset(
        finished_run / "catalogue" / "photoz" / "dataset", format="parquet"
    ).to_table()
    table = table.sort_by("_healpix_29")
    names = ("TARGETID", "RA", "TYPE", "Z_PHOT_MEAN", "Z_PHOT_MEDIAN", "Z_PHOT_MODE", "Z_PHOT_U68")
    columns = {name: table[name].to_numpy() for name in names}
    return {**columns, "quantiles": np.array(table["Z_PHOT_QUANTILES"].to_pylist())}


@pytest.fixture(scope="module")
def ensemble_file(
    engine: Engine, finished_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("qp") / "mock.hdf5"
    text = engine("export", finished_run / "catalogue", "--qp", path)
    assert "posteriors of 23 quantiles" in text
    return path


def test_qp_reads_our_quantiles_and_estimates(ensemble_file: Path, rows: dict[str, Any]) -> None:
    assert qp.is_qp_file(str(ensemble_file))
    ensemble = qp.read(str(ensemble_file))
    assert ensemble.npdf == len(rows["TARGETID"])
    order = np.argsort(ensemble.ancil["object_id"])
    mine = np.argsort(rows["TARGETID"])
    assert (ensemble.ancil["object_id"][order] == rows["TARGETID"][mine]).all()
    for name, column in (
        *(("zmean", "Z_PHOT_MEAN"), ("zmedian", "Z_PHOT_MEDIAN"), ("zmode", "Z_PHOT_MODE")),
        *(("RA", "RA"), ("Z_PHOT_U68", "Z_PHOT_U68")),
    ):
        assert (ensemble.ancil[name][order] == rows[column][mine]).all()
    assert (ensemble.ancil["TYPE"].astype(str)[order] == rows["TYPE"][mine].astype(str)).all()
    # The stored levels come back exactly (float32), read off qp's own inverse CDF.
    levels = ensemble.metadata["quants"][1:-1]
    for place, level in enumerate(levels):
        found = ensemble.ppf(np.array([[level]])).ravel()[order]
        np.testing.assert_allclose(found, rows["quantiles"][mine, place], atol=1e-6)


def test_means_of_qp_agree_within_what_quantiles_allow(ensemble_file: Path) -> None:
    ensemble = qp.read(str(ensemble_file))
    z = np.linspace(0, 6, 3001)
    density = ensemble.pdf(z)
    assert density.min() >= 0
    mean = (density * z).sum(axis=1) / density.sum(axis=1)
    error = np.abs(mean - ensemble.ancil["zmean"]) / (1 + ensemble.ancil["zmean"])
    assert np.median(error) < 0.003
    assert np.percentile(error, 90) < 0.02


def test_rail_reads_it_in_chunks(ensemble_file: Path, rows: dict[str, Any]) -> None:
    num_rows, num_chunks = 0, 0
    for begin, end, chunk in qp.iterator(str(ensemble_file), chunk_size=100):
        assert chunk.npdf == end - begin == len(chunk.ancil["zmode"])
        num_rows, num_chunks = num_rows + chunk.npdf, num_chunks + 1
    assert num_rows == len(rows["TARGETID"])
    assert num_chunks > 1


def test_tables_io_reads_three_tables(ensemble_file: Path, rows: dict[str, Any]) -> None:
    tables = tables_io.read(str(ensemble_file))
    assert set(tables) == {"meta", "data", "ancil"}
    assert {len(column) for column in tables["ancil"].values()} == {len(rows["TARGETID"])}
    assert tables["data"]["locs"].shape == (len(rows["TARGETID"]), 23)
    with h5py.File(ensemble_file) as file:
        assert all(column.chunks is not None for column in file["ancil"].values())


def test_mistakes_are_one_line(
    engine: Engine, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = finished_run / "catalogue"
    assert "ends in .hdf5" in engine("export", catalogue, "--qp", tmp_path / "a.fits", expect=2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr("engine.export.ensemble.find_spec", lambda name: None)
    text = engine("export", catalogue, "--qp", tmp_path / "a.hdf5", expect=2)
    assert "pip install 'photoz-engine[qp]'" in text
    assert not (tmp_path / "a.hdf5").exists()


def test_ends_go_on_with_the_last_density_and_stay_above_zero() -> None:
    levels = np.array([0.1, 0.2, 0.8, 0.9])
    redshifts = extended_redshifts(np.array([[1, 1.2, 2, 2.3], [0.05, 0.2, 1, 1.1]]), levels)
    np.testing.assert_allclose(redshifts[:, 0], [0.8, 0.0], atol=1e-7)
    np.testing.assert_allclose(redshifts[:, -1], [2.6, 1.2], rtol=1e-6)
    assert extended_levels(levels)[[0, -1]].tolist() == [0, 1]
