"""What a question gives: columns, types, limits, counts, ids, and what it reads for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.catalogue.layout import leaf_path
from engine.catalogue.leaves import read_parquet
from engine.catalogue.read import primary_folder, read_leaf_pixels, read_schema
from engine.config import UserError
from engine.query import Box, Cone, Pixels, Polygon, TargetIds, query
from engine.query.io_counter import bytes_read

if TYPE_CHECKING:
    from tests.engine.query.conftest import AllSky


def whole(catalogue: Path) -> pa.Table:
    """All rows, read without a query."""
    return pa.concat_tables(
        read_parquet(leaf_path(primary_folder(catalogue), pixel))
        for pixel in read_leaf_pixels(catalogue)
    )


def test_no_question_is_the_whole_catalogue_in_its_order(finished_run: Path) -> None:
    with query(finished_run / "catalogue") as answer:
        found = answer.read()
    assert found.equals(whole(finished_run / "catalogue"))
    assert found.schema.equals(read_schema(finished_run / "catalogue"), check_metadata=True)


def test_order_is_kept_where_many_leaves_are_cut(all_sky: AllSky) -> None:
    box = Box(30, 80, -50, 60)
    with query(all_sky.path, box, columns=["_healpix_29", "OBJID"]) as answer:
        index = answer.read()["_healpix_29"].to_numpy()
        assert len(answer.plan.runs) > 1
    assert len(index) > 1000
    assert np.all(np.diff(index) >= 0)


def test_columns_where_and_limit(finished_run: Path) -> None:
    catalogue = finished_run / "catalogue"
    rows = whole(catalogue)
    far = rows.filter(pa.compute.greater(rows["Z_PHOT_MEDIAN"], 0.5))
    assert 10 < far.num_rows < rows.num_rows
    condition = "Z_PHOT_MEDIAN > 0.5 -- half"
    with query(catalogue, columns=["DEC", "ra"], where=condition, limit=7) as answer:
        assert answer.read().equals(far.select(["DEC", "RA"]).slice(0, 7))
        assert answer.head(3).num_rows == 3
        assert answer.count() == far.num_rows
        assert answer.read_columns == {"DEC", "RA", "Z_PHOT_MEDIAN"}


@pytest.mark.parametrize(
    "selection",
    [Cone(10, -80, 60), Box(10, 20, -80, -70), Polygon(((10, -80), (20, -80), (15, -70))),
     Pixels(5, (12000,)), TargetIds((1,)), TargetIds(())],
    ids=str,
)  # fmt: skip
def test_an_empty_answer_has_the_right_schema(finished_run: Path, selection: object) -> None:
    catalogue = finished_run / "catalogue"
    with query(catalogue, selection) as answer:
        found = answer.read()
        assert answer.count() == 0
        assert answer.planned_bytes == 0
    assert found.num_rows == 0
    assert found.schema.equals(read_schema(catalogue), check_metadata=True)


def test_radius_0_finds_the_row_at_the_position(all_sky: AllSky) -> None:
    for row in (3, 17_000, 29_991):
        ra, dec = float(all_sky.ra_deg[row]), float(all_sky.dec_deg[row])
        with query(all_sky.path, Cone(ra, dec, 0), columns=["TARGETID"]) as answer:
            assert int(all_sky.targetid[row]) in answer.read()["TARGETID"].to_pylist()


def test_edges_are_inside(all_sky: AllSky) -> None:
    """The box whose four edges are rows' own coordinates, and the polygon at rows' positions."""
    rows = [29_995, 29_997]  # (0, 10) and (10, 20)
    for region in (Box(0, 10, 10, 20), Polygon(((0, 10), (10, 20), (0, 20)))):
        with query(all_sky.path, region, columns=["TARGETID"]) as answer:
            found = set(answer.read()["TARGETID"].to_pylist())
        assert found >= all_sky.ids(np.isin(np.arange(len(all_sky.ra_deg)), rows))


def test_any_ra_at_the_pole_is_the_pole(all_sky: AllSky) -> None:
    at_pole = all_sky.dec_deg == 90
    assert at_pole.sum() == 3
    with query(all_sky.path, Cone(55, 90, 0.001), columns=["TARGETID"]) as answer:
        assert set(answer.read()["TARGETID"].to_pylist()) == all_sky.ids(at_pole)


def test_selections_are_joined_by_and(all_sky: AllSky) -> None:
    near = (all_sky.dec_deg >= -3) & (all_sky.dec_deg <= 3)
    ids = all_sky.targetid[::7]
    selections = (Box(0, 360, -3, 3), TargetIds(tuple(ids.tolist())))
    with query(all_sky.path, *selections, columns=["TARGETID"]) as answer:
        found = set(answer.read()["TARGETID"].to_pylist())
        assert answer.count_missing_ids() == len(ids) - len(found)
    assert found == all_sky.ids(near) & set(ids.tolist())
    assert len(found) > 100


def test_ids_skip_row_groups_by_their_statistics(finished_run: Path) -> None:
    catalogue = finished_run / "catalogue"
    pixels = read_leaf_pixels(catalogue)
    first = read_parquet(leaf_path(primary_folder(catalogue), pixels[0]), ["TARGETID"])["TARGETID"][
        0
    ].as_py()
    with query(catalogue, TargetIds((first, first, 12)), columns=["TARGETID"]) as answer:
        assert answer.read()["TARGETID"].to_pylist() == [first]
        assert answer.count_missing_ids() == 1
        assert len(answer.plan.kept) < len(pixels)


def test_the_plan_counts_what_the_footers_say(all_sky: AllSky) -> None:
    cone = Cone(45, 41.8103, 3600)
    columns = {"TARGETID", "RA", "DEC"}
    with query(all_sky.path, cone, columns=["TARGETID"]) as answer:
        plan = answer.plan
        assert answer.read_columns >= columns
        num_bytes = plan.bytes_of(columns)
        total = sum(plan.totals.values())
        assert 0 < len(plan.kept) < 5 < plan.num_leaves
        assert 0 < plan.num_row_groups < total
        found = answer.read().num_rows
    expected = rows = 0
    for path in plan.kept:
        footer = pq.read_metadata(path)
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            by_name = {group.column(n).path_in_schema: group.column(n)
                       for n in range(group.num_columns)}  # fmt: skip
            limits = by_name["_healpix_29"].statistics
            if any(limits.min <= run.last and limits.max >= run.first for run in plan.runs):
                rows += group.num_rows
                expected += sum(by_name[name].total_compressed_size for name in columns)
    assert (num_bytes, plan.num_rows) == (expected, rows)
    assert 0 < found <= rows


@pytest.mark.skipif(bytes_read() is None, reason="no /proc/self/io here")
def test_a_small_cone_reads_little(all_sky: AllSky) -> None:
    """Bytes that the kernel counts, not what the plan says."""
    counts = {}
    for name, selections in {"cone": [Cone(10, 20, 60)], "all": []}.items():
        begin = bytes_read()
        with query(all_sky.path, *selections) as answer:
            answer.read()
        counts[name] = bytes_read() - begin
    size = sum(path.stat().st_size for path in all_sky.path.rglob("Npix=*.parquet"))
    assert counts["all"] > size
    assert counts["cone"] < 0.1 * size


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Cone(10, 91, 5), ["Dec 91", "-90 to 90"]),
        (lambda: Cone(float("nan"), 1, 5), ["RA nan"]),
        (lambda: Cone(10, 1, -5), ["radius -5"]),
        (lambda: Cone(10, 1, float("inf")), ["radius inf"]),
        (lambda: Box(10, 10, 0, 1), ["RA1 = RA2 = 10", "0,360"]),
        (lambda: Box(1, 2, 5, 4), ["Dec1 5", "Dec2 4"]),
        (lambda: Polygon(((1, 1), (2, 2))), ["2 vertices", "at least 3"]),
        (lambda: Polygon(((0, 0), (10, 0), (2, 2), (0, 10))), ["not convex"]),
        (lambda: Polygon(((0, 0), (10, 0), (20, 0))), ["one great circle"]),
        (lambda: Polygon(((0, 0), (0, 0), (20, 10))), ["the same or antipodes"]),
        (lambda: Polygon(tuple((a, 60.0) for a in (0, 144, 288, 72, 216))), ["not convex"]),
        (lambda: Pixels(30, (0,)), ["order 30", "0 to 29"]),
        (lambda: Pixels(0, (12,)), ["12 is no pixel of order 0", "0 to 11"]),
        (lambda: TargetIds((1 << 64,)), ["64 bits"]),
    ],
)  # fmt: skip
def test_a_selection_that_is_none_is_refused(make, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        make()
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"columns": ["Z_PHOT_MEDIAM"]}, ["no column Z_PHOT_MEDIAM", "did you mean Z_PHOT_MEDIAN"]),
        ({"columns": ["RA", "ra"]}, ["RA is named twice"]),
        ({"columns": []}, ["names no column"]),
        ({"where": "flux_rr > 1"}, ["no column flux_rr", "did you mean FLUX_R?"]),
        ({"where": "c.RA > 1"}, ['table "c" not found']),
        ({"sql": "SELECT c.FLUXG FROM catalogue c"}, ["no column FLUXG", "FLUX_G"]),
        ({"where": "RA > 1, DEC > 2"}, ["not one condition"]),
        ({"where": "RA > 1) OR (DEC > 2"}, ["not one condition"]),
        ({"where": "RA > 1 ORDER BY RA"}, ["not one condition"]),
        ({"where": "count(*) > 1"}, ["cannot contain aggregates"]),
        ({"sql": "SELECT 1", "where": "RA > 1"}, ["leave out --columns and --where"]),
        ({"limit": -1}, ["--limit -1"]),
        ({"sql": "SELEC 1"}, ["syntax error"]),
        ({"sql": "SELECT RA FROM catalog"}, ["catalog does not exist", '"catalogue"']),
    ],
)  # fmt: skip
def test_a_question_that_is_none_is_refused_in_one_line(
    finished_run: Path, question: dict, words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        query(finished_run / "catalogue", **question)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_sql_sees_only_the_selected_rows(all_sky: AllSky) -> None:
    cone = Cone(0, 90, 36_000)
    statement = """SELECT count(*) AS n, max(separation_arcsec(RA, DEC, 0, 90)) AS far
                   FROM catalogue WHERE RA >= (SELECT min(RA) FROM catalogue);"""
    with query(all_sky.path, cone, sql=statement) as answer:
        found = answer.read().to_pylist()[0]
    near = all_sky.dec_deg >= 80
    assert found["n"] == near.sum()
    assert found["far"] == pytest.approx(3600 * (90 - all_sky.dec_deg[near].min()))


def test_sql_keeps_the_catalogues_types(finished_run: Path) -> None:
    statement = "SELECT Z_PHOT_QUANTILES, RA + 1 AS east FROM catalogue ORDER BY OBJID LIMIT 2"
    with query(finished_run / "catalogue", sql=statement) as answer:
        schema = answer.read().schema
    assert pa.types.is_fixed_size_list(schema.field("Z_PHOT_QUANTILES").type)
    assert schema.field("east").type == pa.float64()


def test_paths_with_quotes_and_links(run_copy: Path, tmp_path: Path) -> None:
    odd = tmp_path / "it's a link"
    odd.symlink_to(run_copy / "catalogue")
    with query(odd, columns=["RA"]) as answer:
        assert answer.count() == answer.read().num_rows > 0
