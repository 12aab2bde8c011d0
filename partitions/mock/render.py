"""Light profiles on pixels, drawn in Fourier space.

Every profile and PSF is a mixture of Gaussians (Hogg & Lang 2013, PASP 125, 719), so its Fourier
transform is one too. A galaxy's transform is computed once for all bands, multiplied by the PSF of
each band and transformed back: shapes are sampled exactly, however small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from partitions.mock.templates import load_templates

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.intp]

STAMP_SIDES_PX = (32, 48, 64, 96, 128, 192, 256)
"""Sides with fast transforms."""
CHUNK_ELEMENTS = 1 << 16
"""Fourier elements in work at once: small enough for the cache."""


def sersic_mixture(sersic: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights and widths, both (n, 9), of Sersic profiles of half-light radius 1.

    Between the tabulated indices the weights are interpolated.
    """
    tables = load_templates()
    grid = tables.sersic_grid
    i = np.clip(np.searchsorted(grid, sersic, side="right") - 1, 0, grid.size - 2)
    u = np.clip((sersic - grid[i]) / (grid[i + 1] - grid[i]), 0, 1)[:, None]
    weights = tables.profile_weights[i] * (1 - u) + tables.profile_weights[i + 1] * u
    scale = tables.profile_scale[i, None] * (1 - u) + tables.profile_scale[i + 1, None] * u
    return weights, scale * tables.profile_sigma


def psf_transform(fwhm_px: FloatArray, side_px: int) -> Float32Array:
    """Fourier transforms of Moffat PSFs: (b,) -> (b, side, side // 2 + 1)."""
    tables = load_templates()
    kx = scipy.fft.rfftfreq(side_px)
    ky = scipy.fft.fftfreq(side_px)
    k2 = ky[:, None] ** 2 + kx[None, :] ** 2
    sigma = np.asarray(fwhm_px)[:, None] * tables.psf_sigma_fwhm
    exponent = -2 * np.pi**2 * sigma[:, :, None, None] ** 2 * k2
    transform = np.einsum("k,bkyx->byx", tables.psf_weights, np.exp(exponent))
    return np.asarray(transform, dtype=np.float32)


def quadratic_form(
    radius_px: FloatArray, axis_ratio: FloatArray, position_angle_rad: FloatArray
) -> FloatArray:
    """Coefficients (n, 3) of kx^2, kx ky, ky^2 in r^2 (k_major^2 + q^2 k_minor^2).

    The major axis points north (+y) through east (-x).
    """
    sin_pa, cos_pa = np.sin(position_angle_rad), np.cos(position_angle_rad)
    q2 = axis_ratio**2
    form = np.stack(
        [sin_pa**2 + q2 * cos_pa**2, 2 * sin_pa * cos_pa * (q2 - 1), cos_pa**2 + q2 * sin_pa**2],
        axis=1,
    )
    return np.asarray(form * radius_px[:, None] ** 2)


def profile_transform(form: FloatArray, sersic: FloatArray, side_px: int) -> Float32Array:
    """Fourier transforms of elliptical Sersic profiles of unit flux.

    Parameters
    ----------
    form
        Shape (n, 3), from `quadratic_form`.
    sersic
        Shape (n,).

    Returns
    -------
    array of shape (n, side, side // 2 + 1)
    """
    kx = scipy.fft.rfftfreq(side_px).astype(np.float32)
    ky = scipy.fft.fftfreq(side_px).astype(np.float32)
    f = form.astype(np.float32)[:, :, None, None]
    quadratic = f[:, 0] * kx**2
    quadratic = quadratic + f[:, 1] * (ky[:, None] * kx)
    quadratic += f[:, 2] * (ky**2)[:, None]
    weights, sigma = sersic_mixture(sersic)
    total = np.zeros_like(quadratic)
    work = np.empty_like(quadratic)
    exponent = (-2 * np.pi**2 * sigma**2).astype(np.float32)
    for k in range(weights.shape[1]):
        if weights[:, k].max() < 1e-4:
            continue
        np.multiply(quadratic, exponent[:, k, None, None], out=work)
        np.exp(work, out=work)
        work *= weights[:, k, None, None].astype(np.float32)
        total += work
    return np.asarray(total)


def shift_transform(dx_px: FloatArray, dy_px: FloatArray, side_px: int) -> NDArray[np.complex64]:
    """Fourier transforms of unit points: offsets (n,) from pixel 0 -> (n, side, side // 2 + 1)."""
    kx, ky = scipy.fft.rfftfreq(side_px), scipy.fft.fftfreq(side_px)
    phase_x = np.exp(-2j * np.pi * dx_px[:, None] * kx).astype(np.complex64)
    phase_y = np.exp(-2j * np.pi * dy_px[:, None] * ky).astype(np.complex64)
    return np.asarray(phase_y[:, :, None] * phase_x[:, None, :])


def clump_transform(
    x_px: FloatArray, y_px: FloatArray, sigma_px: FloatArray, side_px: int
) -> NDArray[np.complex64]:
    """Fourier transforms of groups of equal Gaussian clumps, unit flux per group.

    Parameters
    ----------
    x_px, y_px
        Shape (n, c), offsets from the galaxy's centre.
    sigma_px
        Shape (n,).

    Returns
    -------
    array of shape (n, side, side // 2 + 1)
    """
    kx, ky = scipy.fft.rfftfreq(side_px), scipy.fft.fftfreq(side_px)
    damping = -2 * np.pi**2 * sigma_px[:, None, None] ** 2
    phase_x = np.exp(-2j * np.pi * x_px[:, :, None] * kx + damping * kx**2).astype(np.complex64)
    phase_y = np.exp(-2j * np.pi * y_px[:, :, None] * ky + damping * ky**2).astype(np.complex64)
    total = phase_y[:, 0, :, None] * phase_x[:, 0, None, :]
    for c in range(1, x_px.shape[1]):
        total += phase_y[:, c, :, None] * phase_x[:, c, None, :]
    return np.asarray(total / np.float32(x_px.shape[1]))


def inverse_stamps(
    transform: NDArray[np.complex64], psf: Float32Array, side_px: int
) -> Float32Array:
    """Stamps (n, b, side, side) of transforms (n, b or 1, side, m) through PSFs (b, side, m)."""
    stamps = scipy.fft.irfft2(transform * psf, s=(side_px, side_px))
    return np.asarray(stamps, dtype=np.float32)


def stamp_side_px(
    peak_flux_over_noise: FloatArray,
    fwhm_px: float,
    radius_px: FloatArray,
    steep: NDArray[np.bool_],
    limit: float,
) -> IntArray:
    """Side of the stamp beyond which a source is fainter than `limit` times the pixel noise.

    Parameters
    ----------
    peak_flux_over_noise
        Shape (n,), the largest over the bands of flux / noise per pixel.
    fwhm_px
        Of the widest PSF.
    radius_px
        Shape (n,), half-light radius, 0 for points.
    steep
        Shape (n,), True for a de Vaucouleurs wing, False for an exponential one.
    limit
        Surface brightness in units of the noise.
    """
    contrast = np.maximum(peak_flux_over_noise, 1e-3) / limit
    # Moffat wing (beta = 3.5): I = F (beta - 1) / (pi alpha^2) (R / alpha)^(-2 beta).
    alpha = 1.07 * fwhm_px
    reach = alpha * np.maximum(0.8 * contrast / alpha**2, 1.0) ** (1 / 7)
    r = np.maximum(radius_px, 0.05)
    log_exp = np.log(np.maximum(0.448 * contrast / r**2, 1.0))
    exp_reach = r / 1.678 * log_exp
    log_dev = np.log(np.maximum(contrast / (22.67 * r**2), 1.0))
    dev_reach = r * (1 + log_dev / 7.67) ** 4
    reach = np.maximum(reach, np.where(steep, dev_reach, exp_reach))
    sides = np.array(STAMP_SIDES_PX)
    return sides[np.minimum(np.searchsorted(sides, 2 * reach + 4), sides.size - 1)]


def chunks(group: NDArray[np.intp], side_px: NDArray[np.intp]) -> Iterator[tuple[int, IntArray]]:
    """Rows of equal stamp side and equal group number, a cache-sized chunk at a time.

    Yields
    ------
    side, rows
    """
    for side in np.unique(side_px):
        step = max(1, CHUNK_ELEMENTS // (int(side) * (int(side) // 2 + 1)))
        for number in np.unique(group[side_px == side]):
            rows = np.flatnonzero((side_px == side) & (group == number))
            for start in range(0, rows.size, step):
                yield int(side), rows[start : start + step]


def add_stamps(
    image: Float32Array, stamps: Float32Array, x0: NDArray[np.intp], y0: NDArray[np.intp]
) -> None:
    """Add stamps (n, b, s, s), whose first pixels are (x0, y0), to images (b, h, w), in place."""
    side = stamps.shape[-1]
    height, width = image.shape[-2:]
    for i in range(stamps.shape[0]):
        left, low = int(x0[i]), int(y0[i])
        a, b = max(left, 0), min(left + side, width)
        c, d = max(low, 0), min(low + side, height)
        if a < b and c < d:
            image[:, c:d, a:b] += stamps[i, :, c - low : d - low, a - left : b - left]


def render_optical(
    shape: tuple[int, int],
    x_px: FloatArray,
    y_px: FloatArray,
    fluxes: tuple[FloatArray, FloatArray, FloatArray],
    radii_px: tuple[FloatArray, FloatArray],
    axis_ratios: tuple[FloatArray, FloatArray],
    position_angle_rad: FloatArray,
    clumps_px: tuple[FloatArray, FloatArray, FloatArray],
    fwhm_px: FloatArray,
    noise: FloatArray,
) -> Float32Array:
    """Noiseless images of galaxies (bulge, disc, clumps) and points.

    Parameters
    ----------
    shape
        (height, width).
    x_px, y_px
        Shape (n,).
    fluxes
        Of bulge, disc and clumps, each (n, b). A point has a bulge of radius 0.
    radii_px, axis_ratios
        Of bulge and disc, each (n,).
    clumps_px
        Offsets x, y (n, c) and size (n,).
    fwhm_px
        Shape (b,), PSF.
    noise
        Shape (b,), noise per pixel: it sets the size of the stamps.

    Returns
    -------
    array of shape (b, height, width)
    """
    image = np.zeros((fwhm_px.size, *shape), dtype=np.float32)
    if x_px.size == 0:
        return image
    bulge, disc, clump = (f.astype(np.float32) for f in fluxes)
    total = bulge + disc + clump
    point = radii_px[0] <= 0
    # A bulge of less than 1 % of the light in every band is drawn as part of the disc.
    tiny = ((bulge < 0.01 * total).all(axis=1)) & ~point
    disc = np.where(tiny[:, None], disc + bulge, disc)
    steep = (bulge > 0.2 * total).any(axis=1) & ~point
    radius = np.where(steep, np.maximum(radii_px[0], radii_px[1]), radii_px[1])
    contrast = (total / noise).max(axis=1)
    side = stamp_side_px(
        contrast, float(fwhm_px.max()), np.where(point, 0.0, radius), steep, limit=0.15
    )
    group = np.where(point, 0, np.where(tiny, 1, 2))
    forms = [quadratic_form(radii_px[c], axis_ratios[c], position_angle_rad) for c in range(2)]
    base_x, base_y = np.round(x_px).astype(np.intp), np.round(y_px).astype(np.intp)
    psfs: dict[int, Float32Array] = {}
    for n, rows in chunks(group, side):
        if n not in psfs:
            psfs[n] = psf_transform(fwhm_px, n)
        half = n // 2
        shift = shift_transform(
            x_px[rows] - base_x[rows] + half, y_px[rows] - base_y[rows] + half, n
        )
        kind = int(group[rows[0]])
        if kind == 0:
            transform = shift[:, None] * bulge[rows][:, :, None, None]
        else:
            ones = np.ones(rows.size)
            smooth = profile_transform(forms[1][rows], ones, n)[:, None]
            smooth = smooth * disc[rows][:, :, None, None]
            if kind == 2:
                old = profile_transform(forms[0][rows], 4 * ones, n)[:, None]
                smooth += old * bulge[rows][:, :, None, None]
            clumpy = clump_transform(clumps_px[0][rows], clumps_px[1][rows], clumps_px[2][rows], n)
            transform = clumpy[:, None] * clump[rows][:, :, None, None]
            transform += smooth
            transform *= shift[:, None]
        stamps = inverse_stamps(transform, psfs[n], n)
        add_stamps(image, stamps, base_x[rows] - half, base_y[rows] - half)
    return image


def wise_stamps(
    x_px: FloatArray, y_px: FloatArray, sigma_px: FloatArray, half_px: int
) -> Float32Array:
    """Unit-flux stamps of sources in W1 and W2, on the unWISE PSF.

    Parameters
    ----------
    x_px, y_px
        Shape (n,), WISE pixels.
    sigma_px
        Shape (n,), Gaussian width of the source itself.
    half_px
        The stamps reach this far on each side of the pixel nearest to the source.

    Returns
    -------
    array of shape (n, 2, 2 * half + 1, 2 * half + 1)
    """
    tables = load_templates()
    offset = np.arange(-half_px, half_px + 1)
    dx = offset - (x_px - np.round(x_px))[:, None]
    dy = offset - (y_px - np.round(y_px))[:, None]
    variance = tables.wise_sigma_px[None, :] ** 2 + sigma_px[:, None] ** 2
    gauss_x, gauss_y = (
        (np.exp(-0.5 * d[:, None, :] ** 2 / variance[:, :, None])).astype(np.float32)
        for d in (dx, dy)
    )
    used = np.flatnonzero(tables.wise_weights.max(axis=0) > 0)
    amplitude = (tables.wise_weights / (2 * np.pi * variance[:, None, :])).astype(np.float32)
    stamps = np.zeros((x_px.size, 2, offset.size, offset.size), dtype=np.float32)
    for k in used:
        plane = gauss_y[:, k, :, None] * gauss_x[:, k, None, :]
        stamps += amplitude[:, :, k, None, None] * plane[:, None]
    return stamps
