"""Arrays of real bricks: pixels as in the files, flags as they should be, contradictions found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table

from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.build import build_brick, build_brick_arrays
from partitions.dr10 import open_survey, read_bricks
from partitions.schema import BANDS, QUALITY_BITS, StampSize
from partitions.store import Arrays, read_arrays, read_attributes

STAMPS = StampSize()
REAL = [("testcase9", "0091p035", "grz"), ("testcase4", "1867p255", ("z", "W1", "W2"))]


def open_one(folder: Path) -> tuple[SurveyLayout, Brick]:
    layout = open_survey(folder)
    return layout, next(iter(read_bricks(layout).values()))


def has(arrays: Arrays, bit: str) -> np.ndarray:
    return (arrays["quality"] >> QUALITY_BITS[bit] & 1).astype(bool)


@pytest.fixture
def survey_copy(real_bricks: Path, tmp_path: Path) -> SurveyLayout:
    shutil.copytree(real_bricks / "testcase4", tmp_path / "survey")
    for path in (tmp_path / "survey").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / "survey/tractor/186/brick-1867p255.sha256sum").unlink()
    return open_survey(tmp_path / "survey")


@pytest.mark.parametrize(("case", "name", "bands"), REAL)
def test_stored_stamps_equal_astropy_cutouts_of_the_fits_files(
    real_bricks: Path, tmp_path: Path, case: str, name: str, bands: str
) -> None:
    layout, brick = open_one(real_bricks / case)
    build_brick_arrays(layout, brick, STAMPS, tmp_path / "brick.zarr")
    stored = read_arrays(tmp_path / "brick.zarr")
    table = Table.read(layout.brick_file("tractor", name))
    for band in bands:
        image = fits.getdata(layout.brick_file("image", name, band), ext=1).astype(np.float32)
        if band in ("W1", "W2"):
            image = image * np.float32(10 ** (-0.4 * {"W1": 2.699, "W2": 3.339}[band]))
            header = fits.getheader(layout.brick_file("image", name, band), ext=1)
            # The TAN projection to first order, good to 1e-3 px over 2 arcmin.
            cos_dec = np.cos(np.radians(header["CRVAL2"]))
            x = header["CRPIX1"] - 1 + (table["ra"] - header["CRVAL1"]) * cos_dec / header["CD1_1"]
            y = header["CRPIX2"] - 1 + (table["dec"] - header["CRVAL2"]) / header["CD2_2"]
            stamps, side = stored["wise"][:, BANDS.index(band) - 4], STAMPS.wise_px
        else:
            x, y = table["bx"], table["by"]
            stamps, side = stored["optical"][:, BANDS.index(band)], STAMPS.optical_px
        for stamp, x_px, y_px in zip(stamps, x, y, strict=True):
            # The stamp's pixel [S/2, S/2] is the one that holds the source: an odd cutout about
            # it, one pixel wider, less its last row and column.
            centre = (int(np.floor(x_px + 0.5)), int(np.floor(y_px + 0.5)))
            cutout = Cutout2D(image, centre, side + 1, mode="partial", fill_value=0)
            np.testing.assert_array_equal(stamp, cutout.data[:-1, :-1].astype(np.float16))


def test_galaxies_are_at_the_centres_of_their_stamps(real_bricks: Path) -> None:
    """The light of an isolated galaxy peaks within 2 px of its stamp's centre."""
    layout, brick = open_one(real_bricks / "testcase4")
    arrays, _ = build_brick(layout, brick, STAMPS)
    bright = np.flatnonzero(arrays["flux"][:, 3] > 10)
    assert len(bright) >= 4
    for source in bright:
        core = arrays["optical"][source, 3, 24:40, 24:40].astype(np.float32)
        row, column = np.unravel_index(np.argmax(core), core.shape)
        assert abs(row - 8) <= 2
        assert abs(column - 8) <= 2


def test_flags_of_the_real_bricks(real_bricks: Path) -> None:
    for case, name, bands in REAL:
        layout, brick = open_one(real_bricks / case)
        arrays, counts = build_brick(layout, brick, STAMPS)
        assert counts.decoded == dict.fromkeys(bands, 1)
        assert counts.num_sources == 8
        for band in BANDS:
            assert has(arrays, f"MISSING_{band.upper()}").all() == (band not in bands), (name, band)
        is_psf = Table.read(layout.brick_file("tractor", name))["type"] == "PSF"
        np.testing.assert_array_equal(has(arrays, "POINT_SOURCE"), is_psf)
        assert not has(arrays, "NO_PHOTOMETRY").any()
        assert has(arrays, "EDGE").any()  # small covered areas


def test_attributes_describe_the_group(real_bricks: Path, tmp_path: Path) -> None:
    layout, brick = open_one(real_bricks / "testcase4")
    build_brick_arrays(layout, brick, STAMPS, tmp_path / "a.zarr")
    attributes = read_attributes(tmp_path / "a.zarr")
    assert attributes["brick"]["name"] == "1867p255"
    assert attributes["bands"] == list(BANDS)
    assert len(attributes["features"]) == 86
    assert attributes["counts"]["decoded"] == {"z": 1, "W1": 1, "W2": 1}


def rewrite_table(layout: SurveyLayout, change: dict[str, float]) -> None:
    path = layout.brick_file("tractor", "1867p255")
    table = Table.read(path)
    for column, value in change.items():
        table[column] += value
    table.write(path, overwrite=True)


def test_image_smaller_than_its_table_says(survey_copy: SurveyLayout) -> None:
    path = survey_copy.brick_file("image", "1867p255", "z")
    with fits.open(path) as hdus:
        header, data = hdus[1].header, hdus[1].data[:100, :100]
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header)]).writeto(path, overwrite=True)
    brick = next(iter(read_bricks(survey_copy).values()))
    with pytest.raises(BrickError, match="image of 100 x 100 px does not hold"):
        build_brick(survey_copy, brick, STAMPS)


def test_wcs_that_contradicts_its_table(survey_copy: SurveyLayout) -> None:
    rewrite_table(survey_copy, {"bx": 30.0})
    brick = next(iter(read_bricks(survey_copy).values()))
    with pytest.raises(BrickError, match=r"bx, by of 8 of 8 rows lie .* 30\.0 px"):
        build_brick(survey_copy, brick, STAMPS)


def test_unknown_type(survey_copy: SurveyLayout) -> None:
    path = survey_copy.brick_file("tractor", "1867p255")
    table = Table.read(path)
    table["type"][2] = "XYZ"
    table.write(path, overwrite=True)
    brick = next(iter(read_bricks(survey_copy).values()))
    with pytest.raises(BrickError, match="TYPE 'XYZ' is none of"):
        build_brick(survey_copy, brick, STAMPS)


def test_masked_and_nonpositive_rows_are_flagged(survey_copy: SurveyLayout) -> None:
    path = survey_copy.brick_file("tractor", "1867p255")
    table = Table.read(path)
    table["maskbits"] = [1 << 1, 1 << 11, 1 << 14, 0, 1 << 16, 0, 0, 0]
    table["flux_w2"][3] = -0.5
    for band in ("z", "w1", "w2"):
        table[f"flux_ivar_{band}"][5] = 0
    table.write(path, overwrite=True)
    brick = next(iter(read_bricks(survey_copy).values()))
    arrays, _ = build_brick(survey_copy, brick, STAMPS)
    # BRIGHT and SATUR_I are doubtful, MEDIUM and SUB_BLOB are not.
    assert has(arrays, "MASKED").tolist() == [True, False, True] + [False] * 5
    assert has(arrays, "NONPOSITIVE_FLUX")[3]
    assert has(arrays, "NO_PHOTOMETRY").tolist() == [False] * 5 + [True, False, False]
    assert np.isnan(arrays["features"][5, :-1]).all()


def test_no_image_at_all(survey_copy: SurveyLayout) -> None:
    for band in ("z", "W1", "W2", "W3", "W4"):
        path = survey_copy.coadd_folder("1867p255") / f"legacysurvey-1867p255-image-{band}.fits.fz"
        path.unlink()
    brick = next(iter(read_bricks(survey_copy).values()))
    with pytest.raises(BrickError, match="no image in any band for 8 catalogue rows"):
        build_brick(survey_copy, brick, STAMPS)
