"""What a catalogue says of a brick: detection, types, forced photometry, apertures.

Everything is measured on the noisy images. As in Tractor, each source has one profile, and the
fluxes of all sources of the brick are solved for together.

References
----------
Lang, Hogg & Mykytyn 2016, The Tractor (ascl:1604.008); DR10 columns: legacysurvey.org/dr10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partitions.mock.observe import BrickImages, wise_source_sigma_px
from partitions.mock.population import Sources, true_shape
from partitions.mock.render import (
    chunks,
    inverse_stamps,
    profile_transform,
    psf_transform,
    quadratic_form,
    sersic_mixture,
    shift_transform,
    stamp_side_px,
    wise_stamps,
)
from partitions.mock.sky_tiles import TangentPlane
from partitions.schema import BANDS, OPTICAL_PIXEL_SCALE_ARCSEC

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

DETECTION_SNR = 5.0
BLEND_ARCSEC = 1.0
"""Of two sources closer than this, the fainter is not told apart."""
FIBER_RADIUS_ARCSEC = 0.75
FIBER_SEEING_ARCSEC = 1.0
WISE_FIT_HALF_PX = 9


@dataclass(frozen=True)
class Shapes:
    """Measured morphology of n sources."""

    type_name: NDArray[np.str_]
    sersic: FloatArray
    """0 for PSF."""
    radius_arcsec: FloatArray
    """0 for PSF."""
    e1: FloatArray
    e2: FloatArray
    radius_ivar: FloatArray
    ellipticity_ivar: FloatArray
    dchisq: FloatArray
    """Shape (n, 5): PSF, REX, DEV, EXP, SER."""


@dataclass(frozen=True)
class Photometry:
    """Forced photometry of n sources in b bands. Units follow the image."""

    flux: FloatArray
    flux_ivar: FloatArray
    rchisq: FloatArray
    fracflux: FloatArray
    fracmasked: FloatArray
    fracin: FloatArray


def predicted_snr(
    flux: FloatArray,
    radius_px: FloatArray,
    fwhm_px: FloatArray,
    noise: FloatArray,
    covered: NDArray[np.bool_],
) -> FloatArray:
    """Signal-to-noise of an optimal profile fit, shape (n, b).

    Parameters
    ----------
    flux, covered
        Shape (n, b).
    radius_px
        Shape (n,).
    fwhm_px, noise
        Shape (b,).
    """
    variance = (fwhm_px / 2.355) ** 2 + (0.7 * radius_px[:, None]) ** 2
    # 1.3: the wings of a real PSF need more pixels than a Gaussian's 4 pi sigma^2.
    noise_area = 1.3 * 4 * np.pi * variance
    return np.where(covered, flux / (noise * np.sqrt(noise_area)), 0.0)


def unblended(x_px: FloatArray, y_px: FloatArray, brightness: FloatArray) -> NDArray[np.bool_]:
    """Whether a source, shape (n,), is the brightest within BLEND_ARCSEC."""
    if x_px.size < 2:
        return np.ones(x_px.size, dtype=bool)
    tree = cKDTree(np.stack([x_px, y_px], axis=1))
    pairs = tree.query_pairs(BLEND_ARCSEC / OPTICAL_PIXEL_SCALE_ARCSEC, output_type="ndarray")
    kept = np.ones(x_px.size, dtype=bool)
    first_brighter = brightness[pairs[:, 0]] >= brightness[pairs[:, 1]]
    kept[np.where(first_brighter, pairs[:, 1], pairs[:, 0])] = False
    return kept


def measure_shapes(
    rng: np.random.Generator, sources: Sources, snr: FloatArray, fwhm_px: float
) -> Shapes:
    """Types and shapes as a fit of this signal-to-noise would give them.

    Parameters
    ----------
    snr
        Shape (n,), combined over the bands.
    fwhm_px
        PSF of the sharpest band.
    """
    n = snr.size
    radius, axis_ratio, bulge_share = true_shape(sources)
    psf_sigma = fwhm_px * OPTICAL_PIXEL_SCALE_ARCSEC / 2.355
    resolution = radius**2 / (radius**2 + 1.5 * psf_sigma**2)
    snr = np.maximum(snr, 1.0)
    noise = rng.standard_normal((n, 5))
    radius_error = 1.2 / (snr * np.maximum(resolution, 0.05))
    measured = radius * np.exp(np.clip(radius_error, 0, 0.5) * noise[:, 0])
    ellipticity_error = np.clip(1.5 / (snr * np.maximum(resolution, 0.05)), 0.002, 0.5)
    modulus = (1 - axis_ratio) / (1 + axis_ratio)
    e1 = modulus * np.cos(2 * sources.position_angle_rad) + ellipticity_error * noise[:, 1]
    e2 = modulus * np.sin(2 * sources.position_angle_rad) + ellipticity_error * noise[:, 2]
    observed = np.hypot(e1, e2)
    shrink = np.minimum(1, 0.9 / np.maximum(observed, 1e-9))
    e1, e2 = e1 * shrink, e2 * shrink
    index = 1 + 2.7 * bulge_share + 6 / (snr * np.maximum(resolution, 0.05)) * noise[:, 3]
    index = np.clip(index, 0.6, 6.0)

    extended_gain = 0.6 * (snr * resolution) ** 2 + 2 * noise[:, 4]
    elliptical_gain = 0.5 * (snr * resolution * np.hypot(e1, e2)) ** 2
    steep_gain = 0.04 * (snr * resolution * bulge_share) ** 2
    is_psf = (extended_gain < 12) | (radius <= 0)
    is_rex = ~is_psf & (elliptical_gain < 12) & (steep_gain < 12)
    is_ser = ~is_psf & ~is_rex & (snr * resolution > 90) & (np.abs(index - 2.4) < 0.9)
    is_dev = ~is_psf & ~is_rex & ~is_ser & (index > 2.5)
    type_name = np.select([is_psf, is_rex, is_ser, is_dev], ["PSF", "REX", "SER", "DEV"], "EXP")
    round_radius = measured * np.sqrt((1 - np.hypot(e1, e2)) / (1 + np.hypot(e1, e2)))
    # An exponential fitted to a bulge and a disc follows the bright middle: it comes out smaller.
    is_exp = type_name == "EXP"
    concentrated = np.where(is_rex | is_exp, 1 - 0.5 * bulge_share, 1.0)
    fitted_radius = concentrated * np.select([is_psf, is_rex], [0.0, round_radius], measured)
    round_type = is_psf | is_rex
    sersic = np.select([is_psf, is_ser, is_dev], [0.0, index, 4.0], 1.0)

    # Improvements of chi^2 over no source; a model that is not tried has 0, as in Tractor.
    best = np.maximum(snr**2, 30.0)
    dchisq = np.zeros((n, 5))
    gain_rex = np.where(is_psf, np.minimum(extended_gain, 11), extended_gain)
    gain_rex = np.clip(gain_rex, -5, 0.8 * best)
    gain_galaxy = np.clip(
        np.where(round_type, np.minimum(elliptical_gain, 5), elliptical_gain), 0.1, best
    )
    dchisq[:, 0] = best
    dchisq[:, 1] = np.where(radius > 0, best + gain_rex, best - 1)
    for column, is_type in ((2, is_dev), (3, is_exp), (4, is_ser)):
        tried = ~is_psf if column < 4 else is_ser
        value = dchisq[:, 1] + np.where(is_type, 1.0, 0.6) * gain_galaxy
        dchisq[:, column] = np.where(tried, value, 0)
    radius_ivar = np.where(is_psf, 0, 1 / np.maximum(radius_error * radius, 1e-3) ** 2)
    ellipticity_ivar = np.where(round_type, 0, 1 / ellipticity_error**2)
    return Shapes(
        type_name=type_name,
        sersic=sersic,
        radius_arcsec=fitted_radius,
        e1=np.where(round_type, 0, e1),
        e2=np.where(round_type, 0, e2),
        radius_ivar=radius_ivar,
        ellipticity_ivar=ellipticity_ivar,
        dchisq=dchisq,
    )


def template_matrices(
    plane_shape: tuple[int, int],
    x_px: FloatArray,
    y_px: FloatArray,
    shapes: Shapes,
    fwhm_px: FloatArray,
    contrast: FloatArray,
) -> tuple[list[scipy.sparse.csr_matrix], FloatArray]:
    """Unit-flux profiles of all sources as sparse matrices (n, h w), one per band.

    Parameters
    ----------
    contrast
        Shape (n,), largest flux / noise per pixel over the bands: it sets the stamp sizes.

    Returns
    -------
    matrices, share of each unit profile inside the image (n, b)
    """
    height, width = plane_shape
    num_bands = fwhm_px.size
    radius_px = shapes.radius_arcsec / OPTICAL_PIXEL_SCALE_ARCSEC
    modulus = np.hypot(shapes.e1, shapes.e2)
    axis_ratio = (1 - modulus) / (1 + modulus)
    form = quadratic_form(radius_px, axis_ratio, 0.5 * np.arctan2(shapes.e2, shapes.e1))
    steep = shapes.sersic > 2
    side = stamp_side_px(contrast, float(fwhm_px.max()), radius_px, steep, limit=0.5)
    side = np.minimum(side, 128)
    group = np.where(radius_px <= 0, 0, np.where(steep, 2, 1))
    base_x, base_y = np.round(x_px).astype(np.intp), np.round(y_px).astype(np.intp)
    psfs: dict[int, Float32Array] = {}
    counts = side * side
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = np.empty(starts[-1], dtype=np.int32)
    values = np.empty((num_bands, starts[-1]), dtype=np.float32)
    for n, rows in chunks(group, side):
        if n not in psfs:
            psfs[n] = psf_transform(fwhm_px, n)
        half = n // 2
        transform = shift_transform(
            x_px[rows] - base_x[rows] + half, y_px[rows] - base_y[rows] + half, n
        )
        if group[rows[0]] > 0:
            transform *= profile_transform(form[rows], shapes.sersic[rows], n)
        stamps = inverse_stamps(transform[:, None], psfs[n], n)
        offset = np.arange(n) - half
        x = base_x[rows, None] + offset
        y = base_y[rows, None] + offset
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        # Pixels outside the image point at pixel 0 with value 0.
        pixel = np.where(inside, y[:, :, None] * width + x[:, None, :], 0)
        stamps *= inside[:, None]
        for k, row in enumerate(rows):
            part = slice(starts[row], starts[row + 1])
            columns[part] = pixel[k].ravel()
            values[:, part] = stamps[k].reshape(num_bands, -1)
    size = (x_px.size, height * width)
    pointers = starts.astype(np.int32 if starts[-1] < 2**31 else np.int64)
    matrices = [
        scipy.sparse.csr_matrix((values[b], columns, pointers), shape=size, copy=False)
        for b in range(num_bands)
    ]
    inside_share = (
        np.stack(
            [
                np.add.reduceat(values[b], starts[:-1]) if x_px.size else np.zeros(0)
                for b in range(num_bands)
            ],
            axis=1,
        )
        if num_bands
        else np.zeros((x_px.size, 0))
    )
    return matrices, inside_share.astype(float)


def solve_fluxes(
    templates: scipy.sparse.csr_matrix, image: Float32Array, invvar: Float32Array
) -> tuple[FloatArray, FloatArray]:
    """Least-squares fluxes of all sources at once, and their inverse variances, (n,) each.

    Conjugate gradients on the normal equations T W T' f = T W d, scaled to a unit diagonal. The
    inverse variance is the diagonal, sum T^2 w, as in Tractor. Sources without a weighted pixel
    get zeros.
    """
    weight = np.sqrt(invvar.ravel())
    weighted = templates.copy()
    weighted.data = templates.data * weight[templates.indices]
    squares = weighted.copy()
    squares.data = weighted.data**2
    ivar = np.asarray(squares.sum(axis=1), dtype=float).ravel()
    data = weight * image.ravel()
    scale = np.where(ivar > 0, 1 / np.sqrt(np.maximum(ivar, 1e-30)), 0.0)
    transposed = weighted.T
    residual = scale * (weighted @ data)
    solution = np.zeros_like(residual)
    direction = residual.copy()
    norm = float((residual**2).sum())
    target = 1e-8 * norm
    for _ in range(60):
        if norm <= target or norm == 0:
            break
        image_step = transposed @ (scale * direction).astype(np.float32)
        applied = scale * (weighted @ image_step)
        length = norm / float((direction * applied).sum())
        solution += length * direction
        residual -= length * applied
        previous, norm = norm, float((residual**2).sum())
        direction = residual + norm / previous * direction
    return solution * scale, ivar


def forced_photometry(
    matrices: list[scipy.sparse.csr_matrix],
    images: Float32Array,
    invvars: Float32Array,
    inside_share: FloatArray,
) -> Photometry:
    """Fluxes and fit quality in each band: sparse (n, pixels) templates, (b, h, w) images."""
    n, num_bands = inside_share.shape
    result = {name: np.zeros((n, num_bands)) for name in Photometry.__dataclass_fields__}
    for b, matrix in enumerate(matrices):
        if n == 0:
            break
        flux, ivar = solve_fluxes(matrix, images[b], invvars[b])
        model = matrix.T @ flux.astype(np.float32)
        share = np.maximum(inside_share[:, b], 1e-6)
        chi2 = (images[b].ravel() - model) ** 2 * invvars[b].ravel()
        own = matrix.copy()
        own.data = matrix.data**2
        own_norm = np.maximum(np.asarray(own.sum(axis=1), dtype=float).ravel(), 1e-12)
        others = matrix @ model - flux * own_norm
        result["flux"][:, b] = flux
        result["flux_ivar"][:, b] = ivar
        result["rchisq"][:, b] = (matrix @ chi2) / share
        result["fracflux"][:, b] = np.maximum(others, 0) / np.maximum(np.abs(flux) * own_norm, 1e-6)
        masked = (invvars[b].ravel() == 0).astype(np.float32)
        result["fracmasked"][:, b] = np.clip((matrix @ masked) / share, 0, 1)
        result["fracin"][:, b] = np.clip(inside_share[:, b], 0, 1)
    return Photometry(**result)


def wise_photometry(
    place_wise: TangentPlane,
    ra_deg: FloatArray,
    dec_deg: FloatArray,
    radius_arcsec: FloatArray,
    images: BrickImages,
) -> Photometry:
    """Forced photometry in W1 and W2 in Vega nanomaggies."""
    x_px, y_px = place_wise.sky_to_pixel(ra_deg, dec_deg)
    sigma_px = wise_source_sigma_px(radius_arcsec)
    n, half = x_px.size, WISE_FIT_HALF_PX
    side = 2 * half + 1
    height, width = place_wise.height_px, place_wise.width_px
    columns = np.empty((n, side, side), dtype=np.int32)
    values = np.empty((2, n, side, side), dtype=np.float32)
    offset = np.arange(-half, half + 1)
    for start in range(0, n, 256):
        rows = slice(start, start + 256)
        x = np.round(x_px[rows]).astype(np.intp)[:, None] + offset
        y = np.round(y_px[rows]).astype(np.intp)[:, None] + offset
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        columns[rows] = np.where(inside, y[:, :, None] * width + x[:, None, :], 0)
        stamps = wise_stamps(x_px[rows], y_px[rows], sigma_px[rows], half) * inside[:, None]
        values[:, rows] = np.moveaxis(stamps, 1, 0)
    pointers = np.arange(n + 1, dtype=np.int64) * side * side
    matrices = [
        scipy.sparse.csr_matrix((values[b].ravel(), columns.ravel(), pointers), (n, height * width))
        for b in range(2)
    ]
    share = values.sum(axis=(2, 3), dtype=float).T
    return forced_photometry(matrices, images.wise_image, images.wise_invvar, share)


def aperture_sums(
    image: NDArray[np.float32] | FloatArray,
    x_px: FloatArray,
    y_px: FloatArray,
    radii_px: FloatArray,
) -> FloatArray:
    """Sums over circular apertures with fractional pixels: image (h, w), (n,), (r,) -> (n, r).

    Prefix sums along y make every vertical chord of the circle exact; along x each pixel column
    is cut into 16 (small circles) to 4 chords. Pixels outside the image count as 0.
    """
    height, width = image.shape
    prefix = np.zeros((height + 1, width))
    np.cumsum(image, axis=0, dtype=float, out=prefix[1:])
    flat = prefix.ravel()
    sums = np.zeros((x_px.size, radii_px.size))
    for k, radius in enumerate(radii_px):
        cuts = 16 if radius < 3 else 8 if radius < 6 else 4
        reach = int(np.ceil(radius + 0.5))
        fine = (np.arange((2 * reach + 1) * cuts) + 0.5) / cuts - 0.5 - reach
        column = np.round(x_px).astype(np.intp)[:, None] + np.round(fine).astype(np.intp)
        offset = np.round(x_px)[:, None] + fine - x_px[:, None]
        half_chord = np.sqrt(np.maximum(radius**2 - offset**2, 0))
        inside = (column >= 0) & (column < width)
        column = np.clip(column, 0, width - 1)
        total = np.zeros_like(half_chord)
        for sign in (-1.0, 1.0):
            position = np.clip(y_px[:, None] + 0.5 + sign * half_chord, 0, height)
            row = np.minimum(position.astype(np.intp), height - 1)
            index = row * width + column
            below = flat[index]
            total += sign * (below + (position - row) * (flat[index + width] - below))
        sums[:, k] = (total * inside).sum(axis=1) / cuts
    return sums


def aperture_photometry(
    image: Float32Array,
    invvar: Float32Array,
    x_px: FloatArray,
    y_px: FloatArray,
    radii_px: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Aperture fluxes and inverse variances, (n, r) each. Pixels of zero weight are left out."""
    good = invvar > 0
    flux = aperture_sums(np.where(good, image, 0), x_px, y_px, radii_px)
    variance = np.where(good, 1 / np.where(good, invvar, 1), 0)
    variance_sum = aperture_sums(variance, x_px, y_px, radii_px)
    # The floor absorbs the rounding of the prefix sums where an aperture holds no good pixel.
    floor = 1e-9 * float(variance.max(initial=0.0)) + 1e-30
    ivar = np.where(variance_sum > floor, 1 / np.maximum(variance_sum, floor), 0.0)
    return np.where(ivar > 0, flux, 0.0), ivar


def fraction_in_aperture(
    shapes: Shapes, blur_sigma_arcsec: float, aperture_arcsec: float
) -> FloatArray:
    """Share of the light of blurred round profiles inside an aperture, shape (n,)."""
    weights, sigma = sersic_mixture(np.maximum(shapes.sersic, 1.0))
    modulus = np.hypot(shapes.e1, shapes.e2)
    round_radius = shapes.radius_arcsec * np.sqrt((1 - modulus) / (1 + modulus))
    variance = (sigma * round_radius[:, None]) ** 2 + blur_sigma_arcsec**2
    return np.asarray((weights * (1 - np.exp(-0.5 * aperture_arcsec**2 / variance))).sum(axis=1))


def detect(
    rng: np.random.Generator,
    sources: Sources,
    x_px: FloatArray,
    y_px: FloatArray,
    images: BrickImages,
) -> tuple[NDArray[np.intp], FloatArray]:
    """Rows of the sources that a catalogue of this image lists, and their S/N per band (m, b).

    Listed are sources in the image, on exposed pixels, above 5 sigma in some band, that are not
    merged into a brighter neighbour.
    """
    height, width = images.maskbits.shape
    column, row = np.round(x_px).astype(np.intp), np.round(y_px).astype(np.intp)
    inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
    covered = images.covered[:, row[inside], column[inside]].T
    indices = [BANDS.index(band) for band in images.bands]
    radius, _, _ = true_shape(sources.take(inside))
    flux = sources.flux[inside][:, indices]
    fwhm_px = images.fwhm_arcsec / OPTICAL_PIXEL_SCALE_ARCSEC
    snr = predicted_snr(flux, radius / OPTICAL_PIXEL_SCALE_ARCSEC, fwhm_px, images.noise, covered)
    seen = (snr + rng.standard_normal(snr.shape) * (snr > 0) > DETECTION_SNR).any(axis=1)
    inside, snr, flux = inside[seen], snr[seen], flux[seen]
    alone = unblended(x_px[inside], y_px[inside], flux.max(axis=1, initial=0.0))
    return inside[alone], snr[alone]
