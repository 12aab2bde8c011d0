"""The sky of one field: what is there, how bright, how far, and what it looks like.

Luminosities, sizes and colours are drawn at a redshift and only then observed, so that the class
cuts, the magnitude limits and the degeneracies follow from physics.

References
----------
Sizes: van der Wel et al. 2014, ApJ 788, 28 (size-mass relations of late and early types to z = 3).
Luminosity function: Blanton et al. 2003, ApJ 592, 819 (M* and slope in r, z = 0.1), brightening
with redshift. ELG cuts: Raichoor et al. 2023, AJ 165, 126. LRG and BGS limits: Zhou et al. 2023,
AJ 165, 58; Hahn et al. 2023, AJ 165, 253.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from partitions.mock.render import sersic_mixture
from partitions.mock.templates import (
    comoving_distance_mpc,
    galaxy_maggies,
    kpc_to_arcsec,
    qso_maggies,
    star_maggies,
)
from partitions.schema import BANDS, EXTINCTION_COEFFICIENT

FloatArray = NDArray[np.float64]

CLASSES = ("BGS", "LRG", "ELG", "DWARF", "FIELD", "QSO", "STAR")
CLASS_SHARE = (0.34, 0.11, 0.27, 0.04, 0.05, 0.05, 0.14)
"""Target-rich: DESI's classes are over-represented, so that a small mock trains every one."""

EXTINCTION = np.array([EXTINCTION_COEFFICIENT[band] for band in BANDS])

MAX_CLUMPS = 9

# Template mixtures (shares of rest-frame r light): dusty old, starburst with nebular light,
# intermediate, old, young.
EARLY_MIXTURE = np.array([0.06, 0.0, 0.04, 0.90, 0.0])
LATE_MIXTURE = np.array([0.0, 0.0, 0.72, 0.20, 0.08])
YOUNG_MIXTURE = np.array([0.0, 0.25, 0.10, 0.0, 0.65])
BURST_MIXTURE = np.array([0.0, 0.62, 0.0, 0.0, 0.38])

SPECTRAL_DIVERSITY_MAG = np.array([0.065, 0.05, 0.05, 0.05, 0.12, 0.15])
"""What five templates cannot express, per band (the template error function of Brammer, van Dokkum
& Coppi 2008, ApJ 686, 1503, widest in the ultraviolet and in the infrared). Without it bright
galaxies are far easier than real ones."""


@dataclass(frozen=True)
class Sources:
    """Everything true about n sources. Fluxes are observed (reddened), AB nanomaggies."""

    class_code: NDArray[np.int8]
    """Index into CLASSES."""
    z: FloatArray
    bulge_flux: FloatArray
    """Shape (n, 6). Of a star or a quasar: all of its flux."""
    disc_flux: FloatArray
    """Shape (n, 6)."""
    clump_flux: FloatArray
    """Shape (n, 6)."""
    bulge_radius_arcsec: FloatArray
    """Half-light radius along the major axis; 0 for a point source."""
    disc_radius_arcsec: FloatArray
    bulge_axis_ratio: FloatArray
    disc_axis_ratio: FloatArray
    position_angle_rad: FloatArray
    """North through east."""
    clump_x_arcsec: FloatArray
    """Shape (n, MAX_CLUMPS), offsets along +x (west)."""
    clump_y_arcsec: FloatArray
    clump_sigma_arcsec: FloatArray
    av_mag: FloatArray
    """Internal dust of the disc as seen."""
    ra_deg: FloatArray
    dec_deg: FloatArray
    ebv_mag: FloatArray

    @property
    def flux(self) -> FloatArray:
        """Total flux, shape (n, 6)."""
        return self.bulge_flux + self.disc_flux + self.clump_flux

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Sources:
        """The sources of an index or mask array."""
        return Sources(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Galaxies:
    """Intrinsic properties of n candidate galaxies and their dereddened fluxes in maggies."""

    z: FloatArray
    components: FloatArray
    """Shape (n, 3, 6): bulge, disc, clumps."""
    bulge_radius_kpc: FloatArray
    disc_radius_kpc: FloatArray
    bulge_axis_ratio: FloatArray
    disc_axis_ratio: FloatArray
    av_mag: FloatArray

    @property
    def magnitudes(self) -> FloatArray:
        """Dereddened AB magnitudes, shape (n, 6)."""
        return np.asarray(-2.5 * np.log10(self.components.sum(axis=1)))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Galaxies:
        """The galaxies of an index or mask array."""
        return Galaxies(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def draw_redshift(
    rng: np.random.Generator, count: int, low: float, high: float, scale: float = np.inf
) -> FloatArray:
    """Redshifts, shape (count,), of constant comoving density times exp(-z / scale)."""
    grid = np.linspace(low, high, 2000)
    distance = comoving_distance_mpc(grid)
    density = distance**2 * np.gradient(distance, grid) * np.exp(-grid / scale)
    cumulative = np.cumsum(density)
    return np.interp(rng.random(count), cumulative / cumulative[-1], grid)


def draw_absolute_magnitude(
    rng: np.random.Generator, count: int, characteristic: float, slope: float, faint: float
) -> FloatArray:
    """Schechter magnitudes, shape (count,), from characteristic - 3 to `faint`."""
    grid = np.linspace(characteristic - 3.0, faint, 2000)
    luminosity = 10 ** (-0.4 * (grid - characteristic))
    cumulative = np.cumsum(luminosity ** (slope + 1) * np.exp(-luminosity))
    return np.interp(rng.random(count), cumulative / cumulative[-1], grid)


def build_galaxies(
    rng: np.random.Generator,
    z: FloatArray,
    absolute_r: FloatArray,
    early: NDArray[np.bool_],
    activity: FloatArray,
    metal_poor: FloatArray,
) -> Galaxies:
    """Spectra, dust, structure and sizes of galaxies.

    Parameters
    ----------
    z, absolute_r
        Shape (n,); dust-free rest-frame r, AB.
    early
        Shape (n,): quiescent, bulge-dominated.
    activity
        Shape (n,), 0 to 1: specific star formation of the disc, from an old spiral to a burst.
    metal_poor
        Shape (n,), 0 to 1: line ratios.
    """
    n = z.size
    bulge_share = np.where(
        early,
        rng.beta(6, 2, n),
        rng.beta(1.2, 3, n) * (1 - 0.7 * activity) * np.clip((-17.5 - absolute_r) / 4, 0, 1),
    )
    # Star formation comes in bursts: how much of the light is in young clumps differs from disc to
    # disc. The blue light confuses the colours; the clumps can be seen.
    clump_share = np.where(early, 0.0, rng.beta(1.1, 3.6, n) * np.minimum(0.35 + activity, 1))
    clump_share *= 1 - bulge_share
    disc_share = 1 - bulge_share - clump_share

    # Early types are the redder the more luminous, with a little younger light in their discs;
    # the discs of late types run along one sequence of activity.
    luminous = np.clip((-19.0 - absolute_r) / 4.0, 0, 1)
    old_tilt = np.clip(0.10 * luminous + rng.normal(0, 0.03, n), 0, 0.25)[:, None]
    bulge_mix = (1 - old_tilt) * EARLY_MIXTURE + old_tilt * np.array([1.0, 0, 0, 0, 0])
    disc_activity = activity[:, None]
    lower, upper = np.clip(disc_activity * 2, 0, 1), np.clip(disc_activity * 2 - 1, 0, 1)
    disc_mix = (1 - lower) * LATE_MIXTURE + lower * (
        (1 - upper) * YOUNG_MIXTURE + upper * BURST_MIXTURE
    )
    frosting = 0.12 * rng.random((n, 1))
    disc_mix = np.where(
        early[:, None], (1 - frosting) * EARLY_MIXTURE + frosting * LATE_MIXTURE, disc_mix
    )
    jitter = rng.gamma(150.0, 1 / 150.0, (n, 5))
    bulge_mix, disc_mix = bulge_mix * jitter, disc_mix * jitter
    bulge_mix /= bulge_mix.sum(axis=1, keepdims=True)
    disc_mix /= disc_mix.sum(axis=1, keepdims=True)

    # Random orientation of a disc of finite thickness; the light of an edge-on disc crosses more
    # dust (about a magnitude more in r: Unterborn & Ryden 2008; the bias that this gives to
    # photometric redshifts: Yip et al. 2011), so the axis ratio in the image tells the reddening.
    cos_inclination = rng.random(n)
    disc_axis = np.sqrt(cos_inclination**2 * (1 - 0.2**2) + 0.2**2)
    bulge_axis = np.where(early, rng.uniform(0.55, 1.0, n), 0.7 + 0.3 * disc_axis)
    face_on_av = np.where(early, 0.02, (0.15 + 0.45 * luminous) * rng.lognormal(0, 0.12, n))
    disc_av = np.clip(face_on_av * (0.4 + 5.0 * (1 - disc_axis)), 0, 2.0)
    bulge_av = np.clip(0.4 * disc_av, 0, 1.0)

    oii_ew = np.where(early, 0.0, (4 + 45 * activity**1.5) * rng.lognormal(0, 0.35, n))
    none = np.zeros(n)
    scale = 10 ** (-0.4 * absolute_r)
    components = np.stack(
        [
            galaxy_maggies(z, bulge_mix, bulge_av, none, none) * (scale * bulge_share)[:, None],
            galaxy_maggies(z, disc_mix, disc_av, oii_ew, metal_poor)
            * (scale * disc_share)[:, None],
            galaxy_maggies(
                z, np.broadcast_to(BURST_MIXTURE, (n, 5)), disc_av, 2 * oii_ew, metal_poor
            )
            * (scale * clump_share)[:, None],
        ],
        axis=1,
    )
    components *= 10 ** (-0.4 * rng.normal(0, 1, (n, 1, 6)) * SPECTRAL_DIVERSITY_MAG)

    # Stellar mass from the r-band light; the mass-to-light ratio falls with activity and redshift.
    mass_to_light = np.where(early, 2.5, 1.6 * 10 ** (-0.9 * activity)) / (1 + z) ** 0.6
    log_mass = -0.4 * (absolute_r - 4.65) + np.log10(mass_to_light) - 10.7
    late_kpc = 8.9 * (1 + z) ** -0.75 * 10 ** (0.22 * log_mass + rng.normal(0, 0.13, n))
    early_slope = np.where(log_mass > -0.7, 0.75, 0.30)
    early_kpc = (
        5.6
        * (1 + z) ** -1.2
        * 10
        ** (
            0.75 * np.maximum(log_mass, -0.7)
            + early_slope * np.minimum(log_mass + 0.7, 0)
            + rng.normal(0, 0.11, n)
        )
    )
    disc_kpc = np.clip(np.where(early, 1.3 * early_kpc, late_kpc), 0.3, 40.0)
    bulge_kpc = np.clip(np.where(early, early_kpc, 0.22 * late_kpc), 0.1, 40.0)
    return Galaxies(z, components, bulge_kpc, disc_kpc, bulge_axis, disc_axis, disc_av)


def _propose_bgs(rng: np.random.Generator, n: int) -> tuple[Galaxies, NDArray[np.bool_]]:
    z = draw_redshift(rng, n, 0.015, 0.6)
    absolute_r = draw_absolute_magnitude(rng, n, -21.2, -1.05, -17.0) - 0.8 * z
    early = rng.random(n) < np.clip(0.35 - 0.16 * (absolute_r + 21.0), 0.05, 0.85)
    activity = np.clip(rng.beta(2, 4, n) + 0.06 * (absolute_r + 21.0), 0, 1)
    galaxies = build_galaxies(rng, z, absolute_r, early, activity, np.zeros(n))
    r = galaxies.magnitudes[:, 1]
    # Spectroscopic samples of bright galaxies nest: SDSS to 17.77, GAMA to 19.8, BGS to 20.175.
    observed = rng.random(n) < 10 ** (-0.3 * np.maximum(r - 17.5, 0))
    return galaxies, (r < 20.175) & (r > 16.0) & observed


def _propose_lrg(rng: np.random.Generator, n: int) -> tuple[Galaxies, NDArray[np.bool_]]:
    z = draw_redshift(rng, n, 0.3, 1.05, 0.6)
    absolute_r = rng.normal(-22.45, 0.45, n) - 0.9 * z
    early = np.ones(n, dtype=bool)
    galaxies = build_galaxies(rng, z, absolute_r, early, np.zeros(n), np.zeros(n))
    magnitude = galaxies.magnitudes
    return galaxies, (magnitude[:, 3] < 21.5) & (magnitude[:, 1] > 18.0)


def _propose_elg(rng: np.random.Generator, n: int) -> tuple[Galaxies, NDArray[np.bool_]]:
    z = draw_redshift(rng, n, 0.6, 1.65)
    absolute_r = draw_absolute_magnitude(rng, n, -21.5, -1.3, -18.5) - 0.6 * (z - 0.6)
    early = np.zeros(n, dtype=bool)
    activity = np.clip(rng.beta(3, 2.5, n) + 0.1 * (z - 1.0), 0, 1)
    galaxies = build_galaxies(rng, z, absolute_r, early, activity, 0.3 * rng.random(n))
    g, r, zmag = galaxies.magnitudes[:, [0, 1, 3]].T
    keep = (g > 20.5) & (g < 24.0) & (r - zmag > 0.1) & (g - r < 0.5 * (r - zmag) + 0.15)
    return galaxies, keep & (g - r < -1.2 * (r - zmag) + 1.65)


def _propose_dwarf(rng: np.random.Generator, n: int) -> tuple[Galaxies, NDArray[np.bool_]]:
    z = draw_redshift(rng, n, 0.02, 0.45)
    absolute_r = draw_absolute_magnitude(rng, n, -19.0, -1.4, -13.0)
    early = np.zeros(n, dtype=bool)
    activity = np.clip(rng.beta(4, 2, n), 0, 1)
    galaxies = build_galaxies(rng, z, absolute_r, early, activity, rng.uniform(0.5, 1, n))
    g = galaxies.magnitudes[:, 0]
    return galaxies, (g > 21.0) & (g < 24.2)


def _propose_field(rng: np.random.Generator, n: int) -> tuple[Galaxies, NDArray[np.bool_]]:
    z = draw_redshift(rng, n, 0.05, 1.9, 0.7)
    absolute_r = draw_absolute_magnitude(rng, n, -21.3, -1.25, -15.5) - 0.8 * z
    early = rng.random(n) < np.clip(0.25 - 0.1 * (absolute_r + 21), 0.03, 0.5) * np.exp(-z)
    activity = np.clip(rng.beta(2, 3, n) + 0.15 * z, 0, 1)
    galaxies = build_galaxies(rng, z, absolute_r, early, activity, 0.5 * rng.random(n))
    r = galaxies.magnitudes[:, 1]
    return galaxies, (r > 20.0) & (r < 24.8)


PROPOSERS = {
    "BGS": _propose_bgs,
    "LRG": _propose_lrg,
    "ELG": _propose_elg,
    "DWARF": _propose_dwarf,
    "FIELD": _propose_field,
}


def draw_galaxies(rng: np.random.Generator, class_name: str, count: int) -> Galaxies:
    """Accepted galaxies of one class, by rejection: exactly `count`."""
    parts: list[Galaxies] = []
    accepted = 0
    proposals = 4 * count + 50
    while accepted < count or not parts:
        candidates, keep = PROPOSERS[class_name](rng, proposals)
        parts.append(candidates.take(keep))
        accepted += int(keep.sum())
        rate = max(accepted / (proposals * len(parts)), 0.005)
        proposals = int(1.2 * max(count - accepted, 1) / rate) + 50
    joined = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])[:count]
        for f in fields(Galaxies)
    }
    return Galaxies(**joined)


def _place_clumps(
    rng: np.random.Generator, galaxies: Galaxies, position_angle: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Offsets (n, MAX_CLUMPS) and size (n,), arcsec, of star-forming clumps inside the disc."""
    n = galaxies.z.size
    radius_kpc = galaxies.disc_radius_kpc[:, None] * np.sqrt(rng.random((n, MAX_CLUMPS))) * 1.1
    angle = rng.uniform(0, 2 * np.pi, (n, MAX_CLUMPS))
    along = radius_kpc * np.cos(angle)
    across = radius_kpc * np.sin(angle) * galaxies.disc_axis_ratio[:, None]
    sin_pa, cos_pa = np.sin(position_angle)[:, None], np.cos(position_angle)[:, None]
    # The major axis points north through east; +x is west.
    x_kpc, y_kpc = -sin_pa * along + cos_pa * across, cos_pa * along + sin_pa * across
    z = galaxies.z
    size_arcsec = kpc_to_arcsec(np.full(n, 0.35), z)
    x_arcsec, y_arcsec = (kpc_to_arcsec(v, z[:, None]) for v in (x_kpc, y_kpc))
    return x_arcsec, y_arcsec, size_arcsec


def _galaxy_sources(rng: np.random.Generator, class_code: int, count: int) -> Sources:
    galaxies = draw_galaxies(rng, CLASSES[class_code], count)
    position_angle = rng.uniform(0, np.pi, count)
    clump_x, clump_y, clump_sigma = _place_clumps(rng, galaxies, position_angle)
    zero = np.zeros(count)
    flux = galaxies.components * 1e9
    return Sources(
        class_code=np.full(count, class_code, dtype=np.int8),
        z=galaxies.z,
        bulge_flux=flux[:, 0],
        disc_flux=flux[:, 1],
        clump_flux=flux[:, 2],
        bulge_radius_arcsec=kpc_to_arcsec(galaxies.bulge_radius_kpc, galaxies.z),
        disc_radius_arcsec=kpc_to_arcsec(galaxies.disc_radius_kpc, galaxies.z),
        bulge_axis_ratio=galaxies.bulge_axis_ratio,
        disc_axis_ratio=galaxies.disc_axis_ratio,
        position_angle_rad=position_angle,
        clump_x_arcsec=clump_x,
        clump_y_arcsec=clump_y,
        clump_sigma_arcsec=clump_sigma,
        av_mag=galaxies.av_mag,
        ra_deg=zero,
        dec_deg=zero,
        ebv_mag=zero,
    )


def _point_sources(class_code: int, z: FloatArray, flux: FloatArray) -> Sources:
    n = z.size
    zero, one = np.zeros(n), np.ones(n)
    clump = np.zeros((n, MAX_CLUMPS))
    return Sources(
        class_code=np.full(n, class_code, dtype=np.int8),
        z=z,
        bulge_flux=flux,
        disc_flux=np.zeros_like(flux),
        clump_flux=np.zeros_like(flux),
        bulge_radius_arcsec=zero,
        disc_radius_arcsec=zero,
        bulge_axis_ratio=one,
        disc_axis_ratio=one,
        position_angle_rad=zero,
        clump_x_arcsec=clump,
        clump_y_arcsec=clump,
        clump_sigma_arcsec=zero,
        av_mag=zero,
        ra_deg=zero,
        dec_deg=zero,
        ebv_mag=zero,
    )


def _quasar_sources(rng: np.random.Generator, count: int) -> Sources:
    z = np.clip(rng.gamma(5.0, 0.33, count) + 0.25, 0.31, 3.49)
    maggies = qso_maggies(z, np.clip(rng.normal(0, 0.2, count), -0.7, 0.5))
    # Counts rise by 0.35 dex per magnitude to r = 22.8.
    r = 22.8 + np.log10(rng.uniform(10 ** (0.35 * (17.0 - 22.8)), 1.0, count)) / 0.35
    flux = maggies / maggies[:, 1:2] * 10 ** (-0.4 * (r - 22.5))[:, None]
    return _point_sources(CLASSES.index("QSO"), z, flux)


def _star_sources(rng: np.random.Generator, count: int, bright: int) -> Sources:
    """Stars; the last `bright` of them are saturated."""
    r = 23.3 + np.log10(rng.uniform(10 ** (0.13 * (15.5 - 23.3)), 1.0, count)) / 0.13
    # Disc M dwarfs, growing in share towards faint magnitudes, and turn-off stars of the halo.
    dwarf = rng.random(count) < np.clip(0.45 + 0.05 * (r - 18), 0.2, 0.7)
    teff_k = np.where(dwarf, rng.normal(3350, 300, count), rng.normal(5500, 650, count))
    r = np.concatenate([r, rng.uniform(11.5, 14.0, bright)])
    teff_k = np.concatenate([teff_k, rng.normal(5200, 500, bright)])
    flux = star_maggies(np.clip(teff_k, 2650, 15000)) * 10 ** (-0.4 * (r - 22.5))[:, None]
    return _point_sources(CLASSES.index("STAR"), np.zeros(r.size), flux)


def galactic_ebv(rng: np.random.Generator, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
    """Smooth Galactic E(B-V), shape (n,) -> (n,), mag: 0.01 to 0.15 with a gentle gradient."""
    middle = np.clip(0.045 * rng.lognormal(0, 0.6), 0.012, 0.13)
    slope_ra, slope_dec = rng.normal(0, 0.15, 2)
    cos_dec = np.cos(np.radians(dec_deg.mean())) if dec_deg.size else 1.0
    x = (ra_deg - ra_deg.mean()) * cos_dec if ra_deg.size else ra_deg
    y = dec_deg - dec_deg.mean() if dec_deg.size else dec_deg
    return np.asarray(np.clip(middle * (1 + slope_ra * x / 0.1 + slope_dec * y / 0.1), 0.01, 0.15))


def draw_field(
    rng: np.random.Generator,
    box_deg: tuple[float, float, float, float],
    density_per_deg2: float,
    bright_stars: int,
) -> Sources:
    """All sources of a field.

    Parameters
    ----------
    box_deg
        RA and Dec limits (ra1, ra2, dec1, dec2) of the patch.
    density_per_deg2
        Of all classes together.
    bright_stars
        Number of saturated stars.
    """
    ra1, ra2, dec1, dec2 = box_deg
    sin1, sin2 = np.sin(np.radians([dec1, dec2]))
    area_deg2 = (ra2 - ra1) * np.degrees(sin2 - sin1)
    total = int(rng.poisson(density_per_deg2 * area_deg2))
    counts = rng.multinomial(total, CLASS_SHARE)
    parts = [_galaxy_sources(rng, code, int(counts[code])) for code in range(len(PROPOSERS))]
    parts.append(_quasar_sources(rng, int(counts[CLASSES.index("QSO")])))
    parts.append(_star_sources(rng, int(counts[CLASSES.index("STAR")]), bright_stars))
    joined = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Sources)}
    n = joined["z"].size
    joined["ra_deg"] = rng.uniform(ra1, ra2, n)
    joined["dec_deg"] = np.degrees(np.arcsin(rng.uniform(sin1, sin2, n)))
    joined["ebv_mag"] = galactic_ebv(rng, joined["ra_deg"], joined["dec_deg"])
    transmission = 10 ** (-0.4 * joined["ebv_mag"][:, None] * EXTINCTION)
    for name in ("bulge_flux", "disc_flux", "clump_flux"):
        joined[name] = joined[name] * transmission
    return Sources(**joined)


def half_light_radius(
    inner_radius: FloatArray, outer_radius: FloatArray, inner_share: FloatArray
) -> FloatArray:
    """Half-light radius of a de Vaucouleurs plus an exponential profile, by bisection.

    Parameters
    ----------
    inner_radius, outer_radius
        Half-light radii of the two, shape (n,), any unit.
    inner_share
        Share of the light in the first, shape (n,).
    """
    tables = [sersic_mixture(np.array([n])) for n in (4.0, 1.0)]
    low, high = np.zeros_like(inner_radius), 2 * np.maximum(inner_radius, outer_radius) + 1e-9
    for _ in range(25):
        middle = 0.5 * (low + high)
        enclosed = np.zeros_like(middle)
        for (weights, sigma), r, share in zip(
            tables, (inner_radius, outer_radius), (inner_share, 1 - inner_share), strict=True
        ):
            x = middle / np.maximum(r, 1e-6)
            part = 1 - np.exp(-0.5 * (x[:, None] / sigma) ** 2)
            enclosed += share * (part * weights).sum(axis=1)
        low, high = np.where(enclosed < 0.5, middle, low), np.where(enclosed < 0.5, high, middle)
    return 0.5 * (low + high)


def true_shape(sources: Sources) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Half-light radius (arcsec), axis ratio, bulge share in r of the whole source: (n,) each."""
    total = np.maximum(sources.flux[:, 1], 1e-12)
    share = np.clip(sources.bulge_flux[:, 1] / total, 0, 1)
    radius = half_light_radius(sources.bulge_radius_arcsec, sources.disc_radius_arcsec, share)
    axis_ratio = share * sources.bulge_axis_ratio + (1 - share) * sources.disc_axis_ratio
    point = sources.bulge_radius_arcsec <= 0
    return np.where(point, 0, radius), np.where(point, 1, axis_ratio), np.where(point, 0, share)
