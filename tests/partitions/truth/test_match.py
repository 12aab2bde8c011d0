"""Spectra against sources, brick by brick; astropy matches the whole sky at once as the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.bricks import Brick
from partitions.truth.match import (
    AUTO,
    CONTRADICTION,
    DUPLICATE,
    IDENTIFIERS,
    NO_IDENTIFIERS,
    NO_POSITION,
    NO_SOURCE,
    NOT_IN_SURVEY,
    POSITION,
    Matches,
    Pairs,
    Sources,
    SpectrumFinder,
    resolve,
)
from partitions.truth.spectra import Spectra

SIDE_DEG = 0.25
CENTRES = [(0.0, 0.0), (359.9999, -30.0), (150.1, 2.2), (77.0, 89.99999), (12.0, -89.9999)]


def make_spectra(ra_deg: np.ndarray, dec_deg: np.ndarray, **columns: object) -> Spectra:
    num = len(ra_deg)
    none = np.full(num, -1, dtype=np.int64)
    spectra = Spectra(
        priority=np.zeros(num, np.int64),
        row=np.arange(num),
        survey_id=np.full(num, ""),
        ra_deg=np.asarray(ra_deg, np.float64),
        dec_deg=np.asarray(dec_deg, np.float64),
        z=np.full(num, 0.5),
        z_err=np.full(num, np.nan),
        spectype=np.full(num, "GALAXY"),
        elg_class=np.full(num, ""),
        release=none,
        brickid=none,
        objid=none,
        targetid=none,
    )
    return replace(spectra, **{name: np.asarray(value) for name, value in columns.items()})


def brick_at(ra_deg: float, dec_deg: float) -> Brick:
    """The cell of a grid like that of the survey: rows in Dec, cells of about equal width."""
    row = min(int((dec_deg + 90) / SIDE_DEG), int(180 / SIDE_DEG) - 1)
    dec1 = row * SIDE_DEG - 90
    num_cells = max(1, int(360 * np.cos(np.radians(dec1 + SIDE_DEG / 2)) / SIDE_DEG))
    cell = min(int(ra_deg / 360 * num_cells), num_cells - 1)
    ra1, ra2 = 360 / num_cells * cell, 360 / num_cells * (cell + 1)
    brickid = row * 2000 + cell
    centre = ((ra1 + ra2) / 2, dec1 + SIDE_DEG / 2)
    return Brick(f"{brickid}", brickid, *centre, ra1, ra2, dec1, dec1 + SIDE_DEG)


def make_sources(ra_deg: np.ndarray, dec_deg: np.ndarray) -> list[tuple[Brick, Sources]]:
    """Sources in their own bricks; OBJID is the number of the source."""
    bricks = [brick_at(ra, dec) for ra, dec in zip(ra_deg.tolist(), dec_deg.tolist(), strict=True)]
    number = np.arange(len(ra_deg))
    result = []
    for brick in dict.fromkeys(bricks):
        rows = number[[other == brick for other in bricks]]
        ids = np.full(len(rows), brick.brickid)
        sources = Sources(np.full(len(rows), 10000), ids, rows, ra_deg[rows], dec_deg[rows])
        result.append((brick, sources))
    return result


def match(
    spectra: Spectra,
    bricks: list[tuple[Brick, Sources]],
    radius_arcsec: float = 1.0,
    method: str = AUTO,
) -> Matches:
    finder = SpectrumFinder(spectra, radius_arcsec, method)
    parts = [finder.pair(*finder.candidates(brick), sources) for brick, sources in bricks]
    return resolve(spectra, Pairs.concatenate(parts), radius_arcsec, method)


def scatter(
    rng: np.random.Generator, centre: tuple[float, float], num: int, size_arcsec: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions around a centre, right at the poles."""
    place = SkyCoord(*centre, unit="deg").directional_offset_by(
        rng.uniform(0, 360, num) * units.deg, rng.uniform(0, size_arcsec, num) * units.arcsec
    )
    return place.ra.deg % 360, place.dec.deg


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    centre=st.sampled_from(CENTRES),
    size_arcsec=st.sampled_from([3.0, 30.0, 1500.0]),
    radius_arcsec=st.sampled_from([0.5, 1.0, 5.0]),
)
def test_positions_against_astropy(
    seed: int, centre: tuple[float, float], size_arcsec: float, radius_arcsec: float
) -> None:
    rng = np.random.default_rng(seed)
    ra_deg, dec_deg = scatter(rng, centre, 40, size_arcsec)
    spectra = make_spectra(
        *scatter(rng, centre, 60, size_arcsec),
        priority=rng.integers(0, 3, 60),
        z_err=rng.choice([1e-4, 1e-3, np.nan], 60),
    )
    matches = match(spectra, make_sources(ra_deg, dec_deg), radius_arcsec, POSITION)

    nearest, separation, _ = SkyCoord(
        spectra.ra_deg, spectra.dec_deg, unit="deg"
    ).match_to_catalog_sky(SkyCoord(ra_deg, dec_deg, unit="deg"))
    within = separation.arcsec <= radius_arcsec
    best: dict[int, tuple[float, ...]] = {}
    for number in np.flatnonzero(within).tolist():
        error = np.nan_to_num(spectra.z_err[number], nan=np.inf)
        rank = (spectra.priority[number], error, separation.arcsec[number], number)
        source = int(nearest[number])
        best[source] = min(best.get(source, rank), rank)
    expected = {source: int(rank[-1]) for source, rank in best.items()}
    found = dict(zip(matches.pairs.objid.tolist(), matches.pairs.spectrum.tolist(), strict=True))
    assert found == expected
    np.testing.assert_allclose(
        matches.pairs.separation_arcsec,
        separation.arcsec[matches.pairs.spectrum],
        atol=1e-6,
    )
    assert np.count_nonzero(matches.reason == NO_SOURCE) == np.count_nonzero(~within)
    assert np.count_nonzero(matches.reason == DUPLICATE) == within.sum() - len(expected)
    assert np.count_nonzero(matches.reason == "") == len(matches.pairs)


@pytest.mark.parametrize("centre", CENTRES)
def test_bricks_far_away_have_no_candidates(centre: tuple[float, float]) -> None:
    spectra = make_spectra(*(np.array([value]) for value in centre))
    finder = SpectrumFinder(spectra, 1.0)
    near, named = finder.candidates(brick_at(*centre))
    assert near.tolist() == [0]
    assert not len(named)
    far = brick_at((centre[0] + 180) % 360, -centre[1] + 1 if abs(centre[1]) < 80 else 0.0)
    assert not len(finder.candidates(far)[0])


def test_the_nearest_source_may_lie_in_the_next_brick() -> None:
    # The spectrum is 0.6 arcsec from a source of its own brick, 0.3 from one beyond RA 0.
    arcsec = 1 / 3600
    sources = make_sources(np.array([0.8 * arcsec, 360 - 0.1 * arcsec]), np.array([0.1, 0.1]))
    assert len(sources) == 2
    matches = match(make_spectra(np.array([0.2 * arcsec]), np.array([0.1])), sources)
    assert matches.pairs.objid.tolist() == [1]
    assert matches.pairs.separation_arcsec[0] == pytest.approx(0.3, abs=1e-3)


def test_priority_then_error_then_separation() -> None:
    arcsec = 1 / 3600
    sources = make_sources(np.array([10.0]), np.array([0.1]))
    brickid = sources[0][0].brickid

    def winner(priority: list[int], z_err: list[float], offset_arcsec: list[float]) -> int:
        ra_deg = 10 + np.array(offset_arcsec) * arcsec
        spectra = make_spectra(ra_deg, np.full(3, 0.1), priority=priority, z_err=z_err)
        matches = match(spectra, sources)
        assert matches.pairs.brickid.tolist() == [brickid]
        assert np.count_nonzero(matches.reason == DUPLICATE) == 2
        return int(matches.pairs.spectrum[0])

    assert winner([2, 1, 3], [1e-5, 1e-3, 1e-5], [0.1, 0.9, 0.1]) == 1
    assert winner([1, 1, 1], [np.nan, 1e-3, 1e-4], [0.0, 0.1, 0.9]) == 2
    assert winner([1, 1, 1], [1e-4, 1e-4, 1e-4], [0.5, 0.2, 0.9]) == 1
    assert winner([1, 1, 1], [np.nan, np.nan, np.nan], [0.2, 0.2, 0.2]) == 0


def named_spectra(sources: list[tuple[Brick, Sources]]) -> Spectra:
    """Two spectra: one names source 0 and lies on it, one names source 1 of another release."""
    brick_ids = np.concatenate([rows.brickid for _, rows in sources])
    return make_spectra(
        np.array([10.0, 10.001]),
        np.array([0.1, 0.1]),
        release=np.array([10000, 9010]),
        brickid=brick_ids[:2],
        objid=np.array([0, 0]),
    )


def test_identifiers_of_another_release_mean_nothing() -> None:
    sources = make_sources(np.array([10.0, 10.001]), np.array([0.1, 0.1]))
    spectra = named_spectra(sources)
    matches = match(spectra, sources, method=AUTO)
    assert matches.pairs.objid.tolist() == [0, 1]
    assert matches.pairs.spectrum.tolist() == [0, 1]
    assert matches.pairs.by_identifiers.tolist() == [True, False]
    matches = match(spectra, sources, method=IDENTIFIERS)
    assert matches.pairs.objid.tolist() == [0]
    assert matches.reason.tolist() == ["", NOT_IN_SURVEY]


def test_identifiers_that_contradict_the_position() -> None:
    sources = make_sources(np.array([10.0, 10.001]), np.array([0.1, 0.1]))
    spectra = replace(named_spectra(sources), objid=np.array([1, 0]))  # names the other one
    matches = match(spectra, sources)
    assert matches.reason.tolist() == [CONTRADICTION, ""]
    # Without a position nothing contradicts.
    blind = replace(spectra, ra_deg=np.full(2, np.nan), dec_deg=np.full(2, np.nan))
    matches = match(blind, sources)
    assert matches.pairs.objid.tolist() == [1]
    assert np.isnan(matches.pairs.separation_arcsec).all()
    assert matches.reason.tolist() == ["", NOT_IN_SURVEY]


def test_spectra_without_anything_to_match_by() -> None:
    sources = make_sources(np.array([10.0]), np.array([0.1]))
    spectra = make_spectra(np.array([np.nan, 10.0]), np.array([np.nan, 0.1]))
    assert match(spectra, sources).reason.tolist() == [NO_POSITION, ""]
    assert match(spectra, sources, method=IDENTIFIERS).reason.tolist() == [NO_IDENTIFIERS] * 2
    assert match(spectra, []).reason.tolist() == [NO_POSITION, NO_SOURCE]


@pytest.mark.parametrize(("radius_arcsec", "method"), [(0.0, AUTO), (4000.0, AUTO), (1.0, "ra")])
def test_settings_out_of_range(radius_arcsec: float, method: str) -> None:
    with pytest.raises(ValueError, match=r"radius|method"):
        SpectrumFinder(make_spectra(np.array([1.0]), np.array([1.0])), radius_arcsec, method)
