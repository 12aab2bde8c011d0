"""Sums over leaves against the whole catalogue at once, and against other ways to count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from engine.catalogue.read import read_leaf_pixels
from engine.evaluate_catalogue import evaluate_catalogue
from engine.known import read_known
from engine.leaf_columns import catalogue_columns, iterate_leaves, quantile_levels
from engine.report.gather import gather_run
from engine.report.statistics import (
    DEPTH_EDGES,
    CatalogueStatistics,
    needed_columns,
    summarise_leaf,
)
from partitions.schema import BANDS, QUALITY_BITS


@pytest.fixture(scope="module")
def found(finished_run: Path) -> CatalogueStatistics:
    catalogue = gather_run(finished_run, None).catalogue
    assert catalogue is not None
    return catalogue


def test_counts_are_those_of_the_rows(found: CatalogueStatistics, finished_run: Path) -> None:
    table = ds.dataset(
        finished_run / "catalogue" / "photoz" / "dataset", format="parquet"
    ).to_table()
    rows = table.to_pandas()
    assert found.num_rows == len(rows)
    assert found.classes == {
        name: int(((rows["DESI_TARGET"] & 1 << bit) != 0).sum())
        for name, bit in (("BGS", 60), ("LRG", 0), ("ELG", 1), ("QSO", 2))
    }
    assert all(found.classes.values())
    for name, bit in QUALITY_BITS.items():
        assert found.flags[name] == sum(bool(flag & 1 << bit) for flag in rows["Z_PHOT_FLAG"])
    assert found.num_clean == int((rows["Z_PHOT_FLAG"] == 0).sum())
    sets = rows.apply(
        lambda row: " ".join(b for b in BANDS if row[f"FLUX_IVAR_{b.upper()}"] > 0) or "none",
        axis=1,
    )
    assert found.band_sets == sets.value_counts().to_dict()
    stars = rows[(rows["TYPE"] == "PSF") & (rows["FLUX_IVAR_R"] > 0)]
    depth = 22.5 - 2.5 * np.log10(5 * stars["FLUX_IVAR_R"] ** -0.5)
    assert found.depth["r"].median(DEPTH_EDGES) == pytest.approx(depth.median(), abs=0.06)
    bright = rows[rows["FLUX_IVAR_R"] > 0]
    flux = bright["FLUX_R"] / bright["MW_TRANSMISSION_R"]
    logarithmic = (22.5 - 2.5 * np.log10(flux[flux > 10])).to_numpy()
    counted = found.features["MAG_R"].counts[: int((20 - 14) / 0.25)].sum()
    assert counted == pytest.approx(((logarithmic >= 14) & (logarithmic < 20)).sum(), abs=2)


def test_stack_has_every_source(found: CatalogueStatistics) -> None:
    assert found.nz["all"].sum() == pytest.approx(found.num_rows, rel=0.01)
    for name, number in found.classes.items():
        assert found.nz[name].sum() == pytest.approx(number, rel=0.01)


def test_types_stand_in_for_classes_where_there_are_none(finished_run: Path) -> None:
    catalogue = finished_run / "catalogue"
    others = [name for name in catalogue_columns(catalogue) if name != "BGS_TARGET"]
    _, leaf = next(
        iterate_leaves(catalogue, needed_columns(others), read_leaf_pixels(catalogue)[:1])
    )
    found = summarise_leaf(leaf, quantile_levels(catalogue), None)
    assert found.classes == {
        name: int((leaf["TYPE"] == name).sum()) for name in ("PSF", "REX", "EXP", "DEV", "SER")
    }
    by_type = sum(value for name, value in found.nz.items() if name != "all")
    np.testing.assert_allclose(by_type, found.nz["all"], atol=1e-6)


def test_known_redshifts_agree_with_engine_evaluate(
    found: CatalogueStatistics, finished_run: Path, mock_survey: Path
) -> None:
    known = read_known(mock_survey / "truth.fits")
    expected = evaluate_catalogue(finished_run / "catalogue", known).slices["all"].report()
    assert found.known.report() == expected
    assert found.plane.sum() + found.num_known_beyond == expected["num_objects"]
    # Calibrated posteriors: no tenth of PIT holds three times its share.
    assert found.known.pit_counts.sum() == expected["num_objects"]
    assert found.known.pit_counts.max() < 3 * expected["num_objects"] / len(found.known.pit_counts)


def test_any_split_of_the_rows_merges_to_the_same(finished_run: Path) -> None:
    catalogue = finished_run / "catalogue"
    columns = needed_columns(catalogue_columns(catalogue))
    levels = quantile_levels(catalogue)
    _, leaf = next(iterate_leaves(catalogue, columns, read_leaf_pixels(catalogue)[:1]))
    z_spec = np.where(np.arange(len(leaf["TYPE"])) % 2, 0.7, np.nan)
    whole = summarise_leaf(leaf, levels, z_spec)
    middle = len(z_spec) // 3
    halves = CatalogueStatistics()
    for rows in (slice(middle, None), slice(0, 0), slice(0, middle)):
        part = {name: values[rows] for name, values in leaf.items()}
        halves = halves + summarise_leaf(part, levels, z_spec[rows])
    assert halves.num_rows == whole.num_rows
    assert halves.flags == whole.flags
    assert halves.band_sets == whole.band_sets
    assert halves.known == whole.known
    assert (halves.plane == whole.plane).all()
    for name, histogram in whole.features.items():
        assert (halves.features[name].counts == histogram.counts).all()
        assert halves.features[name].above == histogram.above
    for name, stack in whole.nz.items():
        np.testing.assert_allclose(halves.nz[name], stack, atol=1e-6)


def test_target_classes_are_used_where_the_catalogue_has_them(finished_run: Path) -> None:
    catalogue = finished_run / "catalogue"
    assert "DESI_TARGET" in needed_columns(
        [*catalogue_columns(catalogue), "DESI_TARGET", "BGS_TARGET"]
    )
    columns = needed_columns(["TYPE"])
    _, leaf = next(iterate_leaves(catalogue, columns))
    bits = np.zeros(len(leaf["TYPE"]), np.int64)
    bits[:4] = [1 << 0, 1 << 1 | 1 << 60, 1 << 1, 1 << 50]
    leaf = {**leaf, "DESI_TARGET": bits, "BGS_TARGET": np.zeros_like(bits)}
    found = summarise_leaf(leaf, quantile_levels(catalogue), None)
    assert found.classes == {"LRG": 1, "ELG": 2, "QSO": 0, "BGS": 1}
    assert found.nz["ELG"].sum() == pytest.approx(2, rel=0.05)
