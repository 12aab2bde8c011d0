"""Spectra <-> sources of the survey, brick by brick, each spectrum and each source at most once.

A spectrum belongs to the source that its RELEASE, BRICKID and OBJID name, if that source is in the
survey; else to the nearest source within the radius. So TARGETIDs of another release, whose
numbers mean other sources, are matched by position. Of several spectra of one source stays the one
of the survey that stands first in the table of surveys, then the one with the smallest redshift
error (an unknown one comes last), then the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from partitions.bricks import Brick
from partitions.truth.positions import arcsec_to_chord, chord_to_arcsec, unit_vectors
from partitions.truth.spectra import Spectra

AUTO, POSITION, IDENTIFIERS = "auto", "position", "identifiers"
METHODS = (AUTO, POSITION, IDENTIFIERS)

NO_POSITION = "no position on the sky"
NO_IDENTIFIERS = "no RELEASE, BRICKID, OBJID"
NO_SOURCE = "no source within the radius"
NOT_IN_SURVEY = "no source with these identifiers"
CONTRADICTION = "identifiers name a source outside the radius"
DUPLICATE = "a better spectrum of the same source"

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sources:
    """N sources of a survey that belong into a catalogue: primary and not DUP."""

    release: Integers
    brickid: Integers
    objid: Integers
    ra_deg: Floats
    dec_deg: Floats

    def __len__(self) -> int:
        return len(self.objid)


@dataclass(frozen=True)
class Pairs:
    """P pairs of a spectrum and a source."""

    spectrum: Integers
    """Number of the spectrum."""
    by_identifiers: npt.NDArray[np.bool_]
    """Whether identifiers made the pair, not the position."""
    separation_arcsec: Floats
    """NaN if the spectrum has no position."""
    release: Integers
    brickid: Integers
    objid: Integers
    ra_deg: Floats
    """Position of the source."""
    dec_deg: Floats

    def __len__(self) -> int:
        return len(self.spectrum)

    def select(self, rows: npt.NDArray[Any]) -> Pairs:
        """The pairs of these numbers, or where the mask is true."""
        return Pairs(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: list[Pairs]) -> Pairs:
        """Pairs of several bricks."""
        if not parts:
            parts = [cls.of(_NONE, _NONE, _NO_SOURCES)]
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )

    @classmethod
    def of(
        cls,
        spectrum: Integers,
        source: Integers,
        sources: Sources,
        separation_arcsec: Floats | None = None,
    ) -> Pairs:
        """Pairs of spectra and rows of `sources`; without separations, made by identifiers."""
        if separation_arcsec is None:
            separation_arcsec, by_identifiers = np.full(len(source), np.nan), True
        else:
            by_identifiers = False
        return cls(
            spectrum,
            np.full(len(source), by_identifiers),
            separation_arcsec,
            sources.release[source],
            sources.brickid[source],
            sources.objid[source],
            sources.ra_deg[source],
            sources.dec_deg[source],
        )


_NONE, _NOWHERE = np.empty(0, np.int64), np.empty(0, np.float64)
_NO_SOURCES = Sources(_NONE, _NONE, _NONE, _NOWHERE, _NOWHERE)


def reasons_of(method: str) -> tuple[str, ...]:
    """Why a spectrum can stay without a source, in the order of the checks."""
    return {
        AUTO: (NO_POSITION, NOT_IN_SURVEY, NO_SOURCE, CONTRADICTION, DUPLICATE),
        POSITION: (NO_POSITION, NO_SOURCE, DUPLICATE),
        IDENTIFIERS: (NO_IDENTIFIERS, NOT_IN_SURVEY, CONTRADICTION, DUPLICATE),
    }[method]


@dataclass(frozen=True)
class Matches:
    """The pairs that stay, and why the other spectra went."""

    pairs: Pairs
    """In order of BRICKID, OBJID, RELEASE."""
    reason: npt.NDArray[np.str_]
    """(S,) why a spectrum has no pair; empty for those that have one."""


class SpectrumFinder:
    """Finds the spectra that a brick may hold, and pairs them with its sources."""

    def __init__(self, spectra: Spectra, radius_arcsec: float, method: str = AUTO) -> None:
        if method not in METHODS:
            raise ValueError(f"method={method!r} is none of {METHODS}")
        if not 0 < radius_arcsec <= 3600:
            raise ValueError(f"radius_arcsec={radius_arcsec}: expected 0 < radius <= 3600")
        self._spectra = spectra
        self._radius_arcsec = radius_arcsec
        use_position = spectra.has_position & (method != IDENTIFIERS)
        use_identifiers = spectra.has_identifiers & (method != POSITION)
        self._placed = np.flatnonzero(use_position)
        self._vectors_S3 = unit_vectors(spectra.ra_deg, spectra.dec_deg)
        self._tree = cKDTree(self._vectors_S3[self._placed]) if len(self._placed) else None
        # Sorted by BRICKID, so that those of one brick lie together.
        named = np.flatnonzero(use_identifiers)
        self._named = named[np.argsort(spectra.brickid[named], kind="stable")]
        self._named_brickid = spectra.brickid[self._named]

    def candidates(self, brick: Brick) -> tuple[Integers, Integers]:
        """Spectra that can lie on a source of the brick, and spectra that name one; numbers.

        The first come from a cap around the centre of the brick that reaches its corners and the
        radius beyond: a brick's catalogue rows lie in its own area.
        """
        ends = np.searchsorted(self._named_brickid, [brick.brickid, brick.brickid + 1])
        named = self._named[ends[0] : ends[1]]
        if self._tree is None:
            return _NONE, named
        centre = unit_vectors(np.array(brick.ra_deg), np.array(brick.dec_deg))
        corners = unit_vectors(
            np.array([brick.ra1_deg, brick.ra2_deg, brick.ra1_deg, brick.ra2_deg]),
            np.array([brick.dec1_deg, brick.dec1_deg, brick.dec2_deg, brick.dec2_deg]),
        )
        reach_arcsec = chord_to_arcsec(np.linalg.norm(corners - centre, axis=-1)).max()
        reach = arcsec_to_chord(float(reach_arcsec) + self._radius_arcsec + 1)
        near = self._tree.query_ball_point(centre, reach, return_sorted=True)
        return self._placed[np.asarray(near, dtype=np.int64)], named

    def pair(self, near: Integers, named: Integers, sources: Sources) -> Pairs:
        """Pair candidates with the sources of one brick: the nearest in reach, the one named."""
        parts = [self._pair_by_position(near, sources), self._pair_by_name(named, sources)]
        return Pairs.concatenate(parts)

    def _pair_by_position(self, near: Integers, sources: Sources) -> Pairs:
        if not len(sources) or not len(near):
            return Pairs.concatenate([])
        tree = cKDTree(unit_vectors(sources.ra_deg, sources.dec_deg))
        # The bound of the query is open, a radius is not: ask for a little more, then compare.
        bound = arcsec_to_chord(self._radius_arcsec) * (1 + 1e-6)
        chord, source = tree.query(self._vectors_S3[near], distance_upper_bound=bound)
        separation_arcsec = chord_to_arcsec(np.where(np.isfinite(chord), chord, 2))
        hit = np.isfinite(chord) & (separation_arcsec <= self._radius_arcsec)
        return Pairs.of(near[hit], source[hit], sources, separation_arcsec[hit])

    def _pair_by_name(self, named: Integers, sources: Sources) -> Pairs:
        if not len(sources) or not len(named):
            return Pairs.concatenate([])
        row_of = {
            key: row
            for row, key in enumerate(
                zip(
                    sources.release.tolist(),
                    sources.brickid.tolist(),
                    sources.objid.tolist(),
                    strict=True,
                )
            )
        }
        spectra = self._spectra
        keys = zip(
            spectra.release[named].tolist(),
            spectra.brickid[named].tolist(),
            spectra.objid[named].tolist(),
            strict=True,
        )
        source = np.array([row_of.get(key, -1) for key in keys], dtype=np.int64)
        spectrum, source = named[source >= 0], source[source >= 0]
        pairs = Pairs.of(spectrum, source, sources)
        chord = np.linalg.norm(
            self._vectors_S3[spectrum] - unit_vectors(pairs.ra_deg, pairs.dec_deg), axis=-1
        )
        pairs.separation_arcsec[:] = chord_to_arcsec(chord)
        return pairs


def resolve(spectra: Spectra, pairs: Pairs, radius_arcsec: float, method: str = AUTO) -> Matches:
    """Keep at most one source of each spectrum and one spectrum of each source.

    `pairs` are those of all bricks. A pair by identifiers goes before one by position; if the
    spectrum also has a position, and that lies further than the radius from the source it names,
    one of the two is wrong and the spectrum is dropped.
    """
    reason = _reasons_without_pair(spectra, method)
    # Last key first: by spectrum, identifiers before position, then nearest, then identity.
    order = np.lexsort(
        (
            pairs.release,
            pairs.objid,
            pairs.brickid,
            pairs.separation_arcsec,
            ~pairs.by_identifiers,
            pairs.spectrum,
        )
    )
    pairs = pairs.select(order)
    pairs = pairs.select(_is_first(pairs.spectrum))
    reason[pairs.spectrum] = ""
    contradicts = pairs.by_identifiers & (pairs.separation_arcsec > radius_arcsec)
    reason[pairs.spectrum[contradicts]] = CONTRADICTION
    pairs = pairs.select(~contradicts)

    spectrum = pairs.spectrum
    order = np.lexsort(
        (
            spectrum,
            pairs.separation_arcsec,
            spectra.z_err[spectrum],  # NaN, an unknown error, is sorted last.
            spectra.priority[spectrum],
            pairs.release,
            pairs.objid,
            pairs.brickid,
        )
    )
    pairs = pairs.select(order)
    best = _is_first(pairs.brickid, pairs.objid, pairs.release)
    reason[pairs.spectrum[~best]] = DUPLICATE
    return Matches(pairs.select(best), reason)


def _reasons_without_pair(spectra: Spectra, method: str) -> npt.NDArray[np.str_]:
    """(S,) why a spectrum would stay without a source."""
    if method == IDENTIFIERS:
        return np.where(spectra.has_identifiers, NOT_IN_SURVEY, NO_IDENTIFIERS).astype("U64")
    without = np.full(len(spectra), NO_POSITION, dtype="U64")
    if method == AUTO:
        without[spectra.has_identifiers] = NOT_IN_SURVEY
    without[spectra.has_position] = NO_SOURCE
    return without


def _is_first(*keys: Integers) -> npt.NDArray[np.bool_]:
    """(P,) whether a row's keys differ from those of the row before; the rows are sorted."""
    first = np.ones(len(keys[0]), dtype=np.bool_)
    first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return first
