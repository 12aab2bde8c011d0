"""The 86 features against an independent calculation on real DR10 rows."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from partitions.photometry import (
    FEATURE_BANDS,
    FEATURE_NAMES,
    SOFTENING_NANOMAGGY,
    flux_to_asinh_magnitude,
    photometric_features,
)
from partitions.schema import BANDS

NUM_APERTURES = {"g": 8, "r": 8, "i": 8, "z": 8, "W1": 5, "W2": 5}


def luptitude(flux: float, band: str) -> float:
    """Lupton, Gunn & Szalay 1999, eq. 3, in SDSS's form with f0 = 1 (maggies)."""
    softening = SOFTENING_NANOMAGGY[band] * 1e-9
    maggies = flux * 1e-9
    return -2.5 / np.log(10) * (np.arcsinh(maggies / (2 * softening)) + np.log(softening))


def magnitude_by_name(row: Table.Row, term: str) -> float:
    """A term of a feature name, spelled out: `R`, `R6`, `W2`, `W21` (band W2, aperture 1)."""
    if term[0] == "W":
        band, aperture = term[:2], term[2:]
    else:
        band, aperture = term[0].lower(), term[1:]
    low = band.lower()
    transmission = row[f"mw_transmission_{low}"]
    if aperture:
        return luptitude(row[f"apflux_{low}_{aperture}"] / transmission, band)
    return luptitude(row[f"dered_flux_{low}"], band)


@pytest.fixture(scope="module")
def real_rows(real_data: Path) -> Table:
    return Table.read(real_data / "dr10-catalogue-rows" / "demo_catalog.fits")


def features_of(rows: Table) -> np.ndarray:
    def by_band(stem: str) -> np.ndarray:
        return np.stack([np.asarray(rows[f"{stem}_{band.lower()}"]) for band in BANDS], axis=1)

    apertures = {
        band: np.stack(
            [np.asarray(rows[f"apflux_{band.lower()}_{k}"]) for k in range(1, count + 1)], axis=1
        )
        for band, count in NUM_APERTURES.items()
    }
    transmission = by_band("mw_transmission")
    # The rows carry no E(B-V): it follows from the transmission in g (coefficient 3.214).
    ebv = -2.5 * np.log10(transmission[:, 0]) / 3.214
    flux = by_band("dered_flux") * transmission
    return photometric_features(flux, by_band("flux_ivar"), apertures, transmission, ebv)


def test_features_of_real_rows_equal_an_independent_calculation(real_rows: Table) -> None:
    features = features_of(real_rows)
    assert features.shape == (50, 86)
    for row, found in zip(real_rows, features, strict=True):
        for name, value in zip(FEATURE_NAMES, found, strict=True):
            if name == "ebv":
                expected = -2.5 * np.log10(row["mw_transmission_g"]) / 3.214
            elif name.startswith("MAG_"):
                expected = magnitude_by_name(row, name[4:])
            else:
                first, second = name.split("-")
                expected = magnitude_by_name(row, first) - magnitude_by_name(row, second)
            assert value == pytest.approx(expected, abs=2e-5), name


def test_bright_real_rows_have_ordinary_magnitudes(real_rows: Table) -> None:
    """At S/N of hundreds an asinh magnitude is a logarithmic one."""
    bright = np.asarray(real_rows["dered_flux_r"]) > 10
    assert bright.sum() >= 5
    expected = 22.5 - 2.5 * np.log10(np.asarray(real_rows["dered_flux_r"])[bright])
    found = features_of(real_rows)[bright, FEATURE_NAMES.index("MAG_R")]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_names_are_those_of_the_source() -> None:
    assert len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) == 86
    assert FEATURE_NAMES[:3] == ("R-W2", "I-W1", "R-W1")
    assert FEATURE_NAMES[-2:] == ("I4-I5", "ebv")
    assert sum(name.startswith("MAG_") for name in FEATURE_NAMES) == 6
    assert FEATURE_BANDS[FEATURE_NAMES.index("W12-W22")] == {"W1", "W2"}
    assert FEATURE_BANDS[FEATURE_NAMES.index("R-R1")] == {"r"}


@given(
    st.lists(st.floats(-5, 1e4, width=32), min_size=6, max_size=6),
    st.sampled_from(BANDS),
    st.floats(0, 0.5),
)
def test_a_missing_band_is_nan_in_exactly_its_features(
    fluxes: list[float], missing: str, ebv: float
) -> None:
    flux = np.array([fluxes])
    ivar = np.array([[0.0 if band == missing else 1.0 for band in BANDS]])
    apertures = {band: np.full((1, count), 3.0) for band, count in NUM_APERTURES.items()}
    features = photometric_features(flux, ivar, apertures, np.ones((1, 6)), np.array([ebv]))
    for value, bands in zip(features[0], FEATURE_BANDS, strict=True):
        assert np.isnan(value) == (missing in bands)


@given(st.floats(-1e3, 1e6), st.floats(1e-3, 10))
def test_asinh_magnitude_falls_with_flux_and_exists_for_all(flux: float, softening: float) -> None:
    fainter, brighter = flux_to_asinh_magnitude(np.array([flux, flux + 1.0]), softening)
    assert np.isfinite([fainter, brighter]).all()
    assert brighter < fainter


def test_extinction_does_not_change_the_features_of_a_source() -> None:
    """Dimming all fluxes by the transmission leaves every feature but E(B-V) as it was."""
    rng = np.random.default_rng(2)
    flux = rng.uniform(1, 50, (20, 6))
    apertures = {b: rng.uniform(0.5, 20, (20, n)) for b, n in NUM_APERTURES.items()}
    transmission = rng.uniform(0.4, 1, (20, 6))
    dimmed = {b: a * transmission[:, [BANDS.index(b)]] for b, a in apertures.items()}
    ones, zero = np.ones((20, 6)), np.zeros(20)
    clear = photometric_features(flux, ones, apertures, ones, zero)
    dusty = photometric_features(flux * transmission, ones, dimmed, transmission, zero)
    np.testing.assert_allclose(dusty, clear, atol=1e-5)
