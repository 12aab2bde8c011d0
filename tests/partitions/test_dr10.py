"""The reader on real survey files, in every layout and with every kind of damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Column, Table

from partitions.bricks import Brick, BrickError, SurveyError, SurveyLayout
from partitions.dr10 import (
    catalogue_rows,
    coadd_bands,
    count_tractor_rows,
    open_coadd,
    open_survey,
    read_bricks,
    read_coadd_shape,
    read_file_checksums,
    read_tractor,
)

BRICK_4, BRICK_9 = "1867p255", "0091p035"


@pytest.fixture
def survey_copy(real_bricks: Path, tmp_path: Path) -> SurveyLayout:
    """A private copy of the 250 x 250 px brick, to be damaged."""
    shutil.copytree(real_bricks / "testcase4", tmp_path / "survey")
    for path in (tmp_path / "survey").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return open_survey(tmp_path / "survey")


def only_brick(layout: SurveyLayout) -> Brick:
    return next(iter(read_bricks(layout).values()))


def test_region_folder_and_its_one_brick(real_bricks: Path) -> None:
    layout = open_survey(real_bricks / "testcase9")
    assert layout.root == layout.folder
    brick = only_brick(layout)
    assert (brick.name, brick.brickid) == (BRICK_9, 350562)
    assert brick.ra1_deg < brick.ra_deg < brick.ra2_deg
    assert coadd_bands(layout, BRICK_9) == ("g", "r", "z")
    assert read_coadd_shape(layout, BRICK_9) == (3600, 3600)


def test_release_root_is_the_same_survey(survey_copy: SurveyLayout, tmp_path: Path) -> None:
    root = tmp_path / "dr10"
    root.mkdir()
    shutil.move(survey_copy.folder, root / "south")
    shutil.move(root / "south" / "survey-bricks.fits.gz", root / "survey-bricks.fits.gz")
    for path in (root, root / "south"):
        layout = open_survey(path)
        assert layout.folder == root / "south"
        assert only_brick(layout).name == BRICK_4
    assert count_tractor_rows(layout.brick_file("tractor", BRICK_4)) == 8


def test_tractor_columns_equal_the_file(real_bricks: Path) -> None:
    layout = open_survey(real_bricks / "testcase4")
    table = read_tractor(layout, only_brick(layout))
    raw = Table.read(layout.brick_file("tractor", BRICK_4))
    np.testing.assert_array_equal(table.flux[:, 3], raw["flux_z"])
    np.testing.assert_array_equal(table.flux[:, 4], raw["flux_w1"])
    np.testing.assert_array_equal(table.aperture_flux["W2"], raw["apflux_w2"])
    np.testing.assert_array_equal(table.ra_deg, raw["ra"])
    assert "i" not in table.aperture_flux
    assert not table.flux[:, 2].any()
    assert not table.flux_ivar[:, 2].any()
    assert table.source_type.tolist() == [str(name).strip() for name in raw["type"]]


def test_upper_case_columns_are_the_same_table(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    before = read_tractor(survey_copy, brick)
    path = survey_copy.brick_file("tractor", brick.name)
    table = Table.read(path)
    table.rename_columns(table.colnames, [name.upper() for name in table.colnames])
    table.write(path, overwrite=True)
    after = read_tractor(survey_copy, brick)
    np.testing.assert_array_equal(after.flux, before.flux)
    np.testing.assert_array_equal(after.source_type, before.source_type)


def install_table(real_table: Path, layout: SurveyLayout, brick: Brick) -> None:
    """Put another release's Tractor table in the place of this brick's, with its BRICKID."""
    rows = Table.read(real_table)
    column = next(name for name in rows.colnames if name.lower() == "brickid")
    rows[column] = brick.brickid
    rows.write(layout.brick_file("tractor", brick.name), overwrite=True)


def test_a_real_dr9_table_with_all_its_columns(real_data: Path, survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    source = real_data / "fastspecfit-desi" / "tractor-1054p567.fits"
    install_table(source, survey_copy, brick)
    table = read_tractor(survey_copy, brick)
    assert len(table) == 1
    assert sorted(table.aperture_flux) == ["W1", "W2", "g", "r", "z"]
    assert table.flux[0, 0] == Table.read(source)["FLUX_G"][0]


def test_a_real_dr8_table_lacks_columns_and_says_which(
    real_data: Path, survey_copy: SurveyLayout
) -> None:
    brick = only_brick(survey_copy)
    folder = real_data / "desitarget-dr8-tractor-sweep" / "t"
    install_table(folder / "tractor-3301m002.fits", survey_copy, brick)
    with pytest.raises(BrickError, match=r"column brick_primary, bx, by, apflux_g missing"):
        read_tractor(survey_copy, brick)


def test_catalogue_rows_are_primary_and_not_dup(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file("tractor", brick.name)
    table = Table.read(path)
    table["brick_primary"][0] = False
    table["type"][1] = "DUP"
    table.write(path, overwrite=True)
    keep = catalogue_rows(read_tractor(survey_copy, brick))
    assert keep.tolist() == [False, False] + [True] * 6


def test_image_equals_the_fits_pixels_and_wise_is_ab(real_bricks: Path) -> None:
    layout = open_survey(real_bricks / "testcase4")
    brick = only_brick(layout)
    z = open_coadd(layout, brick, "z")
    np.testing.assert_array_equal(z.decode(), fits.getdata(z.path, ext=1))
    w1 = open_coadd(layout, brick, "W1")
    vega = fits.getdata(w1.path, ext=1)
    np.testing.assert_allclose(w1.decode(), vega * 10 ** (-2.699 / 2.5), rtol=1e-6)
    assert w1.shape == w1.decode().shape == (23, 23)


def test_wise_image_and_catalogue_flux_agree_in_ab(real_bricks: Path) -> None:
    """The aperture flux of the brightest source, summed on the converted image."""
    layout = open_survey(real_bricks / "testcase4")
    brick = only_brick(layout)
    table = read_tractor(layout, brick)
    w1 = open_coadd(layout, brick, "W1")
    x, y = w1.radec_to_xy(table.ra_deg, table.dec_deg)
    brightest = int(np.argmax(table.flux[:, 4]))
    rows, columns = np.indices(w1.shape)
    inside = np.hypot(columns - x[brightest], rows - y[brightest]) * 2.75 <= 11.0
    total = w1.decode()[inside].sum()
    assert total == pytest.approx(table.aperture_flux["W1"][brightest, 4], rel=0.1)


def test_no_exposure_means_exactly_zero_on_real_files(real_bricks: Path) -> None:
    """Coverage is read off the image: on real files it is zero where invvar is, nowhere else."""
    for case, name in (("testcase9", BRICK_9), ("testcase4", BRICK_4)):
        layout = open_survey(real_bricks / case)
        for band in coadd_bands(layout, name):
            image = fits.getdata(layout.brick_file("image", name, band), ext=1)
            invvar = fits.getdata(layout.brick_file("invvar", name, band), ext=1)
            np.testing.assert_array_equal(image == 0, invvar == 0)


def test_published_checksums_are_used(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    checksums = read_file_checksums(survey_copy, brick)
    assert len(checksums) > 30
    read_tractor(survey_copy, brick, checksums)
    path = survey_copy.brick_file("image", brick.name, "z")
    content = bytearray(path.read_bytes())
    content[-3000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BrickError, match=r"image-z.*sha256 \w+\.\.\. is not the \w+"):
        open_coadd(survey_copy, brick, "z", checksums)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill_with_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, fill_with_noise, empty])
@pytest.mark.parametrize("kind", ["tractor", "image"])
def test_damaged_file_is_a_brick_error_that_names_it(
    survey_copy: SurveyLayout, damage: Callable[[Path], None], kind: str
) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file(kind, brick.name, "z" if kind == "image" else None)
    damage(path)
    read = partial(open_coadd, band="z") if kind == "image" else read_tractor
    with pytest.raises(BrickError, match=path.name):
        read(survey_copy, brick)


def test_missing_tractor_table_and_column(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file("tractor", brick.name)
    table = Table.read(path)
    table.remove_column("apflux_z")
    table.write(path, overwrite=True)
    with pytest.raises(BrickError, match="column apflux_z missing"):
        read_tractor(survey_copy, brick)
    path.unlink()
    assert only_brick(survey_copy).name == BRICK_4  # its coadds are still there
    with pytest.raises(BrickError, match="Tractor table missing"):
        read_tractor(survey_copy, brick)


def test_table_of_another_brick(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file("tractor", brick.name)
    table = Table.read(path)
    table["brickid"][3] = 77
    table.write(path, overwrite=True)
    with pytest.raises(BrickError, match=f"BRICKID 77, but brick {BRICK_4} is 473357"):
        read_tractor(survey_copy, brick)


def change_table(layout: SurveyLayout, brick: Brick, column: str, values: Any) -> None:
    path = layout.brick_file("tractor", brick.name)
    table = Table.read(path)
    table.replace_column(column, Column(values))
    table.write(path, overwrite=True)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("apflux_z", np.ones(8, np.float32), r"apflux_z has shape \(\) a row, not \(8,\)"),
        ("apflux_z", np.ones((8, 5), np.float32), r"apflux_z has shape \(5,\) a row"),
        ("objid", np.arange(8, dtype=np.int32) - 1, "objid has values from -1 to 6"),
        ("release", np.full(8, 70_000), "release has values from 70000"),
        ("flux_z", np.array(["bright"] * 8), "flux_z is .* expected float32"),
        ("dec", np.full(8, 91.0), "a position is not on the sky"),
        ("ra", np.full(8, np.nan), "a position is not on the sky"),
    ],
)
def test_columns_that_are_not_what_they_should_be(
    survey_copy: SurveyLayout, column: str, values: Any, words: str
) -> None:
    brick = only_brick(survey_copy)
    change_table(survey_copy, brick, column, values)
    with pytest.raises(BrickError, match=words):
        read_tractor(survey_copy, brick)


def test_a_header_without_a_usable_wcs(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file("image", brick.name, "z")
    with fits.open(path) as hdus:
        header, data = hdus[1].header, hdus[1].data
    header["CTYPE1"] = "RA---XXX"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header)]).writeto(path, overwrite=True)
    with pytest.raises(BrickError, match="no usable celestial WCS"):
        open_coadd(survey_copy, brick, "z")


def test_a_checksum_list_that_is_cut_short(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file("checksums", brick.name)
    path.write_text(path.read_text()[:-90])
    with pytest.raises(BrickError, match="no line of a sha256sum file"):
        read_file_checksums(survey_copy, brick)


def test_a_damaged_brick_table(survey_copy: SurveyLayout) -> None:
    path = survey_copy.bricks_table
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SurveyError, match=path.name):
        read_bricks(survey_copy)


def test_flux_that_is_no_number_counts_as_missing(survey_copy: SurveyLayout) -> None:
    brick = only_brick(survey_copy)
    path = survey_copy.brick_file("tractor", brick.name)
    table = Table.read(path)
    table["flux_z"][0] = np.nan
    table["flux_ivar_w1"][1] = np.inf
    table.write(path, overwrite=True)
    read = read_tractor(survey_copy, brick)
    assert read.flux_ivar[0, 3] == 0
    assert read.flux_ivar[1, 4] == 0
    assert np.isfinite(read.flux).all()


@pytest.mark.parametrize("make", ["absent", "file", "empty", "no table"])
def test_a_path_that_is_no_survey(survey_copy: SurveyLayout, tmp_path: Path, make: str) -> None:
    path = tmp_path / "somewhere"
    if make == "file":
        path.write_text("")
    elif make == "empty":
        path.mkdir()
    elif make == "no table":
        path = survey_copy.folder
        (path / "survey-bricks.fits.gz").unlink()
    with pytest.raises(SurveyError, match=str(path)):
        open_survey(path)


def test_files_of_a_brick_that_no_table_lists(survey_copy: SurveyLayout) -> None:
    old = survey_copy.brick_file("tractor", BRICK_4)
    new = survey_copy.brick_file("tractor", "0001p000")
    new.parent.mkdir()
    shutil.copy(old, new)
    with pytest.raises(SurveyError, match="0001p000"):
        read_bricks(survey_copy)
