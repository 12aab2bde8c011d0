"""Angles as text and as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import Angle

from partitions.truth.positions import arcsec_to_chord, chord_to_arcsec, to_degrees


@pytest.mark.parametrize("text", ["23 59 59.99", "00:00:00.01", "10h23m45.6s"])
def test_hours_against_astropy(text: str) -> None:
    found = to_degrees(np.array([text]), hours=True)
    assert found[0] == pytest.approx(Angle(text, "hourangle").deg, abs=1e-12)


@pytest.mark.parametrize("text", ["-00 00 30.0", "-89:59:59.9", "+05d12m33s"])
def test_degrees_against_astropy(text: str) -> None:
    found = to_degrees(np.array([text]), hours=False)
    assert found[0] == pytest.approx(Angle(text, "deg").deg, abs=1e-12)


def test_numbers_stay_and_words_are_nan() -> None:
    np.testing.assert_array_equal(to_degrees(np.array([150.5]), hours=True), [150.5])
    found = to_degrees(np.array(["150.5", "-1.5", "", "no", "1 2"]), hours=True)
    np.testing.assert_array_equal(found, [150.5, -1.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("angle_arcsec", [1e-3, 1.0, 3600.0, 3600.0 * 179])
def test_chords_and_angles_are_inverse(angle_arcsec: float) -> None:
    chord = np.array(arcsec_to_chord(angle_arcsec))
    assert chord_to_arcsec(chord) == pytest.approx(angle_arcsec, rel=1e-9)
