"""What the telescopes record of a brick: exposures, PSF, masks, noise, images.

References
----------
Noise, depth and PSF were measured on real Legacy Surveys bricks and catalogue rows; MASKBITS and
the radius of a bright star's halo, 1630" x 1.396^-G, are those of legacypipe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partitions.mock.population import CLASSES, Sources, true_shape
from partitions.mock.render import add_stamps, render_optical, wise_stamps
from partitions.mock.sky_tiles import MockBrick, outside_box
from partitions.schema import (
    BANDS,
    MASKBITS,
    OPTICAL_PIXEL_SCALE_ARCSEC,
    WISE_BANDS,
    WISE_PIXEL_SCALE_ARCSEC,
    WISE_VEGA_TO_AB_MAG,
)

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

SINGLE_EXPOSURE_NOISE = {"g": 0.0082, "r": 0.0124, "i": 0.0170, "z": 0.0280}
"""Nanomaggies per 0.262 arcsec pixel."""
EXPOSURE_RANGE = {"g": (5, 14), "r": (5, 13), "i": (4, 13), "z": (4, 13)}
"""Number of exposures of a brick, both ends included: gives the depths of the real catalogue."""
PSF_FWHM_ARCSEC = {"g": (1.31, 0.10), "r": (1.11, 0.08), "i": (1.10, 0.05), "z": (1.12, 0.07)}
"""Median and scatter of the PSF of a brick."""
ELECTRONS_PER_NANOMAGGY = {"g": 1600.0, "r": 1800.0, "i": 2000.0, "z": 2400.0}
"""Of one exposure: from the noise above and dark skies of 22.0, 21.0, 20.2, 18.9 mag/arcsec^2."""
SATURATION_NANOMAGGY = {"g": 14.0, "r": 16.0, "i": 18.0, "z": 24.0}
"""Per pixel: a star of about magnitude 16 saturates."""
WISE_NOISE_VEGA = {"W1": 1.56, "W2": 5.94}
"""Vega nanomaggies per 2.75 arcsec pixel."""
WISE_SHOT_VEGA = 0.02
"""Variance per Vega nanomaggy of source light, Vega nanomaggies."""

WISE_STAMP_HALF_PX = 14


@dataclass(frozen=True)
class BrickImages:
    """The recorded maps of one brick. Bands absent from `bands` have no exposure at all."""

    bands: tuple[str, ...]
    """The optical bands with images, in the order of the first axis."""
    image: Float32Array
    """Shape (b, h, w), nanomaggies; exactly 0 where there is no exposure."""
    invvar: Float32Array
    """Shape (b, h, w); 0 where there is no exposure or every exposure is masked."""
    nexp: NDArray[np.int16]
    """Shape (b, h, w), good exposures."""
    fwhm_arcsec: FloatArray
    """Shape (b,)."""
    noise: FloatArray
    """Shape (b,), typical sky noise per pixel, nanomaggies."""
    covered: NDArray[np.bool_]
    """Shape (b, h, w): at least one exposure, good or masked."""
    maskbits: NDArray[np.int32]
    """Shape (h, w)."""
    wise_image: Float32Array
    """Shape (2, h_w, w_w), VEGA nanomaggies."""
    wise_invvar: Float32Array


def wise_vega_per_ab() -> FloatArray:
    """Vega nanomaggies per AB nanomaggy in W1, W2: shape (2,)."""
    return np.array([10 ** (WISE_VEGA_TO_AB_MAG[band] / 2.5) for band in WISE_BANDS])


def exposure_map(
    rng: np.random.Generator, exposures: int, shape: tuple[int, int], strip: bool
) -> NDArray[np.int16]:
    """Number of exposures per pixel, shape (h, w).

    All exposures but the first have one gap between CCDs, a row or a column of 46 px. A `strip`
    along the eastern edge (x = 0) without any exposure is the border of the footprint.
    """
    nexp = np.full(shape, exposures, dtype=np.int16)
    for exposure in range(1, exposures):
        axis = exposure % 2
        start = int(rng.integers(-23, shape[axis]))
        gap = slice(max(start, 0), max(start + 46, 0))
        nexp[(gap, slice(None)) if axis == 0 else (slice(None), gap)] -= 1
    if strip:
        nexp[:, : max(shape[1] // 8, 20)] = 0
    return nexp


def disc_mask(
    shape: tuple[int, int], x_px: float, y_px: float, radius_px: float
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """A window of an image and the pixels of a disc in it."""
    low_y, high_y = (int(np.clip(y_px + s * radius_px + (s > 0), 0, shape[0])) for s in (-1, 1))
    low_x, high_x = (int(np.clip(x_px + s * radius_px + (s > 0), 0, shape[1])) for s in (-1, 1))
    y, x = np.ogrid[low_y:high_y, low_x:high_x]
    inside = (x - x_px) ** 2 + (y - y_px) ** 2 < radius_px**2
    return (slice(low_y, high_y), slice(low_x, high_x)), np.asarray(inside)


def saturation_masks(
    model: Float32Array,
    bands: tuple[str, ...],
    sources: Sources,
    x_px: FloatArray,
    y_px: FloatArray,
) -> NDArray[np.bool_]:
    """Saturated pixels, shape (b, h, w): bright cores, and bleed trails along columns."""
    saturated = np.stack([model[b] > SATURATION_NANOMAGGY[band] for b, band in enumerate(bands)])
    height, width = model.shape[1:]
    star = sources.class_code == CLASSES.index("STAR")
    for b, band in enumerate(bands):
        flux = sources.flux[:, BANDS.index(band)]
        for i in np.flatnonzero(star & (flux > 2000)):
            x, y = round(float(x_px[i])), round(float(y_px[i]))
            length = int(25 * np.sqrt(flux[i] / 2000))
            columns = slice(max(x - 1, 0), max(min(x + 2, width), 0))
            saturated[b, max(y - length, 0) : max(min(y + length, height), 0), columns] = True
    return saturated


def mask_map(
    place: MockBrick,
    bands: tuple[str, ...],
    saturated: NDArray[np.bool_],
    sources: Sources,
    x_px: FloatArray,
    y_px: FloatArray,
) -> NDArray[np.int32]:
    """MASKBITS map, shape (h, w)."""
    plane = place.optical
    shape = (plane.height_px, plane.width_px)
    bits = np.where(outside_box(place.brick, plane), 1 << MASKBITS["NPRIMARY"], 0).astype(np.int32)
    for b, band in enumerate(bands):
        value = (1 << MASKBITS[f"SATUR_{band.upper()}"]) | (
            1 << MASKBITS[f"ALLMASK_{band.upper()}"]
        )
        bits[saturated[b]] |= value
    star = sources.class_code == CLASSES.index("STAR")
    magnitude = 22.5 - 2.5 * np.log10(np.maximum(sources.flux[:, 1], 1e-9))
    for i in np.flatnonzero(star & (magnitude < 16)):
        radius_px = 1630.0 * 1.396 ** -magnitude[i] / OPTICAL_PIXEL_SCALE_ARCSEC
        value = 1 << MASKBITS["MEDIUM"]
        if magnitude[i] < 13:
            value |= 1 << MASKBITS["BRIGHT"]
        window, inside = disc_mask(shape, x_px[i], y_px[i], radius_px)
        bits[window] |= np.where(inside, value, 0).astype(np.int32)
        # unWISE masks the cores of bright stars.
        if magnitude[i] < 12.5:
            value = (1 << MASKBITS["WISEM1"]) | (1 << MASKBITS["WISEM2"])
            window, inside = disc_mask(shape, x_px[i], y_px[i], 0.4 * radius_px)
            bits[window] |= np.where(inside, value, 0).astype(np.int32)
    return bits


def render_wise(place: MockBrick, sources: Sources) -> Float32Array:
    """Noiseless W1 and W2 images, shape (2, h_w, w_w), Vega nanomaggies."""
    plane = place.wise
    image = np.zeros((2, plane.height_px, plane.width_px), dtype=np.float32)
    x_px, y_px = plane.sky_to_pixel(sources.ra_deg, sources.dec_deg)
    flux = (sources.flux[:, 4:] * wise_vega_per_ab()).astype(np.float32)
    size_px = wise_source_sigma_px(true_shape(sources)[0])
    for start in range(0, x_px.size, 256):
        rows = slice(start, start + 256)
        stamps = wise_stamps(x_px[rows], y_px[rows], size_px[rows], WISE_STAMP_HALF_PX)
        stamps *= flux[rows][:, :, None, None]
        corner = [np.round(v[rows]).astype(np.intp) - WISE_STAMP_HALF_PX for v in (x_px, y_px)]
        add_stamps(image, stamps, corner[0], corner[1])
    return image


def wise_source_sigma_px(radius_arcsec: FloatArray) -> FloatArray:
    """Gaussian width in WISE pixels of a source of a half-light radius: far below the PSF's."""
    return np.asarray(0.6 * radius_arcsec / WISE_PIXEL_SCALE_ARCSEC)


def observe_brick(
    rng: np.random.Generator,
    place: MockBrick,
    sources: Sources,
    bands: tuple[str, ...],
    strip: bool,
) -> BrickImages:
    """Images, weights and masks of one brick.

    Parameters
    ----------
    sources
        All sources whose light may reach the image.
    bands
        Optical bands with exposures.
    strip
        Leave a strip of the image without any exposure.
    """
    plane = place.optical
    shape = (plane.height_px, plane.width_px)
    indices = [BANDS.index(band) for band in bands]
    fwhm_arcsec = np.array(
        [np.clip(rng.normal(*PSF_FWHM_ARCSEC[band]), 0.85, 1.7) for band in bands]
    )
    exposures = [int(rng.integers(*EXPOSURE_RANGE[band], endpoint=True)) for band in bands]
    nexp = np.stack([exposure_map(rng, count, shape, strip) for count in exposures])
    noise = np.array(
        [SINGLE_EXPOSURE_NOISE[band] / np.sqrt(n) for band, n in zip(bands, exposures, strict=True)]
    )
    x_px, y_px = plane.sky_to_pixel(sources.ra_deg, sources.dec_deg)
    pixel = OPTICAL_PIXEL_SCALE_ARCSEC
    model = render_optical(
        shape,
        x_px,
        y_px,
        (
            sources.bulge_flux[:, indices],
            sources.disc_flux[:, indices],
            sources.clump_flux[:, indices],
        ),
        (sources.bulge_radius_arcsec / pixel, sources.disc_radius_arcsec / pixel),
        (sources.bulge_axis_ratio, sources.disc_axis_ratio),
        sources.position_angle_rad,
        (
            sources.clump_x_arcsec / pixel,
            sources.clump_y_arcsec / pixel,
            sources.clump_sigma_arcsec / pixel,
        ),
        fwhm_arcsec / pixel,
        noise,
    )
    saturated = saturation_masks(model, bands, sources, x_px, y_px)
    covered = nexp > 0
    image = np.empty_like(model)
    invvar = np.empty_like(model)
    for b, band in enumerate(bands):
        count = np.maximum(nexp[b], 1).astype(np.float32)
        variance = np.maximum(model[b], 0) / np.float32(ELECTRONS_PER_NANOMAGGY[band])
        variance += np.float32(SINGLE_EXPOSURE_NOISE[band] ** 2)
        variance /= count
        random = rng.standard_normal(shape, dtype=np.float32)
        random *= np.sqrt(variance)
        random += model[b]
        image[b] = np.where(covered[b], random, 0)
        invvar[b] = np.where(covered[b] & ~saturated[b], 1 / variance, 0)
    maskbits = mask_map(place, bands, saturated & covered, sources, x_px, y_px)
    wise_model = render_wise(place, sources)
    wise_sky = np.array([WISE_NOISE_VEGA[band] for band in WISE_BANDS])
    # The depth of unWISE varies by a few per cent with ecliptic latitude.
    wise_sky = wise_sky * np.clip(rng.normal(1.0, 0.05), 0.85, 1.15)
    wise_variance = (wise_sky**2)[:, None, None] + WISE_SHOT_VEGA * np.maximum(wise_model, 0)
    wise_variance = wise_variance.astype(np.float32)
    wise_noise = rng.standard_normal(wise_model.shape, dtype=np.float32)
    return BrickImages(
        bands=bands,
        image=image,
        invvar=invvar,
        nexp=np.where(saturated, 0, nexp).astype(np.int16),
        fwhm_arcsec=fwhm_arcsec,
        noise=noise,
        covered=covered,
        maskbits=maskbits,
        wise_image=wise_model + wise_noise * np.sqrt(wise_variance),
        wise_invvar=(1 / wise_variance).astype(np.float32),
    )
