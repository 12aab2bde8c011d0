"""Margins against three oracles: discs of points, lsdb's margin maker and lsdb's cross-match."""

from __future__ import annotations

from pathlib import Path

import cdshealpix
import healpy
import lsdb
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude, SkyCoord
from lsdb.loaders.dataframe.margin_catalog_generator import MarginCatalogGenerator

from engine.catalogue.margin import LEAST_CELL_STRETCH, rows_in_margins
from engine.catalogue.properties import DEFAULT_COLUMNS
from partitions.healpix import Pixel, radec_to_pixel, radec_to_spatial_index

from .conftest import EMPTY_PLACE, PLACES, strew


def pixels_within(
    ra_deg: np.ndarray, dec_deg: np.ndarray, order: int, radius_arcsec: float
) -> list[set[int]]:
    """Pixels of cdshealpix that a circle around each position passes through.

    A pixel larger than the disc cannot lie inside it, so these are all that the disc meets, but
    for slivers between two of the 1,000 points: 5e-5 arcsec at a radius of 10.
    """
    bearing = np.linspace(0, 360, 1000, endpoint=False) * units.deg
    centre = SkyCoord(ra_deg[:, None], dec_deg[:, None], unit="deg")
    circle = centre.directional_offset_by(bearing, radius_arcsec * units.arcsec)
    found = cdshealpix.lonlat_to_healpix(
        Longitude(circle.ra).ravel(), Latitude(circle.dec).ravel(), order
    )
    return [set(row.tolist()) for row in found.reshape(len(ra_deg), -1)]


def pixel_corner(order: int, number: int) -> tuple[float, float]:
    corner = healpy.boundaries(1 << order, number, step=1, nest=True)[:, 2]
    ra_deg, dec_deg = healpy.vec2ang(corner, lonlat=True)
    return float(ra_deg[0]), float(dec_deg[0])


CASES = [(5, place) for place in PLACES.values()] + [
    (5, pixel_corner(5, 6814)),
    (3, pixel_corner(3, 5)),
    (9, pixel_corner(9, 2_000_001)),
    (13, (33.0, -20.0)),
    (13, (90.0, 89.99)),
]


@pytest.mark.parametrize(("order", "place"), CASES)
def test_margins_are_the_pixels_within_the_radius(order: int, place: tuple[float, float]) -> None:
    rng = np.random.default_rng(order)
    ra_deg, dec_deg = strew(rng, *place, 150, 25.0)
    own = radec_to_pixel(ra_deg, dec_deg, order)
    index = radec_to_spatial_index(ra_deg, dec_deg)
    margins: list[set[int]] = [set() for _ in own]
    for number in np.unique(own).tolist():
        rows = np.flatnonzero(own == number)
        found = rows_in_margins(
            ra_deg[rows], dec_deg[rows], index[rows], Pixel(order, number), 10.0
        )
        for pixel, inside in found.items():
            assert pixel.order == order
            assert (np.diff(inside) > 0).all()
            for row in rows[inside]:
                margins[row].add(pixel.number)
    least, largest = (pixels_within(ra_deg, dec_deg, order, 10.0 + e) for e in (-1e-3, 1e-3))
    for row, found in enumerate(margins):
        assert least[row] - {own[row]} <= found <= largest[row] - {own[row]}
    assert sum(len(found) for found in margins) > 20


def test_far_from_an_edge_there_is_no_margin() -> None:
    ra_deg, dec_deg = healpy.pix2ang(32, 6814, nest=True, lonlat=True)
    ra, dec = strew(np.random.default_rng(0), float(ra_deg), float(dec_deg), 50, 30.0)
    assert rows_in_margins(ra, dec, radec_to_spatial_index(ra, dec), Pixel(5, 6814), 10.0) == {}


def test_healpix_squeezes_no_cell_below_the_stated_stretch() -> None:
    """Singular values of the map from the plane of the base pixels to the sky."""
    order = 20
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, (1 << order) - 1, (2, 100_000))
    base = rng.integers(0, 12, 100_000)

    def vectors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        numbers = healpy.xyf2pix(1 << order, x, y, base, nest=True)
        return np.stack(healpy.pix2vec(1 << order, numbers, nest=True), axis=1)

    here = vectors(x, y)
    steps = np.stack([vectors(x + 1, y) - here, vectors(x, y + 1) - here], axis=2) * 2**order
    stretch = np.linalg.svd(steps, compute_uv=False).min()
    assert LEAST_CELL_STRETCH < stretch < LEAST_CELL_STRETCH * 1.1


def margin_rows(run: Path) -> dict[int, pd.DataFrame]:
    folder = run / "catalogue" / "photoz_10arcs" / "dataset"
    return {
        int(path.stem.removeprefix("Npix=")): pq.read_table(path, partitioning=None).to_pandas()
        for path in folder.rglob("Npix=*.parquet")
    }


@pytest.fixture(scope="module")
def rows(sky_run: Path) -> pd.DataFrame:
    folder = sky_run / "catalogue" / "photoz" / "dataset"
    return ds.dataset(folder, format="parquet").to_table().to_pandas()


def test_written_margins_lie_inside_those_of_lsdb(sky_run: Path, rows: pd.DataFrame) -> None:
    """lsdb keeps whole small pixels around a pixel; what it has more is beyond 10 arcsec."""
    primary = lsdb.open_catalog(str(sky_run / "catalogue" / "photoz"))
    generator = MarginCatalogGenerator(primary, margin_threshold=10.0)
    generator._resolve_margin_order()
    # For the leaves alone; the pixels without one take lsdb many seconds.
    pairs = generator._find_margin_pixel_pairs(primary.get_healpix_pixels())
    theirs = {pixel.pixel: frame for pixel, frame in generator._create_margins(pairs).items()}
    ours = margin_rows(sky_run)
    leaves = set(radec_to_pixel(rows["RA"], rows["DEC"], 5).tolist())
    compared = leaves & theirs.keys()
    assert len(compared) >= 10
    for number in compared:
        kept = set(ours[number]["TARGETID"]) if number in ours else set()
        more = theirs[number].loc[~theirs[number]["TARGETID"].isin(kept)]
        assert kept <= set(theirs[number]["TARGETID"])
        if len(more):
            near = pixels_within(more["RA"].to_numpy(), more["DEC"].to_numpy(), 5, 10.0 - 1e-3)
            assert not any(number in found for found in near)


def test_a_crossmatch_loses_no_pair_at_the_edges(sky_run: Path, rows: pd.DataFrame) -> None:
    """Another catalogue's positions, 3 arcsec off, some in pixels where this one has no leaf."""
    rng = np.random.default_rng(6)
    sky = SkyCoord(rows["RA"], rows["DEC"], unit="deg")
    # Every partition costs lsdb a second or more: the pole, the corner at RA 0, the empty pixel.
    sky = sky[(rows["DEC"] > 69) | ((rows["DEC"].abs() < 1) & ((rows["RA"] + 1) % 360 < 2))]
    moved = sky.directional_offset_by(rng.uniform(0, 360, len(sky)) * units.deg, 3 * units.arcsec)
    in_empty = radec_to_pixel(moved.ra.deg, moved.dec.deg, 5) == radec_to_pixel(*EMPTY_PLACE, 5)
    assert in_empty.sum() >= 2
    left_rows = pd.DataFrame({"ra": moved.ra.deg, "dec": moved.dec.deg, "id": range(len(moved))})
    left = lsdb.from_dataframe(
        left_rows, ra_column="ra", dec_column="dec", lowest_order=5, highest_order=5
    )
    # The truth without any partition: is there a source of ours within 4 arcsec?
    _, separation, _ = moved.match_to_catalog_sky(sky)
    expected = int((separation < 4 * units.arcsec).sum())
    columns = DEFAULT_COLUMNS.split()

    def num_pairs(path: str) -> int:
        right = lsdb.open_catalog(str(sky_run / path), columns=columns)
        pairs = left.crossmatch(
            right, radius_arcsec=4, n_neighbors=1, suffix_method="overlapping_columns"
        )
        return len(pairs.compute(progress_bar=False))

    assert num_pairs("catalogue") == expected == len(moved)
    with pytest.warns(RuntimeWarning, match="does not have a margin cache"):
        assert num_pairs("catalogue/photoz") < expected
