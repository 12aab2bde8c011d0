"""Regions of the sky: what of them holds a row exactly, and how deep a position lies in them.

`condition` is the exact test of a row as SQL, boundaries included; `depth_rad` is a bound with
which pixels are chosen before any row is read. The two share no formula, so a test can hold one
against the other.

References
----------
Haversine as in hats 0.11, hats/search/region_search.py, so that both select the same rows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.catalogue.schema import SPATIAL_INDEX_COLUMN
from engine.config import UserError
from engine.query.coverage import FloatArray, IntArray, covering_ranges

# On the unit sphere: 2e-10 arcsec. Rounding must not put a vertex outside of its own polygon.
_EDGE_TOLERANCE_RAD = 1e-15


class Region(ABC):
    """A part of the sky; a selection of the rows in it."""

    column = SPATIAL_INDEX_COLUMN

    @abstractmethod
    def condition(self) -> str:
        """SQL that is true for a row of columns RA, DEC (degrees, ICRS) inside or on the edge."""

    @abstractmethod
    def depth_rad(self, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
        """(N,) signed depth of positions, as `coverage.HasDepth` says."""

    def ranges(self) -> IntArray:
        """(K, 2) sorted, disjoint ranges of `_healpix_29`, inclusive, that hold all of it."""
        return covering_ranges(self)


@dataclass(frozen=True)
class Cone(Region):
    """All positions within a great-circle distance of a centre, ICRS."""

    ra_deg: float
    dec_deg: float
    radius_arcsec: float
    """0 selects rows at the very position; 180 deg and more is the whole sky."""

    def __post_init__(self) -> None:
        _check_position("cone", self.ra_deg, self.dec_deg)
        if not (math.isfinite(self.radius_arcsec) and self.radius_arcsec >= 0):
            raise UserError(
                f"cone: radius {self.radius_arcsec:g} arcsec; give a number that is not negative"
            )

    @property
    def radius_rad(self) -> float:
        return math.radians(min(self.radius_arcsec / 3600, 180.0))

    def condition(self) -> str:
        if self.radius_arcsec >= 180 * 3600:
            return "true"
        if self.radius_rad <= math.pi / 2:
            haversine = _haversine(self.ra_deg, self.dec_deg)
            return f"{haversine} <= {_number(math.sin(self.radius_rad / 2) ** 2)}"
        # Near 180 deg the haversine cannot tell distances apart; from the antipode it can.
        haversine = _haversine(self.ra_deg + 180, -self.dec_deg)
        return f"{haversine} >= {_number(math.sin((math.pi - self.radius_rad) / 2) ** 2)}"

    def depth_rad(self, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
        if self.radius_arcsec >= 180 * 3600:
            return np.full(len(ra_deg), math.pi)
        centre = unit_vectors(np.array([self.ra_deg]), np.array([self.dec_deg]))
        chord = np.linalg.norm(unit_vectors(ra_deg, dec_deg) - centre, axis=-1)
        return np.asarray(self.radius_rad - 2 * np.arcsin(np.minimum(chord / 2, 1)))


@dataclass(frozen=True)
class Box(Region):
    """Between two meridians, eastward from `ra1_deg` to `ra2_deg`, and two parallels, ICRS.

    `ra1_deg` > `ra2_deg` crosses RA 0; 360 deg and more between them is the whole circle.
    """

    ra1_deg: float
    ra2_deg: float
    dec1_deg: float
    dec2_deg: float

    def __post_init__(self) -> None:
        for dec_deg in (self.dec1_deg, self.dec2_deg):
            _check_position("box", self.ra1_deg, dec_deg)
        _check_position("box", self.ra2_deg, self.dec1_deg)
        if self.dec1_deg >= self.dec2_deg:
            raise UserError(
                f"box: Dec1 {self.dec1_deg:g} is not below Dec2 {self.dec2_deg:g}; "
                "the order is RA1,RA2,DEC1,DEC2"
            )
        if self.ra1_deg == self.ra2_deg:
            raise UserError(
                f"box: RA1 = RA2 = {self.ra1_deg:g} is a line; for every RA write 0,360"
            )

    @property
    def _is_all_around(self) -> bool:
        return self.ra2_deg - self.ra1_deg >= 360

    @property
    def _edges_deg(self) -> tuple[float, float]:
        return self.ra1_deg % 360, self.ra2_deg % 360

    def condition(self) -> str:
        dec = f"(DEC BETWEEN {_number(self.dec1_deg)} AND {_number(self.dec2_deg)})"
        if self._is_all_around:
            return dec
        west, east = self._edges_deg
        word = "AND" if west <= east else "OR"
        # % leaves every RA below 360 as it is.
        ra = f"(RA % 360e0 >= {_number(west)} {word} RA % 360e0 <= {_number(east)})"
        return f"({dec} AND {ra})"

    def depth_rad(self, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
        dec = np.radians(dec_deg)
        depth = np.minimum(dec - math.radians(self.dec1_deg), math.radians(self.dec2_deg) - dec)
        if self._is_all_around:
            return depth
        west, east = self._edges_deg
        inside = (ra_deg - west) % 360 <= (east - west) % 360
        to_edge = np.minimum(*(_meridian_distance_rad(ra_deg, dec, edge) for edge in (west, east)))
        return np.minimum(depth, np.where(inside, to_edge, -to_edge))


@dataclass(frozen=True)
class Polygon(Region):
    """A convex polygon whose edges are great circles, ICRS."""

    vertices_deg: tuple[tuple[float, float], ...]
    """(RA, Dec) of each corner, in order, either way round."""

    def __post_init__(self) -> None:
        for ra_deg, dec_deg in self.vertices_deg:
            _check_position("polygon", ra_deg, dec_deg)
        if len(self.vertices_deg) < 3:
            raise UserError(
                f"polygon: {len(self.vertices_deg)} vertices; give at least 3 as RA,DEC;RA,DEC;..."
            )
        if not np.all(np.isfinite(self._normals)):
            raise UserError("polygon: two vertices in a row are the same or antipodes")
        ra_deg, dec_deg = np.array(self.vertices_deg).T
        heights = self._normals @ unit_vectors(ra_deg, dec_deg).T
        others = np.ones(heights.shape, dtype=bool)
        for edge in range(len(heights)):  # The ends of an edge lie on it.
            others[edge, [edge, (edge + 1) % len(heights)]] = False
        # Not only neighbours: a star turns the same way at every corner.
        if np.any(heights[others] <= _EDGE_TOLERANCE_RAD):
            raise UserError(
                "polygon: not convex, or three vertices lie on one great circle; list the corners "
                "in order, or cut it into convex parts"
            )

    @cached_property
    def _normals(self) -> FloatArray:
        """(V, 3) unit normals of the edges, pointing inside; NaN where an edge has no length."""
        ra_deg, dec_deg = np.array(self.vertices_deg, dtype=np.float64).T
        corners = unit_vectors(ra_deg, dec_deg)
        normals = np.cross(corners, np.roll(corners, -1, axis=0))
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = np.divide(
            normals, lengths, out=np.full_like(normals, np.nan), where=lengths > 1e-14
        )
        turn = np.sum(normals @ np.roll(corners, -2, axis=0).T * np.eye(len(corners)))
        return np.asarray(normals if turn >= 0 else -normals)

    def condition(self) -> str:
        x, y = (f"cos(radians(DEC)) * {turn}(radians(RA))" for turn in ("cos", "sin"))
        z = "sin(radians(DEC))"
        tests = (
            f"{x} * {_number(a)} + {y} * {_number(b)} + {z} * {_number(c)}"
            f" >= {_number(-_EDGE_TOLERANCE_RAD)}"
            for a, b, c in self._normals.tolist()
        )
        return f"({' AND '.join(tests)})"

    def depth_rad(self, ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
        heights = unit_vectors(ra_deg, dec_deg) @ self._normals.T
        return np.asarray(np.arcsin(np.clip(heights, -1, 1)).min(axis=1))


def unit_vectors(ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
    """(N, 3) unit vectors of positions, (N,) degrees each."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _meridian_distance_rad(ra_deg: FloatArray, dec: FloatArray, meridian_deg: float) -> FloatArray:
    """(N,) distance to the half circle from pole to pole at one RA; `dec` in radians."""
    off = np.radians(ra_deg - meridian_deg)
    to_circle = np.arcsin(np.clip(np.abs(np.cos(dec) * np.sin(off)), 0, 1))
    return np.where(np.cos(off) >= 0, to_circle, math.pi / 2 - np.abs(dec))


def _haversine(ra_deg: float, dec_deg: float) -> str:
    """SQL of the haversine of the distance of RA, DEC from a position."""
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    half_dec = f"sin((radians(DEC) - {_number(dec)}) * 0.5e0)"
    half_ra = f"sin((radians(RA) - {_number(ra)}) * 0.5e0)"
    return (
        f"({half_dec} * {half_dec}"
        f" + {_number(math.cos(dec))} * cos(radians(DEC)) * ({half_ra} * {half_ra}))"
    )


def _number(value: float) -> str:
    """A literal of type DOUBLE that is read back as the same value; without e it is DECIMAL."""
    return f"({value:.17e})"


def _check_position(what: str, ra_deg: float, dec_deg: float) -> None:
    if not -360 <= ra_deg <= 720:
        raise UserError(f"{what}: RA {ra_deg:g} is not within 0 to 360 degrees")
    if not -90 <= dec_deg <= 90:
        raise UserError(f"{what}: Dec {dec_deg:g} is not within -90 to 90 degrees")
