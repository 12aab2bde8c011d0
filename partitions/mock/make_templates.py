"""Compute `data/templates.npz`: maggies through real filter curves, light profiles, PSF models.

Run once, offline: ``python -m partitions.mock.make_templates W1_PSF.fits W2_PSF.fits``. It needs
kcorrect and speclite, which nothing else in the project does; the mock itself reads only the npz.

References
----------
Galaxy spectra: the five NMF templates of kcorrect v4 (Blanton & Roweis 2007, AJ 133, 734).
Dust: Calzetti et al. 2000, ApJ 533, 682. Quasars: Vanden Berk et al. 2001, AJ 122, 549 (slopes and
equivalent widths); Madau 1995, ApJ 441, 18 (intergalactic absorption).
Light profiles as mixtures of Gaussians: Hogg & Lang 2013, PASP 125, 719.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SPEED_OF_LIGHT_ANGSTROM_S = 2.99792458e18
AB_ZERO_FNU = 3.631e-20
"""erg / s / cm^2 / Hz of an AB magnitude of 0."""

FILTER_NAMES = (
    "decam2014-g",
    "decam2014-r",
    "decam2014-i",
    "decam2014-z",
    "wise2010-W1",
    "wise2010-W2",
)

GALAXY_Z = np.linspace(0.0, 2.0, 201)
GALAXY_AV = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
QSO_Z = np.linspace(0.3, 3.5, 321)
QSO_SLOPE_OFFSETS = np.array([-0.7, 0.0, 0.5])
STAR_TEFF_K = np.array(
    [
        2600,
        2800,
        3000,
        3200,
        3400,
        3600,
        3800,
        4000,
        4300,
        4600,
        5000,
        5400,
        5800,
        6200,
        6700,
        7300,
        8000,
        9000,
        10000,
        12000,
        15000,
        20000,
    ],
    dtype=float,
)

# Line fluxes relative to [O II]: a metal-rich star-forming galaxy and a metal-poor dwarf.
# Balmer lines keep the case-B ratio H-alpha / H-beta = 2.86.
LINE_ANGSTROM = np.array([3728.0, 4341.7, 4862.7, 4960.3, 5008.2, 6564.6, 6585.0])
LINE_RATIOS = np.array(
    [
        [1.00, 0.19, 0.40, 0.13, 0.40, 1.15, 0.30],
        [1.00, 0.33, 0.70, 0.70, 2.10, 2.00, 0.06],
    ]
)

# Rest wavelength, equivalent width (Angstrom) and velocity width of a quasar's emission lines.
QSO_LINES = np.array(
    [
        [1033.8, 9.8, 4000.0],
        [1216.0, 92.9, 4500.0],
        [1398.0, 8.1, 5000.0],
        [1546.2, 23.8, 4500.0],
        [1905.9, 21.2, 6000.0],
        [2800.3, 32.3, 4000.0],
        [3000.0, 60.0, 40000.0],
        [4346.4, 12.6, 4500.0],
        [4853.1, 46.2, 4500.0],
        [5008.2, 13.2, 900.0],
        [6564.9, 194.5, 4500.0],
    ]
)

SERSIC_GRID = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0])
PROFILE_SIGMA: FloatArray = np.asarray(0.015 * 2.0 ** np.arange(9), dtype=np.float64)
"""Widths of the Gaussians of a light profile, in half-light radii."""
PSF_SIGMA = np.array([0.26, 0.38, 0.60, 1.1, 2.2])
"""Widths of the Gaussians of a Moffat PSF, in units of its FWHM."""
MOFFAT_BETA = 3.5
WISE_SIGMA_PX = np.array([0.6, 0.75, 0.9, 1.1, 1.4, 2.0, 3.2, 5.0, 8.0])


def synthetic_maggies(
    wavelength_angstrom: FloatArray,
    flambda: FloatArray,
    curves: list[tuple[FloatArray, FloatArray]],
) -> FloatArray:
    """Photon-weighted AB maggies of spectra through filter curves.

    Parameters
    ----------
    wavelength_angstrom
        Shape (l,), increasing.
    flambda
        Shape (l,), erg / s / cm^2 / Angstrom.
    curves
        Wavelength (Angstrom) and dimensionless response of each band.

    Returns
    -------
    array of shape (b,)
    """
    maggies = np.zeros(len(curves))
    for b, (curve_wavelength, response) in enumerate(curves):
        # Both samplings are kept, so that neither a line nor a filter edge is stepped over.
        inside = (wavelength_angstrom > curve_wavelength[0]) & (
            wavelength_angstrom < curve_wavelength[-1]
        )
        grid = np.union1d(curve_wavelength, wavelength_angstrom[inside])
        weight = np.interp(grid, curve_wavelength, response) * grid
        flux = np.interp(grid, wavelength_angstrom, flambda, left=0.0, right=0.0)
        reference = AB_ZERO_FNU * SPEED_OF_LIGHT_ANGSTROM_S / grid**2
        maggies[b] = np.trapezoid(flux * weight, grid) / np.trapezoid(reference * weight, grid)
    return maggies


def calzetti_curve(wavelength_angstrom: FloatArray) -> FloatArray:
    """A(lambda) / A_V of Calzetti et al. 2000 (R_V = 4.05); 1 / lambda beyond 2.2 um."""
    micron = np.clip(wavelength_angstrom / 1e4, 0.09, 2.2)
    blue = 2.659 * (-2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / micron) + 4.05
    curve = np.where(micron < 0.63, blue, red) / 4.05
    return np.clip(curve, 0.0, None) * np.where(
        wavelength_angstrom > 22000, 22000 / wavelength_angstrom, 1
    )


def planck_flambda(wavelength_angstrom: FloatArray, temperature_k: float) -> FloatArray:
    """Planck's law per wavelength, arbitrary scale."""
    x = np.clip(1.4387769e8 / (wavelength_angstrom * temperature_k), 1e-6, 600.0)
    return wavelength_angstrom**-5.0 / np.expm1(x)


def galaxy_tables(curves: list[tuple[FloatArray, FloatArray]]) -> dict[str, FloatArray]:
    """Maggies of the galaxy and line templates on the grid of dust and redshift.

    Every template is normalised to a dust-free absolute magnitude of 0 in rest-frame DECam r. An
    entry is the flux at 10 pc but redshifted: (1+z) L_nu(nu (1+z)); the caller multiplies it by
    (10 pc / luminosity distance)^2.
    """
    import kcorrect
    from astropy.io import fits

    path = Path(kcorrect.__file__).parent / "data" / "templates" / "kcorrect-default-v4.fits"
    table = fits.getdata(path, 1)
    wavelength = np.asarray(table["wave"][0], dtype=float)
    spectra = np.asarray(table["flux"][0], dtype=float)
    # Beyond the last sampled wavelength the stellar continuum falls as the Rayleigh-Jeans tail.
    if wavelength[-1] < 60000:
        tail = np.linspace(wavelength[-1] * 1.01, 60000, 50)
        spectra = np.concatenate([spectra, spectra[:, -1:] * (tail / wavelength[-1]) ** -4], axis=1)
        wavelength = np.concatenate([wavelength, tail])
    continuum_3727 = np.zeros(len(spectra))
    sides = ((wavelength > 3620) & (wavelength < 3690)) | (
        (wavelength > 3760) & (wavelength < 3820)
    )
    for k in range(len(spectra)):
        spectra[k] /= synthetic_maggies(wavelength, spectra[k], curves)[1]
        fnu = spectra[k] * wavelength**2 / SPEED_OF_LIGHT_ANGSTROM_S
        continuum_3727[k] = np.median(fnu[sides]) / AB_ZERO_FNU
    attenuation = calzetti_curve(wavelength)
    line_attenuation = calzetti_curve(LINE_ANGSTROM)
    # The unit of a line template: an [O II] equivalent width of 1 Angstrom on f_nu = 3631 Jy.
    unit_flux = AB_ZERO_FNU * SPEED_OF_LIGHT_ANGSTROM_S / LINE_ANGSTROM[0] ** 2
    galaxy = np.zeros((len(spectra), len(GALAXY_AV), len(GALAXY_Z), len(curves)))
    lines = np.zeros((len(LINE_RATIOS), len(GALAXY_AV), len(GALAXY_Z), len(curves)))
    for a, av in enumerate(GALAXY_AV):
        for j, z in enumerate(GALAXY_Z):
            for k in range(len(spectra)):
                flux = spectra[k] * 10 ** (-0.4 * av * attenuation) / (1 + z)
                galaxy[k, a, j] = synthetic_maggies(wavelength * (1 + z), flux, curves)
            observed = LINE_ANGSTROM * (1 + z)
            for b, (curve_wavelength, response) in enumerate(curves):
                reference = AB_ZERO_FNU * SPEED_OF_LIGHT_ANGSTROM_S / curve_wavelength**2
                weight = np.trapezoid(reference * response * curve_wavelength, curve_wavelength)
                transmitted = (
                    np.interp(observed, curve_wavelength, response, left=0, right=0) * observed
                )
                dimmed = LINE_RATIOS * unit_flux * 10 ** (-0.4 * av * line_attenuation)
                lines[:, a, j, b] = dimmed @ transmitted / weight
    return {
        "galaxy_z": GALAXY_Z,
        "galaxy_av": GALAXY_AV,
        "galaxy_maggies": galaxy,
        "line_maggies": lines,
        "galaxy_continuum_3727": continuum_3727,
    }


def madau_transmission(observed_angstrom: FloatArray, z: float) -> FloatArray:
    """Mean transmission of the intergalactic medium (Madau 1995): Lyman series and continuum."""
    tau = np.zeros_like(observed_angstrom)
    series = [(1215.67, 3.6e-3), (1025.72, 1.7e-3), (972.54, 1.2e-3), (949.74, 9.3e-4)]
    for rest, coefficient in series:
        tau += np.where(
            observed_angstrom < rest * (1 + z), coefficient * (observed_angstrom / rest) ** 3.46, 0
        )
    x_emitted, x_c = 1 + z, observed_angstrom / 911.75
    continuum = (
        0.25 * x_c**3 * (x_emitted**0.46 - x_c**0.46)
        + 9.4 * x_c**1.5 * (x_emitted**0.18 - x_c**0.18)
        - 0.7 * x_c**3 * (x_c**-1.32 - x_emitted**-1.32)
        - 0.023 * (x_emitted**1.68 - x_c**1.68)
    )
    tau += np.where(observed_angstrom < 911.75 * (1 + z), np.clip(continuum, 0, None), 0)
    return np.exp(-tau)


def quasar_tables(curves: list[tuple[FloatArray, FloatArray]]) -> dict[str, FloatArray]:
    """Maggies of a quasar of absolute magnitude 0 at rest 2500 Angstrom, by slope and redshift."""
    wavelength = np.geomspace(500.0, 60000.0, 12000)
    table = np.zeros((len(QSO_SLOPE_OFFSETS), len(QSO_Z), len(curves)))
    for s, offset in enumerate(QSO_SLOPE_OFFSETS):
        # f_nu ~ nu^alpha: -0.44 bluewards of 4600 Angstrom, steeper redwards (host and dust).
        alpha = -0.44 + offset
        fnu = (2500.0 / wavelength) ** alpha
        red_alpha = -1.3 + 0.4 * offset
        fnu_break = (2500.0 / 4600.0) ** alpha
        fnu = np.where(wavelength > 4600, fnu_break * (4600.0 / wavelength) ** red_alpha, fnu)
        lines = np.zeros_like(fnu)
        for rest, width, fwhm_km_s in QSO_LINES:
            sigma = rest * fwhm_km_s / 2.99792e5 / 2.3548
            lines += (
                width
                * np.exp(-0.5 * ((wavelength - rest) / sigma) ** 2)
                / (sigma * np.sqrt(2 * np.pi))
            )
        dust = planck_flambda(wavelength, 1250.0) * wavelength**2
        scale = 3.0 * np.interp(22000.0, wavelength, fnu) / np.interp(22000.0, wavelength, dust)
        total_fnu = AB_ZERO_FNU * (fnu * (1 + lines) + scale * dust)
        flambda = total_fnu * SPEED_OF_LIGHT_ANGSTROM_S / wavelength**2
        for j, z in enumerate(QSO_Z):
            observed = wavelength * (1 + z)
            absorbed = flambda * madau_transmission(observed, z) / (1 + z)
            table[s, j] = synthetic_maggies(observed, absorbed, curves)
    return {"qso_z": QSO_Z, "qso_slope_offset": QSO_SLOPE_OFFSETS, "qso_maggies": table}


def read_basel(path: Path) -> tuple[FloatArray, FloatArray]:
    """The one spectrum of a BaSeL file: wavelength in Angstrom and f_lambda (arbitrary scale)."""
    words = path.read_text().split()
    wavelength_nm = np.array(words[:1221], dtype=float)
    hnu = np.array(words[-1221:], dtype=float)
    return wavelength_nm * 10, hnu / wavelength_nm**2


def star_tables(curves: list[tuple[FloatArray, FloatArray]]) -> dict[str, FloatArray]:
    """Maggies of stars with r = 0 by effective temperature.

    A Planck spectrum times the line blanketing (spectrum over Planck) of the BaSeL Sun, or of
    Vega above 8,000 K: only these two spectra come with kcorrect.
    """
    import kcorrect

    folder = Path(kcorrect.__file__).parent / "data" / "basel"
    wavelength, sun = read_basel(folder / "lcbsun.ori")
    vega = np.interp(wavelength, *read_basel(folder / "lcbvega.ori"))
    blanketing = np.stack(
        [sun / planck_flambda(wavelength, 5777.0), vega / planck_flambda(wavelength, 9400.0)]
    )
    inside = (wavelength > 3000) & (wavelength < 60000)
    wavelength, blanketing = wavelength[inside], blanketing[:, inside]
    blanketing /= np.median(blanketing, axis=1, keepdims=True)
    table = np.zeros((len(STAR_TEFF_K), len(curves)))
    for t, temperature in enumerate(STAR_TEFF_K):
        hot = np.clip((temperature - 6500) / 2000, 0, 1)
        spectrum = planck_flambda(wavelength, temperature) * (
            (1 - hot) * blanketing[0] + hot * blanketing[1]
        )
        maggies = synthetic_maggies(wavelength, spectrum, curves)
        table[t] = maggies / maggies[1]
    return {"star_teff_k": STAR_TEFF_K, "star_maggies": table}


def gaussian_mixture(
    radius: FloatArray, intensity: FloatArray, sigma: FloatArray, floor: float
) -> FloatArray:
    """Weights (summing to 1) of circular Gaussians that fit a radial profile, by NNLS.

    The residual is weighted by sqrt(r) / (I + floor): relative accuracy over the bright part, and
    area-weighted, so that total flux is right.
    """
    from scipy.optimize import nnls

    design = np.exp(-0.5 * (radius[:, None] / sigma) ** 2) / (2 * np.pi * sigma**2)
    weight = np.sqrt(radius) / (intensity + floor)
    amplitude, _ = nnls(design * weight[:, None], intensity * weight)
    return np.asarray(amplitude / amplitude.sum())


def mixture_half_light(weights: FloatArray, sigma: FloatArray) -> float:
    """Radius that holds half of the light of a mixture of circular Gaussians."""
    radius = np.geomspace(1e-3, 50, 4000)
    enclosed = ((1 - np.exp(-0.5 * (radius[:, None] / sigma) ** 2)) * weights).sum(axis=1)
    return float(np.interp(0.5, enclosed, radius))


def profile_tables() -> dict[str, FloatArray]:
    """Sersic profiles and the Moffat PSF as mixtures of Gaussians."""
    radius = np.geomspace(0.01, 8.0, 600)
    weights, scale = np.zeros((len(SERSIC_GRID), len(PROFILE_SIGMA))), np.zeros(len(SERSIC_GRID))
    for i, n in enumerate(SERSIC_GRID):
        b_n = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)
        intensity = np.exp(-b_n * (radius ** (1 / n) - 1))
        weights[i] = gaussian_mixture(radius, intensity, PROFILE_SIGMA, 0.02)
        # The mixture is stretched so that its own half-light radius is exactly 1.
        scale[i] = 1 / mixture_half_light(weights[i], PROFILE_SIGMA)
    alpha = 0.5 / np.sqrt(2 ** (1 / MOFFAT_BETA) - 1)
    moffat_radius = np.linspace(0.005, 6.0, 1200)
    moffat = (1 + (moffat_radius / alpha) ** 2) ** -MOFFAT_BETA
    return {
        "sersic_grid": SERSIC_GRID,
        "profile_sigma": PROFILE_SIGMA,
        "profile_weights": weights,
        "profile_scale": scale,
        "psf_sigma_fwhm": PSF_SIGMA,
        "psf_weights": gaussian_mixture(moffat_radius, moffat, PSF_SIGMA, 0.003),
    }


def wise_psf_weights(psf: FloatArray) -> FloatArray:
    """Weights of circular Gaussians (widths WISE_SIGMA_PX) fitted to a unWISE PSF image."""
    from scipy.optimize import nnls

    half = 16
    cy, cx = np.array(psf.shape) // 2
    cut = psf[cy - half : cy + half + 1, cx - half : cx + half + 1]
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r2 = (x**2 + y**2).ravel()
    design = np.exp(-0.5 * r2[:, None] / WISE_SIGMA_PX**2) / (2 * np.pi * WISE_SIGMA_PX**2)
    amplitude, _ = nnls(design, cut.ravel())
    return np.asarray(amplitude / amplitude.sum())


def main() -> None:
    """Write data/templates.npz beside this file."""
    import speclite.filters
    from astropy.io import fits

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("w1_psf", type=Path)
    parser.add_argument("w2_psf", type=Path)
    arguments = parser.parse_args()
    loaded = speclite.filters.load_filters(*FILTER_NAMES)
    curves = [(np.asarray(f.wavelength, float), np.asarray(f.response, float)) for f in loaded]
    tables = {
        **galaxy_tables(curves),
        **quasar_tables(curves),
        **star_tables(curves),
        **profile_tables(),
    }
    tables["wise_sigma_px"] = WISE_SIGMA_PX
    tables["wise_weights"] = np.stack(
        [
            wise_psf_weights(fits.getdata(p).astype(float))
            for p in (arguments.w1_psf, arguments.w2_psf)
        ]
    )
    path = Path(__file__).parent / "data" / "templates.npz"
    stored: dict[str, Any] = {name: np.asarray(v, np.float32) for name, v in tables.items()}
    np.savez_compressed(path, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
