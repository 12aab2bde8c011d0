"""The Tractor table and the truth rows of one observed brick.

References
----------
Columns and their order: format_catalog.py of legacypipe; legacysurvey.org/dr10/catalogs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.mock.measure import (
    FIBER_RADIUS_ARCSEC,
    FIBER_SEEING_ARCSEC,
    Photometry,
    Shapes,
    aperture_photometry,
    detect,
    forced_photometry,
    fraction_in_aperture,
    measure_shapes,
    template_matrices,
    wise_photometry,
)
from partitions.mock.observe import BrickImages, wise_vega_per_ab
from partitions.mock.population import CLASSES, EXTINCTION, Sources, true_shape
from partitions.mock.sky_tiles import MockBrick, is_primary
from partitions.schema import (
    BANDS,
    MASKBITS,
    OPTICAL_APERTURE_RADII_ARCSEC,
    OPTICAL_BANDS,
    OPTICAL_PIXEL_SCALE_ARCSEC,
    WISE_APERTURE_RADII_ARCSEC,
    WISE_BANDS,
    WISE_PIXEL_SCALE_ARCSEC,
)

FloatArray = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]

TYPE_DUP = "DUP"
GAIA_FAINT_LIMIT = 20.7
ANYMASK_SATURATED = 2
"""The bit of anymask and allmask for a saturated pixel."""


def optical_columns(
    images: BrickImages,
    photometry: Photometry,
    shapes: Shapes,
    x_px: FloatArray,
    y_px: FloatArray,
) -> Columns:
    """The columns of each optical band, zero filled where the brick has no such image."""
    n = x_px.size
    columns: Columns = {}
    row, column = np.round(y_px).astype(np.intp), np.round(x_px).astype(np.intp)
    row = np.clip(row, 0, images.maskbits.shape[0] - 1)
    column = np.clip(column, 0, images.maskbits.shape[1] - 1)
    radii = np.array(OPTICAL_APERTURE_RADII_ARCSEC)
    fiber_share = fraction_in_aperture(shapes, FIBER_SEEING_ARCSEC / 2.355, FIBER_RADIUS_ARCSEC)
    for band in OPTICAL_BANDS:
        zero = np.zeros(n, dtype=np.float32)
        names = ["flux", "flux_ivar", "fiberflux", "fibertotflux", "rchisq", "fracflux"]
        names += ["fracmasked", "fracin", "psfsize", "psfdepth", "galdepth"]
        columns |= {f"{name}_{band}": zero.copy() for name in names}
        columns |= {f"{name}_{band}": np.zeros(n, dtype=np.int16) for name in ("nobs", "ngood")}
        columns |= {
            f"{name}_{band}": np.zeros(n, dtype=np.int16) for name in ("anymask", "allmask")
        }
        for name in ("apflux", "apflux_ivar"):
            columns[f"{name}_{band}"] = np.zeros((n, radii.size), dtype=np.float32)
        if band not in images.bands:
            continue
        b = images.bands.index(band)
        ivar = photometry.flux_ivar[:, b]
        seen = ivar > 0
        for name in ("flux", "flux_ivar", "rchisq", "fracflux", "fracmasked", "fracin"):
            columns[f"{name}_{band}"] = np.where(seen, getattr(photometry, name)[:, b], 0).astype(
                "f4"
            )
        apflux, apflux_ivar = aperture_photometry(
            images.image[b], images.invvar[b], x_px, y_px, radii / OPTICAL_PIXEL_SCALE_ARCSEC
        )
        columns[f"apflux_{band}"] = apflux.astype("f4")
        columns[f"apflux_ivar_{band}"] = apflux_ivar.astype("f4")
        flux = columns[f"flux_{band}"].astype(float)
        psf_sigma = images.fwhm_arcsec[b] / 2.355
        own = flux * fraction_in_aperture(shapes, psf_sigma, FIBER_RADIUS_ARCSEC)
        excess = apflux[:, 1] - own
        neighbours = np.where(excess**2 * apflux_ivar[:, 1] > 25, np.maximum(excess, 0), 0)
        columns[f"fiberflux_{band}"] = (flux * fiber_share).astype("f4")
        columns[f"fibertotflux_{band}"] = (flux * fiber_share + neighbours).astype("f4")
        nexp = images.nexp[b, row, column]
        covered = images.covered[b, row, column]
        saturated = covered & (images.invvar[b, row, column] == 0)
        columns[f"ngood_{band}"] = nexp
        columns[f"nobs_{band}"] = np.where(saturated, 1, nexp).astype(np.int16)
        mask = np.where(saturated, ANYMASK_SATURATED, 0).astype(np.int16)
        columns[f"anymask_{band}"], columns[f"allmask_{band}"] = mask, mask.copy()
        columns[f"psfsize_{band}"] = np.where(covered, images.fwhm_arcsec[b], 0).astype("f4")
        # sum PSF^2 / sigma^2 for a point, and for a round exponential galaxy of 0.45 arcsec.
        pixel_ivar = np.where(nexp > 0, images.invvar[b, row, column], 0)
        for name, radius in (("psfdepth", 0.0), ("galdepth", 0.45)):
            variance = (psf_sigma**2 + (0.7 * radius) ** 2) / OPTICAL_PIXEL_SCALE_ARCSEC**2
            columns[f"{name}_{band}"] = (pixel_ivar / (1.3 * 4 * np.pi * variance)).astype("f4")
    return columns


def wise_columns(
    place: MockBrick, images: BrickImages, shapes: Shapes, ra_deg: FloatArray, dec_deg: FloatArray
) -> Columns:
    """The columns of W1 and W2, all fluxes AB nanomaggies."""
    columns: Columns = {}
    photometry = wise_photometry(place.wise, ra_deg, dec_deg, shapes.radius_arcsec, images)
    x_px, y_px = place.wise.sky_to_pixel(ra_deg, dec_deg)
    radii_px = np.array(WISE_APERTURE_RADII_ARCSEC) / WISE_PIXEL_SCALE_ARCSEC
    for b, band in enumerate(WISE_BANDS):
        vega_per_ab = wise_vega_per_ab()[b]
        name = band.lower()
        columns[f"flux_{name}"] = (photometry.flux[:, b] / vega_per_ab).astype("f4")
        columns[f"flux_ivar_{name}"] = (photometry.flux_ivar[:, b] * vega_per_ab**2).astype("f4")
        columns[f"rchisq_{name}"] = photometry.rchisq[:, b].astype("f4")
        columns[f"fracflux_{name}"] = photometry.fracflux[:, b].astype("f4")
        columns[f"nobs_{name}"] = np.full(x_px.size, 160, dtype=np.int16)
        psf_ivar = 1 / (19.0 * np.median(1 / images.wise_invvar[b])) * vega_per_ab**2
        columns[f"psfdepth_{name}"] = np.full(x_px.size, psf_ivar, dtype="f4")
        apflux, ivar = aperture_photometry(
            images.wise_image[b], images.wise_invvar[b], x_px, y_px, radii_px
        )
        columns[f"apflux_{name}"] = (apflux / vega_per_ab).astype("f4")
        columns[f"apflux_ivar_{name}"] = (ivar * vega_per_ab**2).astype("f4")
    return columns


def gaia_columns(rng: np.random.Generator, sources: Sources) -> Columns:
    """Gaia matches of stars and quasars to G = 20.7; galaxies have none."""
    n = sources.z.size
    point = sources.bulge_radius_arcsec <= 0
    magnitude = 22.5 - 2.5 * np.log10(np.maximum(sources.flux[:, 1], 1e-9))
    g_mag = magnitude + rng.normal(0, 0.02, n)
    matched = point & (g_mag < GAIA_FAINT_LIMIT)
    ref_id = rng.integers(1, 2**62, n)
    return {
        "ref_cat": np.where(matched, b"GE", b"").astype("S2"),
        "ref_id": np.where(matched, ref_id, 0).astype("i8"),
        "gaia_phot_g_mean_mag": np.where(matched, g_mag, 0).astype("f4"),
    }


def measure_brick(
    rng: np.random.Generator,
    place: MockBrick,
    sources: Sources,
    images: BrickImages,
    release: int,
    num_duplicates: int,
) -> tuple[Columns, Columns]:
    """The Tractor table of a brick and the truth of its primary rows.

    Parameters
    ----------
    sources
        All true sources of the image; none for an empty brick.
    num_duplicates
        DUP rows: bright galaxies listed a second time without flux.

    Returns
    -------
    tractor, truth
        Columns by name, each with the row as first axis; Tractor rows in the order of objid.
    """
    plane = place.optical
    true_x, true_y = plane.sky_to_pixel(sources.ra_deg, sources.dec_deg)
    rows, snr = detect(rng, sources, true_x, true_y, images)
    order = np.argsort(true_y[rows], kind="stable")
    rows, snr = rows[order], snr[order]
    found = sources.take(rows)
    n = rows.size
    total_snr = np.sqrt((snr**2).sum(axis=1))
    best_fwhm_px = float(images.fwhm_arcsec.min()) / OPTICAL_PIXEL_SCALE_ARCSEC
    shapes = measure_shapes(rng, found, total_snr, best_fwhm_px)
    position_error_px = best_fwhm_px / (2.355 * np.maximum(total_snr, 1)) + 0.02
    offset = rng.standard_normal((2, n)) * position_error_px
    x_px, y_px = (
        np.clip(true_x[rows] + offset[0], -0.49, plane.width_px - 0.51).astype("f4").astype(float),
        np.clip(true_y[rows] + offset[1], -0.49, plane.height_px - 0.51).astype("f4").astype(float),
    )
    ra_deg, dec_deg = plane.pixel_to_sky(x_px, y_px)

    indices = [BANDS.index(band) for band in images.bands]
    contrast = (found.flux[:, indices] / images.noise).max(axis=1, initial=0.0)
    fwhm_px = images.fwhm_arcsec / OPTICAL_PIXEL_SCALE_ARCSEC
    shape = (plane.height_px, plane.width_px)
    matrices, inside_share = template_matrices(shape, x_px, y_px, shapes, fwhm_px, contrast)
    photometry = forced_photometry(matrices, images.image, images.invvar, inside_share)
    del matrices

    column, row = np.round(x_px).astype(np.intp), np.round(y_px).astype(np.intp)
    maskbits = images.maskbits[row, column]
    primary = is_primary(place.brick, ra_deg, dec_deg)
    # The map is drawn per pixel; the row's own position decides its own bit.
    nprimary = np.int32(1 << MASKBITS["NPRIMARY"])
    maskbits = np.where(primary, maskbits & ~nprimary, maskbits | nprimary).astype(np.int32)
    # ra_ivar is per coordinate degree^2, as in the pipeline: it includes cos^2(dec).
    pixel_deg = OPTICAL_PIXEL_SCALE_ARCSEC / 3600
    dec_ivar = 1 / (position_error_px * pixel_deg) ** 2
    tractor: Columns = {
        "release": np.full(n, release, dtype=np.int16),
        "brickid": np.full(n, place.brick.brickid, dtype=np.int32),
        "brickname": np.full(n, place.brick.name.encode(), dtype="S8"),
        "objid": np.arange(n, dtype=np.int32),
        "brick_primary": primary,
        "maskbits": maskbits,
        "fitbits": np.zeros(n, dtype=np.int16),
        "type": shapes.type_name.astype("S3"),
        "ra": ra_deg,
        "dec": dec_deg,
        "ra_ivar": (dec_ivar * np.cos(np.radians(dec_deg)) ** 2).astype("f4"),
        "dec_ivar": dec_ivar.astype("f4"),
        "bx": x_px.astype("f4"),
        "by": y_px.astype("f4"),
        "dchisq": shapes.dchisq.astype("f4"),
        "ebv": found.ebv_mag.astype("f4"),
        **gaia_columns(rng, found),
        **optical_columns(images, photometry, shapes, x_px, y_px),
        **wise_columns(place, images, shapes, ra_deg, dec_deg),
    }
    for b, band in enumerate(BANDS):
        transmission = 10 ** (-0.4 * EXTINCTION[b] * found.ebv_mag)
        tractor[f"mw_transmission_{band.lower()}"] = transmission.astype("f4")
    for bit, band in (("WISEM1", "w1"), ("WISEM2", "w2")):
        tractor[f"wisemask_{band}"] = ((maskbits >> MASKBITS[bit]) & 1).astype(np.uint8)
    tractor |= {
        "sersic": shapes.sersic.astype("f4"),
        "sersic_ivar": np.where(shapes.type_name == "SER", total_snr**2 / 36, 0).astype("f4"),
        "shape_r": shapes.radius_arcsec.astype("f4"),
        "shape_r_ivar": shapes.radius_ivar.astype("f4"),
        "shape_e1": shapes.e1.astype("f4"),
        "shape_e1_ivar": shapes.ellipticity_ivar.astype("f4"),
        "shape_e2": shapes.e2.astype("f4"),
        "shape_e2_ivar": shapes.ellipticity_ivar.astype("f4"),
    }
    truth = truth_columns(tractor, found)
    truth = {name: column[primary] for name, column in truth.items()}
    brightest = np.argsort(-found.flux[:, 1], kind="stable")
    galaxies = brightest[found.bulge_radius_arcsec[brightest] > 0]
    return append_duplicates(tractor, galaxies[:num_duplicates]), truth


def truth_columns(tractor: Columns, sources: Sources) -> Columns:
    """The truth of each row: redshift, class, fluxes (observed, before noise) and shape."""
    radius, axis_ratio, bulge_share = true_shape(sources)
    clump_share = sources.clump_flux[:, 1] / np.maximum(sources.flux[:, 1], 1e-12)
    names = np.array(CLASSES)[sources.class_code]
    spectype = np.where(np.isin(names, ("QSO", "STAR")), names, "GALAXY")
    columns: Columns = {
        "BRICKID": tractor["brickid"],
        "OBJID": tractor["objid"],
        "RELEASE": tractor["release"],
        "BRICKNAME": tractor["brickname"],
        "RA": sources.ra_deg,
        "DEC": sources.dec_deg,
        "Z": sources.z,
        "CLASS": names.astype("S5"),
        "SPECTYPE": spectype.astype("S6"),
    }
    for b, band in enumerate(BANDS):
        columns[f"FLUX_TRUE_{band.upper()}"] = sources.flux[:, b].astype("f4")
    columns |= {
        "SHAPE_R_TRUE": radius.astype("f4"),
        "AXIS_RATIO_TRUE": axis_ratio.astype("f4"),
        "BULGE_FRACTION_TRUE": bulge_share.astype("f4"),
        "CLUMP_FRACTION_TRUE": clump_share.astype("f4"),
        "AV_TRUE": sources.av_mag.astype("f4"),
        "EBV_TRUE": sources.ebv_mag.astype("f4"),
    }
    return columns


def append_duplicates(tractor: Columns, rows: NDArray[np.intp]) -> Columns:
    """The table with DUP copies of some rows: same place, no optical flux, no shape."""
    if rows.size == 0:
        return tractor
    result: Columns = {}
    kept = ["release", "brickid", "brickname", "brick_primary", "maskbits", "ra", "dec", "bx", "by"]
    kept += ["ebv", "ra_ivar", "dec_ivar"]
    for name, column in tractor.items():
        copy = column[rows].copy()
        if name == "objid":
            copy = np.arange(rows.size, dtype=np.int32) + np.int32(column.size)
        elif name == "type":
            copy[:] = TYPE_DUP.encode()
        elif name not in kept and not name.startswith(("mw_transmission", "nobs", "ngood", "psf")):
            copy = np.zeros_like(copy)
        result[name] = np.concatenate([column, copy])
    return result
