"""Fluxes of galaxies, quasars and stars from the stored tables, and the distances they need.

The tables were computed by `make_templates` from real spectra and filter curves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

HUBBLE_KM_S_MPC = 70.0
OMEGA_MATTER = 0.3

ARCSEC_PER_RADIAN = 206264.806


@dataclass(frozen=True)
class Templates:
    """The stored tables. Bands are g, r, i, z, W1, W2; all fluxes are AB maggies."""

    galaxy_z: FloatArray
    """Shape (201,)."""
    galaxy_av: FloatArray
    """Shape (5,), mag, Calzetti dust."""
    galaxy_maggies: FloatArray
    """Shape (5 templates, 5 A_V, 201 z, 6 bands), M_r = 0 at 10 pc."""
    line_maggies: FloatArray
    """Shape (2 kinds, 5 A_V, 201 z, 6 bands), per Angstrom of [O II] on f_nu = 3631 Jy."""
    galaxy_continuum_3727: FloatArray
    """Shape (5,), f_nu at 3727 Angstrom over that of AB 0."""
    qso_z: FloatArray
    qso_slope_offset: FloatArray
    qso_maggies: FloatArray
    """Shape (3 slopes, 321 z, 6 bands), M_2500 = 0 at 10 pc."""
    star_teff_k: FloatArray
    star_maggies: FloatArray
    """Shape (22, 6), r = 0."""
    sersic_grid: FloatArray
    profile_sigma: FloatArray
    """Shape (9,), in half-light radii."""
    profile_weights: FloatArray
    """Shape (8 Sersic indices, 9)."""
    profile_scale: FloatArray
    """Shape (8,): stretch that makes the half-light radius exactly 1."""
    psf_sigma_fwhm: FloatArray
    """Shape (5,), in units of the FWHM of the Moffat PSF."""
    psf_weights: FloatArray
    wise_sigma_px: FloatArray
    """Shape (9,), WISE pixels of 2.75 arcsec."""
    wise_weights: FloatArray
    """Shape (2, 9)."""


@cache
def load_templates() -> Templates:
    """Read the packaged tables, once per process."""
    source = resources.files("partitions.mock").joinpath("data/templates.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as tables:
        return Templates(**{name: np.asarray(tables[name], dtype=float) for name in tables.files})


@cache
def _distance_table() -> tuple[FloatArray, FloatArray]:
    """Redshifts and comoving distances in Mpc, flat Lambda-CDM."""
    z = np.linspace(0.0, 4.0, 4001)
    inverse_e = 1.0 / np.sqrt(OMEGA_MATTER * (1 + z) ** 3 + 1 - OMEGA_MATTER)
    steps = 0.5 * (inverse_e[1:] + inverse_e[:-1]) * np.diff(z)
    return z, np.concatenate([[0.0], np.cumsum(steps)]) * 2.99792458e5 / HUBBLE_KM_S_MPC


def comoving_distance_mpc(z: FloatArray) -> FloatArray:
    """Comoving distance, shape (n,) -> (n,), Mpc."""
    return np.interp(z, *_distance_table())


def dimming(z: FloatArray) -> FloatArray:
    """(10 pc / luminosity distance)^2, shape (n,) -> (n,)."""
    luminosity_distance_mpc = comoving_distance_mpc(z) * (1 + np.asarray(z))
    return (1e-5 / np.maximum(luminosity_distance_mpc, 1e-3)) ** 2


def kpc_to_arcsec(size_kpc: FloatArray, z: FloatArray) -> FloatArray:
    """Angle of a length at redshift z, shape (n,) -> (n,)."""
    angular_distance_kpc = comoving_distance_mpc(z) * 1e3 / (1 + np.asarray(z))
    return size_kpc / np.maximum(angular_distance_kpc, 1.0) * ARCSEC_PER_RADIAN


def _cell(grid: FloatArray, value: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Index of the grid cell that holds each value, and the fraction within it."""
    index = np.clip(np.searchsorted(grid, value, side="right") - 1, 0, grid.size - 2)
    fraction = (value - grid[index]) / (grid[index + 1] - grid[index])
    return index, np.clip(fraction, 0.0, 1.0)


def _dust_and_redshift(table: FloatArray, av_mag: FloatArray, z: FloatArray) -> FloatArray:
    """Bilinear interpolation: (k, A_V, z, b) at (n,) points -> (n, k, b)."""
    templates = load_templates()
    i, u = _cell(templates.galaxy_av, av_mag)
    j, v = _cell(templates.galaxy_z, z)
    u, v = u[None, :, None], v[None, :, None]
    low = table[:, i, j] * (1 - v) + table[:, i, j + 1] * v
    high = table[:, i + 1, j] * (1 - v) + table[:, i + 1, j + 1] * v
    return np.moveaxis(low * (1 - u) + high * u, 0, 1)


def galaxy_maggies(
    z: FloatArray,
    mixture: FloatArray,
    av_mag: FloatArray,
    oii_ew: FloatArray,
    metal_poor: FloatArray,
) -> FloatArray:
    """AB maggies of galaxies with dust-free M_r = 0.

    Parameters
    ----------
    z
        Shape (n,).
    mixture
        Shape (n, 5): share of each template in the dust-free rest-frame r flux.
    av_mag
        Shape (n,), internal dust.
    oii_ew
        Shape (n,), rest-frame equivalent width of the additional [O II] emission, Angstrom.
    metal_poor
        Shape (n,): 0 for the line ratios of a metal-rich galaxy, 1 for those of a dwarf.

    Returns
    -------
    array of shape (n, 6)
    """
    templates = load_templates()
    light = np.einsum(
        "nk,nkb->nb", mixture, _dust_and_redshift(templates.galaxy_maggies, av_mag, z)
    )
    lines = _dust_and_redshift(templates.line_maggies, av_mag, z)
    kind = metal_poor[:, None]
    per_angstrom = lines[:, 0] * (1 - kind) + lines[:, 1] * kind
    strength = oii_ew * np.einsum("nk,k->n", mixture, templates.galaxy_continuum_3727)
    total = light + per_angstrom * strength[:, None]
    return np.asarray(total * dimming(z)[:, None])


def qso_maggies(z: FloatArray, slope_offset: FloatArray) -> FloatArray:
    """AB maggies, shape (n, 6), of quasars with M_2500 = 0."""
    templates = load_templates()
    i, u = _cell(templates.qso_slope_offset, slope_offset)
    j, v = _cell(templates.qso_z, z)
    u, v = u[:, None], v[:, None]
    table = templates.qso_maggies
    low = table[i, j] * (1 - v) + table[i, j + 1] * v
    high = table[i + 1, j] * (1 - v) + table[i + 1, j + 1] * v
    return np.asarray((low * (1 - u) + high * u) * dimming(z)[:, None])


def star_maggies(teff_k: FloatArray) -> FloatArray:
    """AB maggies, shape (n, 6), of stars with r = 0."""
    templates = load_templates()
    i, u = _cell(templates.star_teff_k, teff_k)
    table = np.log(templates.star_maggies)
    return np.exp(table[i] * (1 - u[:, None]) + table[i + 1] * u[:, None])
