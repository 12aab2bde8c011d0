"""Positions on the unit sphere: right at RA 0 and at the poles, where differences of RA are not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from partitions.truth.cuts import to_float

Floats = npt.NDArray[np.float64]

# hh mm ss.s, hh:mm:ss.s, 10h23m45.6s, -05d12m33s
_SEPARATORS = re.compile(r"[\s:hdms°'\"]+")


def to_degrees(values: npt.NDArray[Any], hours: bool) -> Floats:
    """(N,) degrees from numbers (degrees) or from text with three parts (sexagesimal).

    `hours` says that such text is in hours, as RA is. What cannot be read becomes NaN.
    """
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([_angle(word, hours) for word in values.astype(str).tolist()], dtype=np.float64)


def _angle(word: str, hours: bool) -> float:
    word = word.strip()
    try:
        parts = [float(part) for part in _SEPARATORS.split(word.lstrip("+-")) if part]
    except ValueError:
        return np.nan
    sign = -1.0 if word.startswith("-") else 1.0
    if len(parts) == 1:
        return sign * parts[0]
    if len(parts) != 3:
        return np.nan
    return sign * (15.0 if hours else 1.0) * (parts[0] + parts[1] / 60 + parts[2] / 3600)


def cds_to_degrees(columns: dict[str, npt.NDArray[Any]]) -> tuple[Floats, Floats]:
    """RA, Dec in degrees, (N,) each, from the CDS columns RAh RAm RAs DE- DEd DEm DEs."""
    part = {name: to_float(columns[name]) for name in columns if name != "DE-"}
    sign = np.where(np.char.strip(columns["DE-"].astype(str)) == "-", -1.0, 1.0)
    ra_deg = 15 * (part["RAh"] + part["RAm"] / 60 + part["RAs"] / 3600)
    return ra_deg, sign * (part["DEd"] + part["DEm"] / 60 + part["DEs"] / 3600)


def is_on_sky(ra_deg: Floats, dec_deg: Floats) -> npt.NDArray[np.bool_]:
    """(N,) whether 0 <= RA <= 360 and |Dec| <= 90; NaN and fill values such as -99 are not."""
    return np.asarray((ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90))


def unit_vectors(ra_deg: Floats, dec_deg: Floats) -> Floats:
    """(N, 3) unit vectors of positions in degrees."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def chord_to_arcsec(chord: npt.NDArray[Any]) -> Floats:
    """Angle between unit vectors that are `chord` apart, arcsec."""
    half_angle = np.arcsin(np.minimum(np.asarray(chord, np.float64) / 2, 1))
    return np.asarray(np.degrees(2 * half_angle) * 3600)


def arcsec_to_chord(angle_arcsec: float) -> float:
    """Distance of unit vectors that are `angle_arcsec` apart."""
    return float(2 * np.sin(np.radians(min(angle_arcsec / 3600, 180.0)) / 2))
