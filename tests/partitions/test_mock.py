"""The mock survey: its grid, its light, its measurements and its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from astropy.io import fits
from astropy.wcs import WCS

from partitions.bricks import SurveyLayout
from partitions.healpix import radec_to_pixel
from partitions.mock import MockConfig, write_mock_survey
from partitions.mock.make_templates import synthetic_maggies
from partitions.mock.measure import aperture_sums
from partitions.mock.render import render_optical, sersic_mixture
from partitions.mock.sky_tiles import (
    brick_at,
    columns_per_row,
    field_bricks,
    field_corners,
    is_primary,
    outside_box,
)
from partitions.mock.survey import grid_size, plan_bricks
from partitions.mock.templates import (
    comoving_distance_mpc,
    galaxy_maggies,
    load_templates,
    star_maggies,
)
from partitions.schema import BANDS, EXTINCTION_COEFFICIENT, MASKBITS, OPTICAL_BANDS

TINY = MockConfig(seed=7, num_fields=1, image_size_px=400)
SMALL = MockConfig(seed=11, num_fields=1, image_size_px=1000)
TYPES = {b"PSF", b"REX", b"EXP", b"DEV", b"SER", b"DUP"}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mock")
    write_mock_survey(root, SMALL, num_workers=2)
    return root


def layout_of(root: Path) -> SurveyLayout:
    return SurveyLayout(root=root, folder=root / "south")


def tractor_tables(root: Path) -> list[Any]:
    layout = layout_of(root)
    return [
        fits.getdata(layout.brick_file("tractor", plan.place.brick.name), 1)
        for plan in plan_bricks(SMALL)
    ]


def matched(root: Path) -> tuple[dict[str, Any], Any]:
    """Tractor columns and truth rows of the same sources."""
    truth = fits.getdata(root / "truth.fits", 1)
    tables = {int(t["brickid"][0]): t for t in tractor_tables(root) if len(t)}
    truth = truth[np.argsort(truth["BRICKID"], kind="stable")]
    parts = [
        tables[int(b)][truth["OBJID"][truth["BRICKID"] == b]] for b in np.unique(truth["BRICKID"])
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0].names}, truth


def robust_sigma(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def magnitude(flux: np.ndarray) -> np.ndarray:
    return np.asarray(22.5 - 2.5 * np.log10(flux))


# --- the brick grid -------------------------------------------------------------------------


def test_brick_grid_matches_real_bricks() -> None:
    assert grid_size() == 662_174
    # Rows of real brick tables: name, id, row, column, ra, dec, ra1, ra2, dec1, dec2.
    real = [
        ("1867p255", 473357, 462, 675, 186.774193548387, 25.5, 186.635944700461, 186.912442396313),
        ("0091p035", 350562, 374, 36, 9.13769124, 3.5, 9.01251739, 9.26286509),
    ]
    for name, brickid, row, column, ra, dec, ra1, ra2 in real:
        brick = brick_at(row, column)
        assert (brick.name, brick.brickid) == (name, brickid)
        values = (brick.ra_deg, brick.dec_deg, brick.ra1_deg, brick.ra2_deg)
        assert values == pytest.approx((ra, dec, ra1, ra2), abs=1e-8)
        assert (brick.dec1_deg, brick.dec2_deg) == (dec - 0.125, dec + 0.125)


def test_windows_lie_on_the_brick_grid_as_astropy_sees_it() -> None:
    corner = field_corners(1, 1, 1400)[0]
    for place in field_bricks(corner, 0, 4, 1400):
        for plane in (place.optical, place.wise):
            wcs = WCS(naxis=2)
            wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
            wcs.wcs.crval = [plane.ra_deg, plane.dec_deg]
            wcs.wcs.crpix = [plane.x_px + 1, plane.y_px + 1]
            step = plane.pixel_arcsec / 3600
            wcs.wcs.cd = [[-step, 0], [0, step]]
            x, y = np.array([0.0, 37.5, plane.width_px - 1]), np.array([3.0, 200.0, 11.0])
            ra_deg, dec_deg = plane.pixel_to_sky(x, y)
            np.testing.assert_allclose(
                np.stack([ra_deg, dec_deg]), wcs.pixel_to_world_values(x, y), atol=1e-10
            )
            back = plane.sky_to_pixel(ra_deg, dec_deg)
            np.testing.assert_allclose(back, (x, y), atol=1e-6)
        # The window holds the corner of the brick, about 82 px from its edge or more.
        edge_ra = place.brick.ra2_deg if place.position % 2 == 0 else place.brick.ra1_deg
        edge_dec = place.brick.dec2_deg if place.position < 2 else place.brick.dec1_deg
        at = place.optical.sky_to_pixel(np.array([edge_ra]), np.array([edge_dec]))
        near = [min(float(v[0]), 1399 - float(v[0])) for v in at]
        assert all(70 < distance < 140 for distance in near)


def test_outside_box_agrees_with_every_pixel_position() -> None:
    place = field_bricks(field_corners(4, 1, 300)[0], 0, 4, 300)[3]
    y, x = np.mgrid[0:300, 0:300]
    ra_deg, dec_deg = place.optical.pixel_to_sky(x.ravel(), y.ravel())
    expected = ~is_primary(place.brick, ra_deg, dec_deg).reshape(300, 300)
    assert np.mean(outside_box(place.brick, place.optical) != expected) < 1e-4


def test_every_second_field_straddles_partitions() -> None:
    columns = columns_per_row()
    for field, (row, column, _) in enumerate(field_corners(3, 6, 1400)):
        ra_deg = (column + 1) * 360 / columns[row]
        dec_deg = (row + 0.5) * 0.25 - 90
        assert -61 < dec_deg < 31
        step = np.linspace(-0.09, 0.09, 9)
        grid_ra, grid_dec = np.meshgrid(ra_deg + step / np.cos(np.radians(dec_deg)), dec_deg + step)
        pixels = radec_to_pixel(grid_ra.ravel(), grid_dec.ravel(), 5)
        if field % 2 == 0:
            assert np.unique(pixels).size > 1


# --- spectra, profiles and light -------------------------------------------------------------


def test_flat_spectrum_has_equal_ab_magnitudes_and_line_integrals_are_photon_weighted() -> None:
    curves = [
        (np.linspace(4000.0, 5500.0, 200), np.hanning(200) + 1e-9),
        (np.linspace(25000.0, 40000.0, 300), np.ones(300)),
    ]
    wavelength = np.geomspace(1000, 60000, 5000)
    flat = 3.631e-20 * 2.99792458e18 / wavelength**2
    np.testing.assert_allclose(synthetic_maggies(wavelength, flat, curves), 1.0, rtol=1e-4)
    # f_nu ~ 1 / lambda through a top hat: int f_nu dl/l / int dl/l in closed form.
    expected = (1 / 25000 - 1 / 40000) / np.log(40000 / 25000) * 30000
    sloped = synthetic_maggies(wavelength, flat * 30000 / wavelength, curves)[1]
    assert sloped == pytest.approx(expected, rel=1e-4)


def test_galaxy_colours_move_with_the_4000_angstrom_break() -> None:
    z = np.array([0.1, 0.4, 0.8])
    old = np.tile([0.0, 0.0, 0.0, 1.0, 0.0], (3, 1))
    none = np.zeros(3)
    colours = magnitude(galaxy_maggies(z, old, none, none, none) * 1e9)
    g_r, r_i = colours[:, 0] - colours[:, 1], colours[:, 1] - colours[:, 2]
    assert 0.7 < g_r[0] < 1.1
    assert 1.5 < g_r[1] < 2.0
    assert r_i[2] > 0.9 > r_i[1]
    # [O II] at 3727 A is in i at z = 1.0 and nowhere else but z's red edge.
    ones = np.ones(1)
    lit, dark = (
        galaxy_maggies(ones, old[:1], ones * 0, ones * ew, ones * 0)[0] for ew in (50.0, 0.0)
    )
    gain = lit / dark
    assert gain[2] > 1.03
    assert gain[0] == pytest.approx(1, abs=5e-3)
    assert gain[4] == pytest.approx(1, abs=1e-3)


def test_distances_agree_with_astropy() -> None:
    z = np.array([0.05, 0.5, 1.3, 3.0])
    expected = FlatLambdaCDM(H0=70, Om0=0.3).comoving_distance(z).value
    np.testing.assert_allclose(comoving_distance_mpc(z), expected, rtol=1e-4)


def test_star_colours_are_ordered_by_temperature() -> None:
    maggies = star_maggies(np.array([3000.0, 4000.0, 5800.0, 9000.0]))
    g_r = -2.5 * np.log10(maggies[:, 0] / maggies[:, 1])
    assert np.all(np.diff(g_r) < 0)
    assert g_r[2] == pytest.approx(0.45, abs=0.1)
    np.testing.assert_allclose(maggies[:, 1], 1.0, rtol=1e-5)


def test_profiles_have_unit_flux_and_the_sersic_shape() -> None:
    weights, sigma = sersic_mixture(np.array([1.0, 4.0]))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-6)
    inside = (weights * (1 - np.exp(-0.5 / sigma**2))).sum(axis=1)
    np.testing.assert_allclose(inside, 0.5, atol=2e-3)
    r = np.linspace(0.3, 2.5, 30)
    intensity = (
        weights[0] / (2 * np.pi * sigma[0] ** 2) * np.exp(-0.5 * (r[:, None] / sigma[0]) ** 2)
    ).sum(axis=1)
    exact = 1.678**2 / (2 * np.pi) * np.exp(-1.678 * r)
    np.testing.assert_allclose(intensity, exact, rtol=0.12)


def test_rendered_image_keeps_flux_centroid_and_orientation() -> None:
    one = np.ones(1)
    flux = 300.0 * np.ones((1, 1))
    image = render_optical(
        (256, 256),
        np.array([120.3]),
        np.array([131.8]),
        (0 * flux, flux, 0 * flux),
        (0.01 * one, 8.0 * one),
        (one, 0.4 * one),
        np.array([np.radians(30.0)]),
        (np.zeros((1, 5)), np.zeros((1, 5)), one),
        np.array([4.5]),
        np.array([0.004]),
    )[0].astype(float)
    y, x = np.mgrid[0:256, 0:256]
    total = image.sum()
    assert total == pytest.approx(300.0, rel=5e-3)
    cx, cy = (image * x).sum() / total, (image * y).sum() / total
    assert (cx, cy) == pytest.approx((120.3, 131.8), abs=0.03)
    xx, yy, xy = (
        (image * a * b).sum() / total
        for a, b in ((x - cx, x - cx), (y - cy, y - cy), (x - cx, y - cy))
    )
    # North (+y) through east (-x): 30 degrees leans to the upper left.
    assert np.degrees(0.5 * np.arctan2(-2 * xy, yy - xx)) == pytest.approx(30.0, abs=1.0)


def test_apertures_agree_with_brute_force() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(1.0, 0.3, (80, 90)).astype(np.float32)
    x, y = np.array([40.27, 2.1, 88.6]), np.array([33.81, 70.4, 1.3])
    radii = np.array([1.9, 3.8, 13.4])
    fine = 100
    sub = (np.arange(fine) + 0.5) / fine - 0.5
    expected = np.zeros((3, 3))
    for i in range(3):
        px = (np.arange(90)[:, None] + sub).ravel()
        py = (np.arange(80)[:, None] + sub).ravel()
        for k, radius in enumerate(radii):
            inside = (py[:, None] - y[i]) ** 2 + (px[None, :] - x[i]) ** 2 < radius**2
            weight = inside.reshape(80, fine, 90, fine).mean(axis=(1, 3))
            expected[i, k] = (weight * image).sum()
    np.testing.assert_allclose(aperture_sums(image, x, y, radii), expected, rtol=4e-3)


# --- files -----------------------------------------------------------------------------------


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    digests = []
    for workers in (1, 2):
        root = tmp_path / str(workers)
        progress = Mock()
        write_mock_survey(root, TINY, progress, num_workers=workers)
        assert progress.call_args_list == [call(i, 4) for i in range(1, 5)]
        files = sorted(p for p in root.rglob("*") if p.is_file())
        digests.append(
            {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        )
    assert digests[0] == digests[1]
    assert "mock.json" in digests[0]
    assert not any(name.endswith(".tmp") for name in digests[0])


def test_an_existing_survey_is_kept_and_another_one_refused(survey: Path) -> None:
    before = (survey / "truth.fits").stat().st_mtime_ns
    write_mock_survey(survey, SMALL)
    assert (survey / "truth.fits").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match=r'"seed": 11.*"seed": 12'):
        write_mock_survey(survey, MockConfig(seed=12, num_fields=1, image_size_px=1000))
    assert json.loads((survey / "mock.json").read_text())["config"]["seed"] == 11


@pytest.mark.parametrize(
    "changes", [{"seed": -1}, {"num_fields": 0}, {"image_size_px": 3601}, {"bricks_per_field": 5}]
)
def test_bad_settings_are_named(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        MockConfig(**changes)  # type: ignore[arg-type]


def test_files_and_checksums_of_each_brick(survey: Path) -> None:
    layout = layout_of(survey)
    for plan in plan_bricks(SMALL):
        name = plan.place.brick.name
        lines = layout.brick_file("checksums", name).read_text().splitlines()
        listed = set()
        for line in lines:
            digest, path = line.split(" *")
            listed.add(layout.folder / path)
            assert hashlib.sha256((layout.folder / path).read_bytes()).hexdigest() == digest
        expected = {layout.brick_file("tractor", name), layout.brick_file("maskbits", name)}
        for band in plan.bands:
            for kind in ("image", "invvar", "nexp", "psfsize"):
                expected.add(layout.brick_file(kind, name, band))
        for band in ("W1", "W2"):
            expected |= {layout.brick_file(kind, name, band) for kind in ("image", "invvar")}
        assert listed == expected
        assert layout.brick_file("image", name, "i").exists() == ("i" in plan.bands)


def test_images_look_like_the_survey_files(survey: Path) -> None:
    layout = layout_of(survey)
    plan = plan_bricks(SMALL)[1]
    name = plan.place.brick.name
    path = layout.brick_file("image", name, "g")
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
        assert (header["ZCMPTYPE"], header["ZQUANTIZ"]) == ("RICE_1", "SUBTRACTIVE_DITHER_2")
        assert (header["ZTILE1"], header["EXTNAME"]) == (100, "IMAGE_g")
    with fits.open(path) as hdus:
        header, image = hdus[1].header, hdus[1].data
        assert (header["IMTYPE"], header["BUNIT"], header["MAGZERO"]) == (
            "image",
            "nanomaggy",
            22.5,
        )
        assert header["BRICK_I"]
        assert image.dtype.itemsize == 4
    invvar = fits.getdata(layout.brick_file("invvar", name, "g"), 1)
    nexp = fits.getdata(layout.brick_file("nexp", name, "g"), 1)
    psfsize = fits.getdata(layout.brick_file("psfsize", name, "g"), 1)
    maskbits = fits.getdata(layout.brick_file("maskbits", name), 1)
    assert maskbits.dtype.itemsize == 4
    # This brick has a strip without exposures: there, and only there, the image is 0.
    uncovered = psfsize == 0
    assert 0.1 < uncovered.mean() < 0.15
    np.testing.assert_array_equal(image == 0, uncovered)
    saturated = (maskbits & (1 << MASKBITS["SATUR_G"])) > 0
    np.testing.assert_array_equal(invvar == 0, uncovered | saturated)
    np.testing.assert_array_equal(nexp == 0, invvar == 0)
    # Differences of neighbouring pixels: the light of galaxies is smooth, the noise is not.
    signal = np.where(~uncovered & (invvar > 0), image * np.sqrt(invvar), np.nan)
    steps = np.diff(signal, axis=1) / np.sqrt(2)
    assert robust_sigma(steps[np.isfinite(steps)]) == pytest.approx(1.0, abs=0.06)
    with fits.open(layout.brick_file("image", name, "W1")) as hdus:
        header = hdus[1].header
        side = int(1000 * 0.262 / 2.75)
        assert hdus[1].data.shape == (side, side)
        assert header["MAGSYS"] == "Vega"
        assert "BUNIT" not in header
        assert header["CRPIX1"] == (side + 1) / 2


def test_special_bricks_and_rows_are_there(survey: Path) -> None:
    plans = plan_bricks(SMALL)
    tables = tractor_tables(survey)
    assert any(len(t) == 0 for t in tables)
    assert any("i" not in plan.bands for plan in plans)
    assert {10000, 10002} == {int(v) for t in tables for v in np.unique(t["release"])}
    rows = [t for t in tables if len(t)]
    assert any((~t["brick_primary"]).any() for t in rows)
    types = {v for t in rows for v in np.char.encode(np.asarray(t["type"]).astype(str))}
    assert types <= TYPES
    assert {b"PSF", b"REX", b"EXP", b"DUP"} <= types
    for t, plan in zip(tables, plans, strict=True):
        np.testing.assert_array_equal(t["objid"], np.arange(len(t)))
        np.testing.assert_array_equal(
            t["brick_primary"], is_primary(plan.place.brick, t["ra"], t["dec"])
        )
        x, y = plan.place.optical.sky_to_pixel(t["ra"].astype(float), t["dec"].astype(float))
        np.testing.assert_allclose(t["bx"], x, atol=1e-3)
        np.testing.assert_allclose(t["by"], y, atol=1e-3)
        duplicate = t["type"] == "DUP"
        for band in OPTICAL_BANDS:
            assert np.all(t[f"flux_{band}"][duplicate] == 0)
            if band not in plan.bands:
                assert not t[f"flux_ivar_{band}"].any()
                assert not t[f"apflux_{band}"].any()
                assert not t[f"nobs_{band}"].any()
        if len(t):
            assert t["apflux_g"].shape[1] == 8
            assert t["apflux_w1"].shape[1] == 5
            maskbits = fits.getdata(
                layout_of(survey).brick_file("maskbits", plan.place.brick.name), 1
            )
            at = maskbits[np.round(t["by"]).astype(int), np.round(t["bx"]).astype(int)]
            np.testing.assert_array_equal(at & ~1, t["maskbits"] & ~1)
            np.testing.assert_array_equal(t["maskbits"] & 1, ~t["brick_primary"])
    all_bits = np.bitwise_or.reduce(np.concatenate([t["maskbits"] for t in rows]))
    for name in ("NPRIMARY", "SATUR_R", "ALLMASK_R", "MEDIUM"):
        assert all_bits & (1 << MASKBITS[name])


def test_each_source_is_primary_once(survey: Path) -> None:
    rows, truth = matched(survey)
    assert len(np.unique(np.stack([truth["RA"], truth["DEC"]], axis=1), axis=0)) == len(truth)
    separation = np.hypot(
        (rows["ra"] - truth["RA"]) * np.cos(np.radians(truth["DEC"])), rows["dec"] - truth["DEC"]
    )
    assert np.median(separation) * 3600 < 0.1
    assert separation.max() * 3600 < 2
    primary = sum(
        int((t["brick_primary"] & (t["type"] != "DUP")).sum()) for t in tractor_tables(survey)
    )
    assert primary == len(truth)


def test_brick_tables(survey: Path) -> None:
    layout = layout_of(survey)
    grid = fits.getdata(layout.bricks_table, 1)
    release = fits.getdata(layout.release_bricks_table, 1)
    assert grid.names[:3] == ["BRICKNAME", "BRICKID", "BRICKQ"]
    np.testing.assert_array_equal(grid["BRICKID"], release["brickid"])
    assert list(grid["BRICKNAME"]) == list(release["brickname"])
    assert release["nexphist_g"].shape == (4, 11)
    assert release["nobjs"].min() == 0
    types = sum(release[n] for n in ("npsf", "nrex", "nexp", "ndev", "nser", "ndup"))
    np.testing.assert_array_equal(types, release["nobjs"])
    assert (release["nexp_i"] == 0).sum() == 1


# --- measurements ----------------------------------------------------------------------------


def test_depth_density_and_psf_are_those_of_the_survey(survey: Path) -> None:
    rows, truth = matched(survey)
    wanted = {"g": 24.6, "r": 24.2, "i": 23.8, "z": 23.4, "w1": 21.35, "w2": 20.5}
    psf = rows["type"] == "PSF"
    for band, depth in wanted.items():
        ivar = rows[f"flux_ivar_{band}"]
        seen = psf & (ivar > 0)
        assert np.median(magnitude(5 / np.sqrt(ivar[seen]))) == pytest.approx(depth, abs=0.45)
    assert 1.0 < np.median(rows["psfsize_g"][rows["psfsize_g"] > 0]) < 1.65
    assert 0.9 < np.median(rows["psfsize_z"][rows["psfsize_z"] > 0]) < 1.4
    corner = field_corners(SMALL.seed, 1, 1000)[0]
    places = field_bricks(corner, 0, 4, 1000)
    pixels = sum(int((~outside_box(p.brick, p.optical)).sum()) for p in places if p.position != 2)
    density = len(truth) / (pixels * (0.262 / 3600) ** 2)
    assert 0.70 < density / SMALL.density_per_deg2 < 1.05
    share = {c: float((truth["CLASS"] == c).mean()) for c in ("BGS", "LRG", "ELG", "QSO", "STAR")}
    assert min(share["ELG"], share["BGS"]) > 0.2
    assert min(share.values()) > 0.02
    galaxy = truth["SPECTYPE"] == "GALAXY"
    assert np.all(truth["Z"][truth["SPECTYPE"] == "STAR"] == 0)
    assert truth["Z"][galaxy].min() > 0
    elg = truth["Z"][truth["CLASS"] == "ELG"]
    assert elg.min() > 0.59
    assert elg.max() < 1.66


def test_fluxes_are_unbiased_and_their_errors_honest(survey: Path) -> None:
    rows, truth = matched(survey)
    clean = (rows["maskbits"] & ~1) == 0
    star = (truth["SPECTYPE"] != "GALAXY") & (rows["type"] == "PSF")
    pulls = []
    for band in ("g", "r", "i", "z"):
        flux, ivar = rows[f"flux_{band}"].astype(float), rows[f"flux_ivar_{band}"].astype(float)
        true = truth[f"FLUX_TRUE_{band.upper()}"].astype(float)
        alone = clean & (ivar > 0) & (rows[f"fracflux_{band}"] < 0.02)
        bright = alone & (true * np.sqrt(ivar) > 60) & (rows[f"fracmasked_{band}"] == 0)
        assert np.median(flux[bright] / true[bright]) == pytest.approx(1.0, abs=0.03)
        assert np.median(flux[bright & star] / true[bright & star]) == pytest.approx(1.0, abs=0.01)
        faint = alone & star & (true * np.sqrt(ivar) < 60)
        pulls.append((flux[faint] - true[faint]) * np.sqrt(ivar[faint]))
    pull = np.concatenate(pulls)
    assert pull.size > 80
    assert robust_sigma(pull) == pytest.approx(1.0, abs=0.2)
    assert abs(np.median(pull)) < 0.35
    bright = clean & (truth["FLUX_TRUE_W1"] * np.sqrt(rows["flux_ivar_w1"]) > 60)
    ratio = rows["flux_w1"][bright] / truth["FLUX_TRUE_W1"][bright]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)


def test_aperture_columns_and_dchisq_make_sense(survey: Path) -> None:
    rows, _ = matched(survey)
    star = (rows["type"] == "PSF") & (rows["flux_r"] * np.sqrt(rows["flux_ivar_r"]) > 100)
    star &= (rows["fracflux_r"] < 0.01) & ((rows["maskbits"] & ~1) == 0)
    ratio = rows["apflux_r"][star] / rows["flux_r"][star, None]
    assert np.all(np.diff(np.median(ratio, axis=0)[:6]) > 0)
    assert np.median(ratio[:, 5]) == pytest.approx(1.0, abs=0.04)
    order = ("PSF", "REX", "DEV", "EXP", "SER")
    index = np.array([order.index(t) for t in rows["type"]])
    chosen = rows["dchisq"][np.arange(len(index)), index]
    assert np.all(chosen > 0)
    extended = index > 0
    assert np.all(chosen[extended] >= rows["dchisq"][extended, 0])
    assert np.all(rows["shape_r"][extended] > 0)
    assert not rows["shape_r"][~extended].any()


def test_extinction_columns(survey: Path) -> None:
    rows, _ = matched(survey)
    assert rows["ebv"].min() > 0.009
    assert rows["ebv"].max() < 0.151
    for band in BANDS:
        expected = 10 ** (-0.4 * EXTINCTION_COEFFICIENT[band] * rows["ebv"].astype(float))
        np.testing.assert_allclose(rows[f"mw_transmission_{band.lower()}"], expected, rtol=1e-5)


def test_templates_are_small_and_complete() -> None:
    templates = load_templates()
    assert templates.galaxy_maggies.shape == (5, 5, 201, 6)
    assert np.all(templates.galaxy_maggies > 0)
    assert np.all(templates.qso_maggies[:, :200] > 0)
    np.testing.assert_allclose(templates.wise_weights.sum(axis=1), 1.0, rtol=1e-5)
