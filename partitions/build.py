"""One brick's files -> one Zarr group: the only place where survey pixels are decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.coverage import covered_areas, is_covered, sky_lattice
from partitions.cutouts import Stamps, cut_stamps, stamp_corner
from partitions.dr10 import (
    Coadd,
    TractorTable,
    catalogue_rows,
    coadd_bands,
    open_coadd,
    read_file_checksums,
    read_tractor,
    source_type_codes,
)
from partitions.photometry import FEATURE_NAMES, photometric_features
from partitions.schema import (
    BANDS,
    MASKBITS_DOUBTFUL,
    OPTICAL_BANDS,
    QUALITY_BITS,
    WISE_BANDS,
    StampSize,
)
from partitions.store import Arrays, write_arrays
from partitions.targets import TargetBits, release_to_photsys, target_bits
from partitions.tiles import boxes_to_decode, count_tiles

Chooser = Callable[[TractorTable], npt.NDArray[np.bool_]]
"""Which of a brick's catalogue rows are wanted, (N,) bool."""

# How far a source's bx, by may lie from its RA, Dec by the image's WCS, in optical pixels: the
# pipeline computes one from the other, so more means that image and table do not belong together.
_POSITION_TOLERANCE_PX = 1.5
_MAX_FAR_FRACTION = 0.01


@dataclass
class BrickCounts:
    """What one brick held and what was read of it."""

    num_rows: int = 0
    """Rows of the Tractor table."""
    num_not_primary: int = 0
    """Rows left out because another brick owns them."""
    num_dup: int = 0
    """Primary rows left out because TYPE is DUP."""
    num_unwanted: int = 0
    """Catalogue rows left out because they were not asked for."""
    num_sources: int = 0
    """Rows of the arrays: those that go into the catalogue."""
    decoded: dict[str, int] = field(default_factory=dict)
    """Band -> image files decoded."""
    num_tiles: int = 0
    """Compression tiles of these files."""
    num_tiles_decoded: int = 0
    """Of these, decoded."""
    area_deg2: float = 0.0
    """Area of the brick's own region, where its rows are primary."""
    covered_deg2: dict[str, float] = field(default_factory=dict)
    """Optical band, or `grz` for the three together -> the part of that area with an exposure;
    empty where only chosen rows were wanted, for then not all of the image is seen."""
    targets_left_out: dict[str, str] = field(default_factory=dict)
    """DESI target cuts (ELG, LRG, BGS, QSO) that could not be made -> why; their bits are 0."""
    decode_s: float = 0.0
    """Seconds spent reading and decoding files."""
    build_s: float = 0.0
    """Seconds spent on stamps and features."""
    write_s: float = 0.0
    """Seconds spent writing the Zarr group."""


def build_brick(
    layout: SurveyLayout, brick: Brick, stamp_size: StampSize, wanted: Chooser | None = None
) -> tuple[Arrays, BrickCounts]:
    """Read one brick's files, each once, and make the arrays of its catalogue rows.

    With `wanted` only of the chosen ones: the same rows to the bit, from as few tiles of the
    images as is cheapest. Every catalogue row is checked against the images all the same, so that
    a brick is good or bad no matter how many of its rows are wanted; only pixels that no stamp
    needs may be damaged unseen, where the survey has no checksums. Without a wanted row no image
    is opened.

    Raises
    ------
    BrickError
        If a file is missing, damaged or contradicts another.
    """
    counts = BrickCounts()
    timer = _Timer()
    checksums = read_file_checksums(layout, brick)
    table = read_tractor(layout, brick, checksums)
    path = layout.brick_file("tractor", brick.name)
    keep = catalogue_rows(table)
    counts.num_rows = len(table)
    counts.num_not_primary = int(np.sum(~table.brick_primary))
    counts.num_dup = counts.num_rows - counts.num_not_primary - int(keep.sum())
    table = table.select(keep)
    type_codes = source_type_codes(table, path)
    chosen = np.ones(len(table), dtype=np.bool_) if wanted is None else wanted(table)
    counts.num_sources = int(chosen.sum())
    counts.num_unwanted = len(table) - counts.num_sources
    bands = coadd_bands(layout, brick.name)
    if not bands and len(table):
        raise BrickError(
            f"{layout.coadd_folder(brick.name)}: no image in any band for "
            f"{len(table)} catalogue rows"
        )
    if wanted is not None and not counts.num_sources:
        bands = ()
    counts.decode_s += timer.lap()

    wanted_rows = table.select(chosen)
    targets = target_bits(wanted_rows.target_columns, release_to_photsys(wanted_rows.release))
    counts.targets_left_out = targets.left_out
    counts.area_deg2 = brick.area_deg2
    lattice = sky_lattice(brick)
    covered: dict[str, npt.NDArray[np.bool_]] = {}
    stamps: dict[str, Stamps] = {}
    reference: Coadd | None = None
    for band in bands:
        coadd = open_coadd(layout, brick, band, checksums)
        counts.decoded[band] = counts.decoded.get(band, 0) + 1
        counts.decode_s += timer.lap()
        x, y = _source_positions(coadd, band, table)
        if band in OPTICAL_BANDS:
            _check_same_grid(reference, coadd)
            if reference is None:
                reference, lattice = coadd, coadd.radec_to_xy(*lattice)
        side_px = stamp_size.optical_px if band in OPTICAL_BANDS else stamp_size.wise_px
        counts.build_s += timer.lap()
        if wanted is None:
            # Few sources may need few tiles, but the covered area needs them all.
            pixels = _decode_whole(coadd, counts)
        else:
            pixels = _decode_for(coadd, x[chosen], y[chosen], side_px, counts)
        counts.decode_s += timer.lap()
        stamps[band] = cut_stamps(pixels, x[chosen], y[chosen], side_px)
        if wanted is None and band in OPTICAL_BANDS:
            covered[band] = is_covered(pixels, *lattice)
        counts.build_s += timer.lap()

    if wanted is None:
        counts.covered_deg2 = covered_areas(brick, covered, OPTICAL_BANDS)
    arrays = _assemble(wanted_rows, type_codes[chosen], targets, stamps, stamp_size)
    counts.build_s += timer.lap()
    return arrays, counts


def _decode_whole(coadd: Coadd, counts: BrickCounts) -> npt.NDArray[np.float32]:
    """The image."""
    num_tiles = count_tiles(coadd.shape, coadd.tile_shape)
    counts.num_tiles += num_tiles
    counts.num_tiles_decoded += num_tiles
    return coadd.decode()


def _decode_for(
    coadd: Coadd,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    side_px: int,
    counts: BrickCounts,
) -> npt.NDArray[np.float32]:
    """The image, decoded at least where stamps around these positions lie."""
    left, bottom = stamp_corner(x, side_px), stamp_corner(y, side_px)
    boxes = boxes_to_decode(coadd.shape, coadd.tile_shape, left, bottom, side_px)
    num_tiles = count_tiles(coadd.shape, coadd.tile_shape)
    counts.num_tiles += num_tiles
    if boxes is None:
        counts.num_tiles_decoded += num_tiles
    else:
        for box in boxes:
            counts.num_tiles_decoded += count_tiles(box.shape, coadd.tile_shape)
    return coadd.decode(boxes)


def build_brick_arrays(
    layout: SurveyLayout, brick: Brick, stamp_size: StampSize, path: Path
) -> BrickCounts:
    """`build_brick`, written as a Zarr group at `path`."""
    arrays, counts = build_brick(layout, brick, stamp_size)
    timer = _Timer()
    write_arrays(path, arrays, brick_attributes(brick, counts))
    counts.write_s = timer.lap()
    return counts


def brick_attributes(brick: Brick, counts: BrickCounts) -> dict[str, Any]:
    """What the Zarr group of a brick says about it: no times, so that equal work is equal bytes."""
    names = (
        *("num_rows", "num_not_primary", "num_dup", "num_unwanted", "num_sources"),
        *("decoded", "num_tiles", "num_tiles_decoded"),
        *("area_deg2", "covered_deg2", "targets_left_out"),
    )
    return {"brick": asdict(brick), "counts": {name: getattr(counts, name) for name in names}}


def _source_positions(
    coadd: Coadd, band: str, table: TractorTable
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """0-indexed positions in this image, checked against the image's WCS and size."""
    x, y = coadd.radec_to_xy(table.ra_deg, table.dec_deg)
    height, width = coadd.shape
    if band in OPTICAL_BANDS:
        offset_px = np.hypot(x - table.bx, y - table.by)
        far = ~(offset_px < _POSITION_TOLERANCE_PX)  # NaN is far, too
        if np.sum(far) > _MAX_FAR_FRACTION * len(table):
            raise BrickError(
                f"{coadd.path}: WCS and Tractor table disagree: bx, by of {int(far.sum())} of "
                f"{len(table)} rows lie away from RA, Dec, the first by {offset_px[far][0]:.1f} px"
            )
        x, y = table.bx, table.by
        slack_px = 1.0
    else:
        # The WISE coadd of a full brick ends 1.35 arcsec inside the optical one.
        slack_px = 2.0
    outside = ~((x > -0.5 - slack_px) & (x < width - 0.5 + slack_px))
    outside |= ~((y > -0.5 - slack_px) & (y < height - 0.5 + slack_px))
    if np.any(outside):
        first = int(np.flatnonzero(outside)[0])
        raise BrickError(
            f"{coadd.path}: image of {width} x {height} px does not hold {int(outside.sum())} of "
            f"{len(table)} catalogue rows, for example OBJID {table.objid[first]} at "
            f"x={x[first]:.1f}, y={y[first]:.1f}"
        )
    return x, y


def _check_same_grid(reference: Coadd | None, coadd: Coadd) -> None:
    if reference is not None and reference.shape != coadd.shape:
        (h0, w0), (h1, w1) = reference.shape, coadd.shape
        raise BrickError(
            f"{coadd.path}: image of {w1} x {h1} px, but {reference.path.name} has {w0} x {h0} px"
        )


def _assemble(
    table: TractorTable,
    type_codes: npt.NDArray[np.int8],
    targets: TargetBits,
    stamps: dict[str, Stamps],
    stamp_size: StampSize,
) -> Arrays:
    """The declared arrays of one brick."""
    num_sources = len(table)
    coverage = np.zeros((num_sources, len(BANDS)), dtype=np.float32)
    for band, cut in stamps.items():
        coverage[:, BANDS.index(band)] = cut.coverage
    return {
        "release": table.release,
        "brickid": table.brickid,
        "objid": table.objid,
        "ra_deg": table.ra_deg,
        "dec_deg": table.dec_deg,
        "type_code": type_codes,
        "ebv": table.ebv,
        "maskbits": table.maskbits,
        "desi_target": targets.desi_target,
        "bgs_target": targets.bgs_target,
        "flux": table.flux,
        "flux_ivar": table.flux_ivar,
        "mw_transmission": table.mw_transmission,
        "features": photometric_features(
            table.flux, table.flux_ivar, table.aperture_flux, table.mw_transmission, table.ebv
        ),
        "coverage": coverage,
        "quality": _quality(table, type_codes, stamps, coverage),
        "optical": _stack(stamps, OPTICAL_BANDS, num_sources, stamp_size.optical_px),
        "wise": _stack(stamps, WISE_BANDS, num_sources, stamp_size.wise_px),
    }


def _stack(
    stamps: dict[str, Stamps], bands: tuple[str, ...], num_sources: int, side_px: int
) -> npt.NDArray[np.float16]:
    """(N, bands, S, S), zero for a band without an image."""
    stacked = np.zeros((num_sources, len(bands), side_px, side_px), dtype=np.float16)
    for index, band in enumerate(bands):
        if band in stamps:
            stacked[:, index] = stamps[band].pixels
    return stacked


def _quality(
    table: TractorTable,
    type_codes: npt.NDArray[np.int8],
    stamps: dict[str, Stamps],
    coverage: npt.NDArray[np.float32],
) -> npt.NDArray[np.int32]:
    """QUALITY_BITS of every row, all but the model's own."""
    quality = np.zeros(len(table), dtype=np.int32)

    def flag(name: str, where: npt.NDArray[np.bool_]) -> None:
        quality[where] |= 1 << QUALITY_BITS[name]

    has_flux = table.flux_ivar > 0
    for index, band in enumerate(BANDS):
        without_image = coverage[:, index] == 0
        flag(f"MISSING_{band.upper()}", without_image | ~has_flux[:, index])
        flag("EDGE", ~without_image & (coverage[:, index] < 1))
    for cut in stamps.values():
        flag("CLIPPED", cut.clipped)
    flag("MASKED", (table.maskbits & MASKBITS_DOUBTFUL) != 0)
    flag("POINT_SOURCE", type_codes == 0)
    flag("NONPOSITIVE_FLUX", np.any(has_flux & (table.flux <= 0), axis=1))
    flag("NO_PHOTOMETRY", ~np.any(has_flux, axis=1))
    return quality


class _Timer:
    """Seconds since the last lap."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()

    def lap(self) -> float:
        now = self._clock()
        elapsed_s, self._last = now - self._last, now
        return elapsed_s


def arrays_nbytes(num_sources: int, stamp_size: StampSize) -> int:
    """Bytes of the stored arrays of `num_sources` sources, before compression."""
    optical = len(OPTICAL_BANDS) * stamp_size.optical_px**2 * 2
    wise = len(WISE_BANDS) * stamp_size.wise_px**2 * 2
    return num_sources * (optical + wise + len(FEATURE_NAMES) * 4 + 160)
