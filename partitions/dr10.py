"""FITS in, arrays out: brick tables, Tractor tables and coadds of a DR10-layout survey.

Anything wrong with one brick's files is a `BrickError` that names the file; anything wrong with
the survey as a whole is a `SurveyError`.

References
----------
legacysurvey.org/dr10/files and /dr10/catalogs; legacypipe (the code that wrote DR10).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from partitions.bricks import Brick, BrickError, SurveyError, SurveyLayout
from partitions.schema import (
    APERTURE_RADII_ARCSEC,
    BANDS,
    SOURCE_TYPES,
    WISE_BANDS,
    WISE_VEGA_TO_AB_MAG,
)
from partitions.targets import TARGET_COLUMNS
from partitions.tiles import Box

_SHA256_DIGITS = 64

# Errors that say nothing about one file: too many open files, no memory, a lost mount.
_SYSTEM_ERRORS = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
}

_BRICK_COLUMNS = ("brickname", "brickid", "ra", "dec", "ra1", "ra2", "dec1", "dec2")
_NEEDED_COLUMNS = (
    *("release", "brickid", "objid", "brick_primary", "type", "ra", "dec"),
    *("bx", "by", "ebv", "maskbits"),
)


def open_survey(path: Path) -> SurveyLayout:
    """Recognise a release root (`dr10/`, with `south/`) or a region folder (`coadd/`, `tractor/`).

    Raises
    ------
    SurveyError
        If the folder is neither, or no `survey-bricks*.fits.gz` lies in it.
    """
    if not path.is_dir():
        raise SurveyError(f"survey {path}: no such folder; name one in the DR10 layout")
    for root, folder in ((path, path / "south"), (path, path), (path.parent, path)):
        if _has_brick_files(folder) and _brick_table_paths(root, folder):
            return SurveyLayout(root=root, folder=folder)
    if _has_brick_files(path) or _has_brick_files(path / "south"):
        raise SurveyError(
            f"survey {path}: no survey-bricks*.fits.gz beside coadd/ and tractor/; "
            "copy the release's brick table there"
        )
    raise SurveyError(
        f"survey {path}: holds neither coadd/ and tractor/ nor south/; "
        "name a folder in the DR10 layout (a release root or a region folder)"
    )


def _has_brick_files(folder: Path) -> bool:
    return (folder / "tractor").is_dir() or (folder / "coadd").is_dir()


def _brick_table_paths(root: Path, folder: Path) -> list[Path]:
    """Brick tables, the release's own before the all-sky grid."""
    found = {*folder.glob("survey-bricks*.fits*"), *root.glob("survey-bricks*.fits*")}
    return sorted(found, key=lambda path: (path.name.startswith("survey-bricks.fits"), path.name))


@dataclass(frozen=True)
class SurveyBricks:
    """What the brick tables say of the bricks that have files here, in name order."""

    bricks: dict[str, Brick]
    num_sources: dict[str, int]
    """Primary sources (`nobjs`), for the bricks that the release's own table counts."""


def read_bricks(layout: SurveyLayout) -> dict[str, Brick]:
    """The bricks of `read_survey_bricks`."""
    return read_survey_bricks(layout).bricks


def read_survey_bricks(layout: SurveyLayout) -> SurveyBricks:
    """Every brick of the survey's brick tables that has files here, by name, in name order.

    A brick with either a Tractor table or a coadd folder counts; a table usually lists far more
    bricks than a region folder holds. Tables are read until all these bricks are found, the
    release's own first.

    Raises
    ------
    SurveyError
        If no table is readable, or files belong to a brick that no table lists.
    """
    present = bricks_with_files(layout)
    bricks: dict[str, Brick] = {}
    num_sources: dict[str, int] = {}
    for path in _brick_table_paths(layout.root, layout.folder):
        missing = present - bricks.keys()
        if not missing:
            break
        found = _read_brick_table(path, missing)
        bricks |= found.bricks
        num_sources |= found.num_sources
    unlisted = sorted(present - bricks.keys())
    if unlisted:
        raise SurveyError(
            f"survey {layout.folder}: {len(unlisted)} bricks have files but stand in no "
            f"survey-bricks table, for example {unlisted[0]}; add the table that lists them"
        )
    if not bricks:
        raise SurveyError(f"survey {layout.folder}: no brick has a Tractor table or coadds here")
    return SurveyBricks(dict(sorted(bricks.items())), num_sources)


def bricks_with_files(layout: SurveyLayout) -> set[str]:
    """Names of the bricks that have a Tractor table or a coadd folder, from directory listings."""
    names: set[str] = set()
    for entry in _subentries(layout.folder / "tractor"):
        if entry.name.startswith("tractor-") and entry.name.endswith(".fits"):
            names.add(entry.name.removeprefix("tractor-").removesuffix(".fits"))
    names.update(entry.name for entry in _subentries(layout.folder / "coadd") if entry.is_dir())
    return names


def _subentries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Entries of folder/<AAA>/, for every AAA."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as groups:
        for group in groups:
            if group.is_dir():
                with os.scandir(group.path) as entries:
                    yield from entries


def _read_brick_table(path: Path, wanted: set[str]) -> SurveyBricks:
    """The wanted bricks of one table; none of a table without geometry."""
    try:
        with fits.open(path, memmap=False) as hdus:
            table = hdus[1].data
            columns = {name.lower(): name for name in table.dtype.names}
            if any(name not in columns for name in _BRICK_COLUMNS):
                return SurveyBricks({}, {})  # A release table: the all-sky table has it.
            # As plain arrays: astropy's text columns take microseconds for each element.
            names = np.asarray(table[columns["brickname"]]).astype("U8").tolist()
            rows = [row for row, name in enumerate(names) if name.strip() in wanted]
            values = [
                np.asarray(table[columns[name]])[rows].astype(kind).tolist()
                for name, kind in zip(_BRICK_COLUMNS[1:], ("i8", *["f8"] * 6), strict=True)
            ]
            counts: list[int] = []
            if "nobjs" in columns:
                counts = np.asarray(table[columns["nobjs"]])[rows].astype("i8").tolist()
    except Exception as error:  # A damaged file makes gzip and astropy raise almost anything.
        raise SurveyError(f"brick table {path}: cannot be read ({error})") from error
    bricks = [
        Brick(names[row].strip(), *value)
        for row, value in zip(rows, zip(*values, strict=True), strict=True)
    ]
    num_sources = {
        brick.name: count for brick, count in zip(bricks, counts, strict=False) if count >= 0
    }
    return SurveyBricks({brick.name: brick for brick in bricks}, num_sources)


@dataclass(frozen=True)
class TractorTable:
    """The columns of one Tractor table that the engine needs. N rows, B = 6 bands."""

    release: npt.NDArray[np.int16]
    brickid: npt.NDArray[np.int32]
    objid: npt.NDArray[np.int32]
    brick_primary: npt.NDArray[np.bool_]
    source_type: npt.NDArray[np.str_]
    """TYPE without padding."""
    ra_deg: npt.NDArray[np.float64]
    dec_deg: npt.NDArray[np.float64]
    bx: npt.NDArray[np.float64]
    """Column in the optical coadds, 0-indexed."""
    by: npt.NDArray[np.float64]
    ebv: npt.NDArray[np.float32]
    maskbits: npt.NDArray[np.int32]
    flux: npt.NDArray[np.float32]
    """(N, B) observed, nanomaggy, AB; 0 where the band is missing."""
    flux_ivar: npt.NDArray[np.float32]
    """(N, B); 0 where the band is missing or its value is not finite."""
    mw_transmission: npt.NDArray[np.float32]
    """(N, B); 1 where the band is missing."""
    aperture_flux: dict[str, npt.NDArray[np.float32]]
    """Band -> (N, 8) or (N, 5), for the bands that the table has."""
    target_columns: dict[str, npt.NDArray[Any]]
    """What DESI's target cuts need, as it stands in the table: those of TARGET_COLUMNS, upper
    case, that the table has, (N,) each. Nothing in them is mended: the cuts do that their way."""

    def __len__(self) -> int:
        return len(self.objid)

    def select(self, keep: npt.NDArray[np.bool_]) -> TractorTable:
        """The rows where `keep` (N,) is true."""
        chosen: dict[str, Any] = {
            name: {key: part[keep] for key, part in value.items()}
            if isinstance(value, dict)
            else value[keep]
            for name, value in vars(self).items()
        }
        return TractorTable(**chosen)


def read_file_checksums(layout: SurveyLayout, brick: Brick) -> dict[str, str]:
    """The brick's own `sha256sum` list: path relative to the survey folder -> digest.

    Empty where the release has no such file.
    """
    path = layout.brick_file("checksums", brick.name)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BrickError(f"{path}: cannot be read ({error})") from error
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    for pair in pairs:
        if len(pair) != 2 or len(pair[0]) != _SHA256_DIGITS:
            raise BrickError(f"{path}: {' '.join(pair)[:60]!r} is no line of a sha256sum file")
    return {name.lstrip("*"): digest for digest, name in pairs}


def _read_verified(layout: SurveyLayout, path: Path, checksums: dict[str, str]) -> io.BytesIO:
    """The file in memory, one sequential read, compared with its published digest if any."""
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno in _SYSTEM_ERRORS:
            raise
        raise BrickError(f"{path}: cannot be read ({error.strerror})") from error
    expected = checksums.get(str(path.relative_to(layout.folder)))
    if expected is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise BrickError(
                f"{path}: sha256 {found[:12]}... is not the {expected[:12]}... of "
                "the brick's sha256sum file; fetch the file again"
            )
    return io.BytesIO(content)


@contextmanager
def _damage_as_brick_error(path: Path) -> Iterator[None]:
    """Whatever opening or decoding raises means a bad file.

    A damaged file makes astropy raise almost any exception, from struct.error to RuntimeError of
    the decompressor, hence the broad clause.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # "File may have been truncated"
            yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BrickError(f"{path}: truncated or corrupt FITS ({reason})") from error


def _first_hdu(content: io.BytesIO, path: Path) -> Any:
    """HDU 1: the image of a tile-compressed coadd, or the table of a Tractor file."""
    with _damage_as_brick_error(path):
        return fits.open(content, memmap=False, lazy_load_hdus=False)[1]


def read_tractor(
    layout: SurveyLayout, brick: Brick, checksums: dict[str, str] | None = None
) -> TractorTable:
    """Read one brick's Tractor table, all rows, column names in either case.

    Raises
    ------
    BrickError
        If the table is missing, damaged, lacks a needed column, or is another brick's.
    """
    path = layout.brick_file("tractor", brick.name)
    if not path.exists():
        raise BrickError(f"{path}: Tractor table missing; the brick has coadds but no catalogue")
    hdu = _first_hdu(_read_verified(layout, path, checksums or {}), path)
    with _damage_as_brick_error(path):
        rows = hdu.data
    if rows is None or rows.dtype.names is None:
        raise BrickError(f"{path}: HDU 1 holds no table")
    columns = {name.lower(): name for name in rows.dtype.names}
    bands = tuple(band for band in BANDS if f"flux_{band.lower()}" in columns)
    needed = [*_NEEDED_COLUMNS, *(name for band in bands for name in _band_columns(band))]
    missing = [name for name in needed if name not in columns]
    if missing or not bands:
        raise BrickError(
            f"{path}: column {', '.join(missing[:4]) or 'flux_<band>'} missing "
            f"({len(columns)} columns found); the engine needs it"
        )

    def column(name: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
        return _checked_column(np.asarray(rows[columns[name]]), name, dtype, shape, path)

    brickid = column("brickid", "i4")
    foreign = brickid[brickid != brick.brickid]
    if len(foreign):
        raise BrickError(
            f"{path}: holds rows of BRICKID {foreign[0]}, but brick {brick.name} is {brick.brickid}"
        )
    ra_deg, dec_deg = column("ra", "f8"), column("dec", "f8")
    # NaN fails a comparison, hence "not all good" and not "any bad".
    if not np.all((ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90)):
        raise BrickError(f"{path}: a position is not on the sky (0 <= RA <= 360, |Dec| <= 90)")
    return TractorTable(
        release=column("release", "i2"),
        brickid=brickid,
        objid=column("objid", "i4"),
        brick_primary=column("brick_primary", "?"),
        source_type=np.char.strip(column("type", "U4")),
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        bx=column("bx", "f8"),
        by=column("by", "f8"),
        ebv=column("ebv", "f4"),
        maskbits=column("maskbits", "i4"),
        **_band_values(bands, column, len(rows)),
        target_columns={
            name: column(name.lower(), _target_dtype(name))
            for name in TARGET_COLUMNS
            if name.lower() in columns
        },
    )


def _target_dtype(name: str) -> str:
    """Numpy dtype of a column of TARGET_COLUMNS, the release's own."""
    kinds = {"TYPE": "U4", "REF_CAT": "U2", "MASKBITS": "i4"}
    return kinds.get(name, "i2" if name.startswith("NOBS_") else "f4")


def _checked_column(
    values: npt.NDArray[Any], name: str, dtype: str, shape: tuple[int, ...], path: Path
) -> npt.NDArray[Any]:
    """A column as the dtype that the engine works in, its kind, shape and range checked."""
    expected = np.dtype(dtype)
    if values.shape[1:] != shape:
        raise BrickError(f"{path}: column {name} has shape {values.shape[1:]} a row, not {shape}")
    kinds = {"U": "SU", "b": "biu", "i": "iu", "f": "fiu"}[expected.kind]
    if values.dtype.kind not in kinds:
        raise BrickError(f"{path}: column {name} is {values.dtype}, expected {expected}")
    if expected.kind == "i" and values.size:
        limits = np.iinfo(expected)
        # Identifiers and masks are never negative.
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > limits.max:
            raise BrickError(
                f"{path}: column {name} has values from {low} to {high}, expected 0 to {limits.max}"
            )
    return values.astype(expected)


def _band_columns(band: str) -> tuple[str, ...]:
    suffix = band.lower()
    stems = ("flux", "flux_ivar", "mw_transmission", "apflux")
    return tuple(f"{stem}_{suffix}" for stem in stems)


def _band_values(bands: tuple[str, ...], column: Any, num_rows: int) -> dict[str, Any]:
    """flux, flux_ivar, mw_transmission as (N, B) and the apertures; a missing band is 0, 0, 1."""
    flux = np.zeros((num_rows, len(BANDS)), dtype=np.float32)
    flux_ivar = np.zeros_like(flux)
    mw_transmission = np.ones_like(flux)
    aperture_flux = {}
    for band in bands:
        index = BANDS.index(band)
        names = _band_columns(band)
        flux[:, index] = column(names[0], "f4")
        flux_ivar[:, index] = column(names[1], "f4")
        mw_transmission[:, index] = column(names[2], "f4")
        num_apertures = len(APERTURE_RADII_ARCSEC[band])
        aperture_flux[band] = column(names[3], "f4", num_apertures)
    # A flux that is not a number, or whose error is not, counts as not measured (ivar 0).
    bad = ~(np.isfinite(flux) & np.isfinite(flux_ivar) & (mw_transmission > 0)) | (flux_ivar <= 0)
    flux[~np.isfinite(flux)] = 0
    flux_ivar[bad] = 0
    mw_transmission[~(mw_transmission > 0)] = 1
    return {
        "flux": flux,
        "flux_ivar": flux_ivar,
        "mw_transmission": mw_transmission,
        "aperture_flux": aperture_flux,
    }


def catalogue_rows(table: TractorTable) -> npt.NDArray[np.bool_]:
    """Which rows belong into a catalogue: BRICK_PRIMARY and not DUP, (N,) bool.

    Non-primary rows are another brick's; DUP rows (Gaia duplicates) have no optical flux.
    """
    return np.asarray(table.brick_primary & (table.source_type != "DUP"))


def source_type_codes(table: TractorTable, path: Path) -> npt.NDArray[np.int8]:
    """TYPE as an index into SOURCE_TYPES, (N,)."""
    codes = np.full(len(table), -1, dtype=np.int8)
    for code, name in enumerate(SOURCE_TYPES):
        codes[table.source_type == name] = code
    if np.any(codes < 0):
        unknown = str(table.source_type[codes < 0][0])
        raise BrickError(f"{path}: TYPE {unknown!r} is none of {', '.join(SOURCE_TYPES)}, DUP")
    return codes


@dataclass(frozen=True)
class Coadd:
    """One coadd map of a brick: read and verified, its pixels still compressed."""

    path: Path
    wcs: WCS
    shape: tuple[int, int]
    """(H, W), pixels."""
    tile_shape: tuple[int, int]
    """Sides of a compression tile, y and x, pixels; those of the image if it is not compressed."""
    hdu: Any
    """The HDU of the image, its content in memory."""
    scale: np.float32
    """Unit of the file's pixels, nanomaggy, AB."""

    def radec_to_xy(
        self, ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Positions as 0-indexed pixel coordinates, (N,) each."""
        x, y = self.wcs.wcs_world2pix(ra_deg, dec_deg, 0)
        return np.asarray(x), np.asarray(y)

    def decode(self, boxes: Sequence[Box] | None = None) -> npt.NDArray[np.float32]:
        """(H, W) image, nanomaggy, AB; exactly 0 where there is no exposure.

        Parameters
        ----------
        boxes
            Decode only these; 0 elsewhere. Their pixels are those of the whole image, to the bit.

        Raises
        ------
        BrickError
            If the pixels are damaged or no floating-point numbers.
        """
        with _damage_as_brick_error(self.path):
            if boxes is None:
                parts = [(slice(None), slice(None), self.hdu.data)]
            else:
                section = self.hdu.section
                slices = [(slice(y0, y1), slice(x0, x1)) for y0, y1, x0, x1 in boxes]
                parts = [(rows, columns, section[rows, columns]) for rows, columns in slices]
        for _, _, part in parts:
            if part.dtype.kind != "f":
                raise BrickError(f"{self.path}: HDU 1 holds {part.dtype} pixels, expected floats")
        if boxes is None:
            pixels = np.ascontiguousarray(parts[0][2], dtype=np.float32)
        else:
            # Memory that is never written is never taken.
            pixels = np.zeros(self.shape, dtype=np.float32)
            for rows, columns, part in parts:
                pixels[rows, columns] = part
        return pixels if self.scale == 1 else pixels * self.scale


def coadd_bands(layout: SurveyLayout, brick_name: str) -> tuple[str, ...]:
    """The bands of which the brick has an image file: a missing one is normal in DR10."""
    paths = {band: layout.brick_file("image", brick_name, band) for band in BANDS}
    try:
        return tuple(band for band, path in paths.items() if path.exists())
    except PermissionError as error:
        raise BrickError(f"{error.filename}: cannot be read ({error.strerror})") from error


def open_coadd(
    layout: SurveyLayout, brick: Brick, band: str, checksums: dict[str, str] | None = None
) -> Coadd:
    """Read and verify one brick's image file in one band; WISE is in Vega, its scale makes it AB.

    The band is the file name's: the FILTER card is not reliable.

    Raises
    ------
    BrickError
        If the file is missing, damaged, or holds no celestial image.
    """
    path = layout.brick_file("image", brick.name, band)
    hdu = _first_hdu(_read_verified(layout, path, checksums or {}), path)
    if not isinstance(hdu, fits.ImageHDU | fits.CompImageHDU) or len(hdu.shape) != 2:
        raise BrickError(f"{path}: HDU 1 holds no 2-dimensional image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FITSFixedWarning about date cards
            wcs = WCS(hdu.header).celestial
            wcs.wcs_world2pix([[0.0, 0.0]], 0)
    except Exception as error:  # wcslib has a dozen exceptions of its own for a bad header.
        reason = " ".join(str(error).split())[:200]
        raise BrickError(f"{path}: the header has no usable celestial WCS ({reason})") from error
    shape = (int(hdu.shape[0]), int(hdu.shape[1]))
    tile_shape = shape
    if isinstance(hdu, fits.CompImageHDU):
        tile_shape = (int(hdu.tile_shape[0]), int(hdu.tile_shape[1]))
    magnitude = WISE_VEGA_TO_AB_MAG[band] if band in WISE_BANDS else 0.0
    scale = np.float32(10 ** (-0.4 * magnitude))
    return Coadd(path, wcs, shape, tile_shape, hdu, scale)


def count_tractor_rows(path: Path) -> int | None:
    """Rows of a Tractor table from its header alone; None if that cannot be read."""
    header = _header_of_hdu_1(path)
    return None if header is None else int(header.get("NAXIS2", 0))


def read_coadd_shape(layout: SurveyLayout, brick_name: str) -> tuple[int, int]:
    """(H, W) of the brick's optical images from a header; (0, 0) if there is none to read."""
    for band in coadd_bands(layout, brick_name):
        if band not in WISE_BANDS:
            header = _header_of_hdu_1(layout.brick_file("image", brick_name, band))
            if header is not None:
                return int(header.get("NAXIS2", 0)), int(header.get("NAXIS1", 0))
    return 0, 0


def _header_of_hdu_1(path: Path) -> fits.Header | None:
    """None if it cannot be read: whoever decodes the file will say why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            return fits.getheader(path, ext=1)
    except (OSError, IndexError, KeyError, ValueError, TypeError):
        return None
