"""The collection as readers of HATS see it: hats, hats-import, lsdb, astropy."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import hats
import hats.io.skymap
import hats.io.validation
import lsdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.io.votable import parse
from astropy.io.votable.ucd import parse_ucd
from hats_import.verification import run_verification
from hats_import.verification.arguments import VerificationArguments

from engine.catalogue.columns import COLUMN_MEANINGS
from engine.catalogue.finish import finish_catalogue
from engine.catalogue.index import INDEX_SCHEMA, IndexReader, index_table
from engine.catalogue.leaves import write_parquet
from engine.catalogue.schema import catalogue_schema
from engine.journal import Journal
from model.posterior import QUANTILE_LEVELS
from partitions.healpix import radec_to_pixel

Engine = Callable[..., str]
PARTS = ("photoz", "photoz_10arcs", "photoz_targetid")


@pytest.fixture(params=["finished_run", "sky_run"])
def catalogue(request: pytest.FixtureRequest) -> Path:
    """A mock survey's collection, and one from around the poles and RA 0."""
    run: Path = request.getfixturevalue(request.param)
    return run / "catalogue"


def all_rows(catalogue: Path, part: str = "photoz") -> pa.Table:
    return ds.dataset(catalogue / part / "dataset", format="parquet").to_table()


def test_verify_passes(engine: Engine, catalogue: Path) -> None:
    text = engine("verify", catalogue)
    num_margin = all_rows(catalogue, "photoz_10arcs").num_rows
    assert num_margin > 10
    assert f"{num_margin:,} in margins" in text
    assert text.rstrip().endswith("passed")


def test_the_official_validator_accepts_every_part(
    catalogue: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert hats.io.validation.is_valid_catalog(str(catalogue), strict=True)
        for part in PARTS:
            assert hats.io.validation.is_valid_catalog(str(catalogue / part), strict=True)
    assert [r.message for r in caplog.records] == ["Looking for catalog - found collection."]


@pytest.mark.parametrize("part", ["", "photoz_10arcs"])
def test_hats_import_verification_passes(catalogue: Path, tmp_path: Path, part: str) -> None:
    arguments = VerificationArguments(
        input_catalog_path=str(catalogue / part),
        output_path=str(tmp_path),
        truth_total_rows=all_rows(catalogue, part or "photoz").num_rows,
        verbose=False,
    )
    verifier = run_verification.run(arguments)
    assert verifier.all_tests_passed, verifier.results_df.to_string()
    assert len(verifier.results) >= 6


def test_lsdb_opens_it_with_its_margin(catalogue: Path) -> None:
    opened = lsdb.open_catalog(str(catalogue), columns="all")
    assert opened.margin is not None
    assert opened.margin.hc_structure.catalog_info.margin_threshold == 10.0
    assert len(opened.compute(progress_bar=False)) == all_rows(catalogue).num_rows
    margin = opened.margin.compute(progress_bar=False)
    assert len(margin) == all_rows(catalogue, "photoz_10arcs").num_rows


def test_lsdb_finds_sources_by_targetid(catalogue: Path) -> None:
    rows = all_rows(catalogue).to_pandas()
    wanted = rows.sample(6, random_state=1)
    opened = lsdb.open_catalog(str(catalogue), columns=["TARGETID", "RA", "DEC"])
    found = opened.id_search(values={"TARGETID": wanted["TARGETID"].tolist()})
    pixels = {pixel.pixel for pixel in found.get_healpix_pixels()}
    assert pixels == set(radec_to_pixel(wanted["RA"], wanted["DEC"], 5).tolist())
    assert sorted(found.compute(progress_bar=False)["TARGETID"]) == sorted(wanted["TARGETID"])


def test_the_index_has_every_source_once_in_order(catalogue: Path) -> None:
    parts = sorted(
        (catalogue / "photoz_targetid/dataset/index").iterdir(),
        key=lambda path: int(path.suffixes[0][1:]),
    )
    index = pa.concat_tables(pq.read_table(path) for path in parts).to_pandas()
    rows = all_rows(catalogue).to_pandas().sort_values("TARGETID")
    assert index["TARGETID"].tolist() == rows["TARGETID"].tolist()
    assert index["Npix"].tolist() == radec_to_pixel(rows["RA"], rows["DEC"], 5).tolist()
    assert set(index["Norder"]) == {5}


def test_index_reader_over_many_row_groups(tmp_path: Path) -> None:
    """Identifiers between, before and after those of two parts of several row groups each."""
    rng = np.random.default_rng(2)
    known = np.sort(rng.choice(10_000_000, 250_000, replace=False)) * 2
    npix = rng.integers(0, 12288, len(known))
    footers = []
    for number, rows in enumerate((slice(0, 130_000), slice(130_000, None))):
        path = tmp_path / "dataset" / "index" / f"part.{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(index_table(known[rows], npix[rows], 5), path)
        footer = pq.read_metadata(path)
        footer.set_file_path(f"index/{path.name}")
        footers.append(footer)
    pq.write_metadata(INDEX_SCHEMA, tmp_path / "dataset/_metadata", metadata_collector=footers)
    reader = IndexReader.open(tmp_path)
    assert len(reader.row_groups) == 4
    asked = rng.permutation(len(known))[:5000]
    np.testing.assert_array_equal(reader.pixels_of(known[asked]), npix[asked])
    unknown = np.concatenate([known[asked] + 1, [-5, 3 * 10**7]])
    assert (reader.pixels_of(unknown) == -1).all()
    # A narrow range of identifiers needs one row group, not all of them.
    paths: list[int] = []
    narrow = IndexReader(reader.folder, reader.row_groups, reader.least, reader.largest)
    begins = np.searchsorted(known[:10], narrow.least)
    ends = np.searchsorted(known[:10], narrow.largest, side="right")
    paths += np.flatnonzero(ends > begins).tolist()
    assert paths == [0]


def test_every_column_has_a_meaning() -> None:
    names = [*catalogue_schema(QUANTILE_LEVELS).names, *INDEX_SCHEMA.names]
    assert [name for name in names if name not in COLUMN_MEANINGS] == []
    for name, meaning in COLUMN_MEANINGS.items():
        assert len(meaning.description) > 10, name
        parse_ucd(meaning.ucd, check_controlled_vocabulary=True, has_colon=False)
        units.Unit(meaning.unit, format="vounit")


def test_columns_of_positions_and_fluxes_have_units() -> None:
    assert {name for name, meaning in COLUMN_MEANINGS.items() if meaning.unit == "deg"} == {
        "RA",
        "DEC",
    }
    fluxes = [name for name in COLUMN_MEANINGS if name.startswith("FLUX_")]
    assert len(fluxes) == 12
    assert all("nanomaggy" in COLUMN_MEANINGS[name].unit for name in fluxes)


@pytest.mark.parametrize("part", PARTS)
def test_astropy_reads_units_and_descriptions(catalogue: Path, part: str) -> None:
    schema = pq.read_schema(catalogue / part / "dataset" / "_common_metadata")
    assert schema.metadata[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    content = schema.metadata[b"IVOA.VOTable-Parquet.content"]
    table = parse(io.BytesIO(content), verify="exception").get_first_table()
    assert [column.name for column in table.fields] == schema.names
    sizes = {"float": 4, "double": 8, "short": 2, "int": 4, "long": 8, "unsignedByte": 1}
    for column in table.fields:
        kind = schema.field(column.name).type
        assert column.description == COLUMN_MEANINGS[column.name].description
        assert column.ucd == COLUMN_MEANINGS[column.name].ucd
        if kind == pa.string():
            assert (column.datatype, column.arraysize) == ("char", "*")
        elif pa.types.is_fixed_size_list(kind):
            assert (column.datatype, column.arraysize) == ("float", str(kind.list_size))
        else:
            assert sizes[column.datatype] == kind.bit_width // 8
    if part != "photoz_targetid":
        assert str(table.get_field_by_id_or_name("RA").unit) == "deg"


def test_sky_maps_count_the_sources(catalogue: Path) -> None:
    rows = all_rows(catalogue)
    pixels = radec_to_pixel(rows["RA"], rows["DEC"], 8)
    read = hats.read_hats(str(catalogue / "photoz"))
    np.testing.assert_array_equal(
        hats.io.skymap.read_skymap(read, 8), np.bincount(pixels, minlength=12 << 16)
    )
    assert sorted(read.moc.flatten().tolist()) == np.unique(pixels).tolist()
    fraction = float(read.catalog_info.moc_sky_fraction)
    assert fraction == pytest.approx(len(np.unique(pixels)) / (12 << 16), abs=1e-8)


def test_footers_allow_pruning(catalogue: Path) -> None:
    """Statistics of every leaf in one file: a reader skips what cannot match."""
    footer = pq.read_metadata(catalogue / "photoz" / "dataset" / "_metadata")
    assert footer.num_rows == all_rows(catalogue).num_rows
    limits = footer.row_group(0)
    for column in range(limits.num_columns):
        chunk = limits.column(column)
        if "QUANTILES" not in chunk.path_in_schema:
            assert chunk.statistics.has_min_max, chunk.path_in_schema
    whole = ds.parquet_dataset(catalogue / "photoz" / "dataset" / "_metadata")
    for leaf in whole.get_fragments():
        assert len(leaf.subset(ds.field("DEC") <= 90, schema=whole.schema).row_groups) == 1
        assert leaf.subset(ds.field("DEC") > 90, schema=whole.schema).row_groups == []


def test_provenance_is_in_every_part(finished_run: Path) -> None:
    plan = Journal(finished_run).read_plan()
    catalogue = finished_run / "catalogue"
    files = [catalogue / part / "hats.properties" for part in PARTS]
    for path in [*files, catalogue / "collection.properties"]:
        text = path.read_text()
        for line in (
            f"engine_plan_digest={plan.digest}",
            f"engine_weights_digest={plan.weights_digest}",
            f"engine_version={plan.engine_version}",
            f"prov_progenitor={plan.survey.root.name}",
            "engine_redshift_max=4.0",
        ):
            assert f"{line}\n" in text


def test_finish_again_gives_the_same_bytes(run_copy: Path) -> None:
    def content() -> dict[str, bytes]:
        files = (path for path in (run_copy / "catalogue").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    before = content()
    assert len(before) > 20
    stray = run_copy / "catalogue/photoz_10arcs/dataset/Norder=5/Dir=0/Npix=1.parquet"
    stray.write_bytes(b"of an earlier finish")
    (run_copy / "catalogue" / "hats.properties").write_text("of a single catalogue")
    journal = Journal(run_copy)
    finish_catalogue(journal, journal.read_plan())
    assert content() == before
    assert not list(journal.wip_folder.iterdir())


def test_a_crash_in_the_margin_leaves_no_catalogue(
    engine: Engine, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.catalogue.finish.MarginSpill.read", fail)
    engine("finish", run_copy, expect=2)
    monkeypatch.undo()
    assert "no finished catalogue" in engine("verify", run_copy / "catalogue", expect=2)
    assert not json.loads(engine("status", run_copy, "--json"))["finished"]
    with pytest.raises(FileNotFoundError):
        hats.read_hats(str(run_copy / "catalogue"))
    engine("finish", run_copy)
    assert "passed" in engine("verify", run_copy / "catalogue")
