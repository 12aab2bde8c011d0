"""Writes a whole mock survey: fields in, a DR10 release folder out.

Bricks are independent: each draws from its own stream, so that any number of worker processes
writes the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.bricks import SurveyLayout
from partitions.mock.catalogue import Columns, measure_brick
from partitions.mock.config import MOCK_VERSION, MockConfig
from partitions.mock.files import (
    brick_cards,
    wcs_cards,
    write_bytes,
    write_checksums,
    write_compressed,
    write_table,
)
from partitions.mock.observe import BrickImages, observe_brick
from partitions.mock.population import EXTINCTION, Sources, draw_field
from partitions.mock.sky_tiles import (
    MockBrick,
    columns_per_row,
    field_bricks,
    field_corners,
)
from partitions.schema import BANDS, OPTICAL_BANDS, WISE_BANDS

RENDER_MARGIN_PX = 64.0
"""Sources this far outside an image still shed light into it."""


@dataclass(frozen=True)
class BrickPlan:
    """One brick of the survey and what is special about it."""

    place: MockBrick
    bands: tuple[str, ...]
    release: int
    empty: bool
    strip: bool
    num_duplicates: int


def plan_bricks(config: MockConfig) -> list[BrickPlan]:
    """All bricks of the survey, field by field.

    With `special_bricks`, as in the real survey: about three bricks in ten lack i (all of every
    fourth field, and the last of the others' first); the first field has an empty brick; bricks at
    a border of the footprint have a strip without exposures; some are re-processed (10002).
    """
    corners = field_corners(config.seed, config.num_fields, config.image_size_px)
    plans = []
    for field, corner in enumerate(corners):
        places = field_bricks(corner, field, config.bricks_per_field, config.image_size_px)
        for place in places:
            special = config.special_bricks
            no_i = special and (field % 4 == 3 or (field % 2 == 0 and place.position == 3))
            plans.append(
                BrickPlan(
                    place=place,
                    bands=tuple(b for b in OPTICAL_BANDS if not (no_i and b == "i")),
                    release=10002 if special and place.position == 1 and field % 2 == 0 else 10000,
                    empty=special and field == 0 and place.position == 2,
                    strip=special and field % 4 == 0 and place.position == 1,
                    num_duplicates=2 if special and place.position == 0 else 0,
                )
            )
    return plans


def field_box(places: list[MockBrick]) -> tuple[float, float, float, float]:
    """RA and Dec limits, degrees, that hold all images of a field and their margins."""
    ra, dec = [], []
    for place in places:
        plane = place.optical
        edge = np.linspace(-RENDER_MARGIN_PX, plane.width_px - 1 + RENDER_MARGIN_PX, 9)
        x, y = np.meshgrid(edge, edge)
        ra_deg, dec_deg = plane.pixel_to_sky(x.ravel(), y.ravel())
        ra.append(ra_deg)
        dec.append(dec_deg)
    all_ra, all_dec = np.concatenate(ra), np.concatenate(dec)
    return float(all_ra.min()), float(all_ra.max()), float(all_dec.min()), float(all_dec.max())


def near_image(place: MockBrick, sources: Sources, margin_px: float) -> NDArray[np.bool_]:
    """Mask (n,) of the sources on the image of a brick or within a margin of it."""
    plane = place.optical
    x_px, y_px = plane.sky_to_pixel(sources.ra_deg, sources.dec_deg)
    inside_x = (x_px > -margin_px) & (x_px < plane.width_px - 1 + margin_px)
    return np.asarray(inside_x & (y_px > -margin_px) & (y_px < plane.height_px - 1 + margin_px))


def field_sources(config: MockConfig, plans: list[BrickPlan]) -> Sources:
    """The sky of one field: the same for each of its bricks."""
    places = [plan.place for plan in plans]
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 2, places[0].field]))
    sources = draw_field(
        rng, field_box(places), config.density_per_deg2, config.bright_stars_per_field
    )
    for plan in plans:
        if plan.empty:
            sources = sources.take(~near_image(plan.place, sources, 8.0))
    return sources


def write_coadds(layout: SurveyLayout, plan: BrickPlan, images: BrickImages) -> list[Path]:
    """Write all coadd maps of a brick. Returns their paths."""
    place = plan.place
    name = place.brick.name
    optical_cards = brick_cards(place, images.bands) + wcs_cards(place.optical)
    wise_cards = brick_cards(place, images.bands) + wcs_cards(place.wise)
    written: list[Path] = []

    def write(
        kind: str, band: str | None, array: NDArray[Any], cards: list[tuple[str, Any, str]]
    ) -> None:
        path = layout.brick_file(kind, name, band)
        extension = kind.upper() if band is None else f"{kind.upper()}_{band}"
        seed = (place.brick.brickid * 7 + len(written) * 131) % 10_000 + 1
        write_compressed(path, [(extension, array)], kind, cards, seed)
        written.append(path)

    for b, band in enumerate(images.bands):
        psfsize = np.where(images.covered[b], images.fwhm_arcsec[b], 0).astype(np.float32)
        maps: dict[str, tuple[NDArray[Any], str]] = {
            "image": (images.image[b], "nanomaggy"),
            "invvar": (images.invvar[b], "1/nanomaggy^2"),
            "nexp": (images.nexp[b], ""),
            "psfsize": (psfsize, "arcsec"),
        }
        for kind, (array, unit) in maps.items():
            cards = [*optical_cards, ("FILTERX", band, "Filter short name")]
            cards.append(("IMTYPE", kind, "LegacySurveys image type"))
            if kind == "image":
                cards.append(("MAGZERO", 22.5, "Magnitude zeropoint"))
                cards.append((f"COSKY_{band.upper()}", 0.0, "Sky level subtracted from coadd"))
            if unit:
                cards.append(("BUNIT", unit, ""))
            write(kind, band, array, cards)
    write(
        "maskbits",
        None,
        images.maskbits,
        [*optical_cards, ("IMTYPE", "maskbits", "LegacySurveys image type")],
    )
    for b, band in enumerate(WISE_BANDS):
        for kind, array in (("image", images.wise_image[b]), ("invvar", images.wise_invvar[b])):
            cards = [
                *wise_cards,
                ("TELESCOP", "WISE", ""),
                ("FILTER", band, "WISE band"),
                ("MAGZERO", 22.5, "Magnitude zeropoint"),
                ("MAGSYS", "Vega", "This WISE image is in Vega fluxes"),
            ]
            write(kind, band, array, cards)
    return written


def brick_summary(plan: BrickPlan, images: BrickImages, tractor: Columns) -> dict[str, Any]:
    """One row of survey-bricks-dr10-south."""
    brick = plan.place.brick
    primary = tractor["brick_primary"]
    types = tractor["type"][primary]
    row: dict[str, Any] = {"brickname": brick.name, "ra": brick.ra_deg, "dec": brick.dec_deg}
    own = (images.maskbits & 1) == 0
    for band in OPTICAL_BANDS:
        present = band in images.bands
        nexp = images.nexp[images.bands.index(band)][own] if present else np.zeros(1, np.int16)
        row[f"nexp_{band}"] = int(np.median(nexp)) if nexp.size else 0
        row[f"nexphist_{band}"] = (
            np.bincount(np.minimum(nexp, 10), minlength=11) if present else (np.zeros(11))
        )
    row["nobjs"] = int(primary.sum())
    counts = (("psf", "PSF"), ("rex", "REX"), ("exp", "EXP"), ("dev", "DEV"), ("ser", "SER"))
    for column, name in (*counts, ("dup", "DUP")):
        row[f"n{column}"] = int((types == name.encode()).sum())
    for band in OPTICAL_BANDS:
        present = band in images.bands
        b = images.bands.index(band) if present else 0
        row[f"psfsize_{band}"] = float(images.fwhm_arcsec[b]) if present else 0.0
        for depth in ("psfdepth", "galdepth"):
            values = tractor[f"{depth}_{band}"][primary]
            values = values[values > 0]
            row[f"{depth}_{band}"] = float(np.median(values)) if values.size else 0.0
    row["ebv"] = float(np.median(tractor["ebv"][primary])) if primary.any() else 0.0
    transmission = 10 ** (-0.4 * EXTINCTION * row["ebv"])
    for b, band in enumerate(BANDS[:4]):
        row[f"trans_{band}"] = float(transmission[b])
        row[f"ext_{band}"] = float(EXTINCTION[b] * row["ebv"])
    row |= {"brickid": brick.brickid, "ra1": brick.ra1_deg, "ra2": brick.ra2_deg}
    row |= {"dec1": brick.dec1_deg, "dec2": brick.dec2_deg, "area": brick.area_deg2}
    row |= {"survey_primary": True, "in_desi": brick.dec_deg > -20}
    return row


def write_brick(
    layout: SurveyLayout, config: MockConfig, plan: BrickPlan, field_plans: list[BrickPlan]
) -> tuple[dict[str, Any], Columns]:
    """Observe, measure and write one brick.

    Returns
    -------
    row of the release's brick table, truth columns of the primary sources
    """
    sources = field_sources(config, field_plans)
    sources = sources.take(near_image(plan.place, sources, RENDER_MARGIN_PX))
    if plan.empty:
        sources = sources.take(np.zeros(0, dtype=np.intp))
    brickid = plan.place.brick.brickid
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 3, brickid]))
    images = observe_brick(rng, plan.place, sources, plan.bands, plan.strip)
    tractor, truth = measure_brick(
        rng, plan.place, sources, images, plan.release, plan.num_duplicates
    )
    name = plan.place.brick.name
    written = write_coadds(layout, plan, images)
    table = layout.brick_file("tractor", name)
    write_table(table, tractor, brick_cards(plan.place, images.bands))
    write_checksums(layout.brick_file("checksums", name), [*written, table], layout.folder)
    return brick_summary(plan, images, tractor), truth


def stack_rows(rows: list[dict[str, Any]]) -> Columns:
    """Rows as columns, in the types of the release's brick table."""
    columns: Columns = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        kind: str
        if isinstance(first, str):
            kind = "S8"
        elif isinstance(first, bool):
            kind = "?"
        elif name.startswith("nexp_"):
            kind = "i2"
        elif isinstance(first, int) or name.startswith("nexphist"):
            kind = "i4"
        elif name in ("ra", "dec", "ra1", "ra2", "dec1", "dec2", "area"):
            kind = "f8"
        else:
            kind = "f4"
        columns[name] = np.array(values).astype(kind)
    return columns


def brick_grid_columns(plans: list[BrickPlan]) -> Columns:
    """survey-bricks of the mock's bricks, in the order of brickid."""
    places = sorted((plan.place for plan in plans), key=lambda place: place.brick.brickid)
    bricks = [place.brick for place in places]
    rows, columns = np.array([[p.row, p.column] for p in places]).T
    return {
        "BRICKNAME": np.array([b.name for b in bricks]).astype("S8"),
        "BRICKID": np.array([b.brickid for b in bricks], dtype="i4"),
        "BRICKQ": ((columns % 2) + 2 * (rows % 2)).astype("i2"),
        "BRICKROW": rows.astype("i4"),
        "BRICKCOL": columns.astype("i4"),
        "RA": np.array([b.ra_deg for b in bricks]),
        "DEC": np.array([b.dec_deg for b in bricks]),
        "RA1": np.array([b.ra1_deg for b in bricks]),
        "RA2": np.array([b.ra2_deg for b in bricks]),
        "DEC1": np.array([b.dec1_deg for b in bricks]),
        "DEC2": np.array([b.dec2_deg for b in bricks]),
    }


def run_bricks(
    layout: SurveyLayout, config: MockConfig, plans: list[BrickPlan], num_workers: int
) -> Iterator[tuple[int, dict[str, Any], Columns]]:
    """Write all bricks, here or in processes; yields (index, table row, truth) as they finish."""
    groups: dict[int, list[BrickPlan]] = {}
    for plan in plans:
        groups.setdefault(plan.place.field, []).append(plan)
    if num_workers <= 1:
        for index, plan in enumerate(plans):
            yield index, *write_brick(layout, config, plan, groups[plan.place.field])
        return
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        futures = {
            pool.submit(write_brick, layout, config, plan, groups[plan.place.field]): index
            for index, plan in enumerate(plans)
        }
        for future in as_completed(futures):
            yield futures[future], *future.result()


def write_mock_survey(
    root: Path,
    config: MockConfig,
    progress: Callable[[int, int], None] | None = None,
    num_workers: int | None = None,
) -> None:
    """Write a mock survey under `root`, a DR10 release root.

    `mock.json` is written last: where it exists the survey is complete. An identical survey is
    left as it is.

    Parameters
    ----------
    root
        Made if needed.
    config
        With its seed it fixes every byte.
    progress
        Called as progress(bricks done, bricks in all).
    num_workers
        Processes; by default one per core, and none (all work here) for 1.

    Raises
    ------
    FileExistsError
        If another mock survey lies there.
    """
    identity = {"mock_version": MOCK_VERSION, "config": asdict(config)}
    marker = root / "mock.json"
    plans = plan_bricks(config) if not marker.exists() else []
    if marker.exists():
        found = json.loads(marker.read_text())
        if found != identity:
            raise FileExistsError(
                f"{marker}: holds the mock survey {json.dumps(found)}, "
                f"not the one asked for, {json.dumps(identity)}; remove it or choose another folder"
            )
        return
    layout = SurveyLayout(root=root, folder=root / "south")
    workers = num_workers if num_workers is not None else (os.cpu_count() or 1)
    rows: list[dict[str, Any]] = [{} for _ in plans]
    truths: list[Columns] = [{} for _ in plans]
    for done, (index, row, truth) in enumerate(
        run_bricks(layout, config, plans, min(workers, len(plans))), start=1
    ):
        rows[index], truths[index] = row, truth
        if progress is not None:
            progress(done, len(plans))
    order = sorted(range(len(plans)), key=lambda i: plans[i].place.brick.brickid)
    write_table(layout.bricks_table, brick_grid_columns(plans))
    write_table(layout.release_bricks_table, stack_rows([rows[i] for i in order]))
    truth_table = {name: np.concatenate([truths[i][name] for i in order]) for name in truths[0]}
    write_table(layout.truth_table, truth_table)
    write_bytes(marker, (json.dumps(identity, indent=2) + "\n").encode())


def grid_size() -> int:
    """Number of bricks on the whole sky: 662,174."""
    return int(columns_per_row().sum())
