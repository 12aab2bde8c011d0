"""Writes FITS files as the survey's pipeline does, the same bytes for the same arrays.

References
----------
legacypipe `survey.py` (`get_compression_args`) and `coadds.py`; FITS 4.0 section 10 (tiles).
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from partitions.mock.sky_tiles import MockBrick, TangentPlane
from partitions.schema import OPTICAL_BANDS

NO_DITHER = -1
SUBTRACTIVE_DITHER_2 = 2
IMAGE_STEP_NANOMAGGY = 1e-4
INVVAR_QUANTIZE_LEVEL = 16.0


def tile_side(side_px: int) -> int:
    """Side of the compression tiles: 100, or slightly more where the last would be under 4 px."""
    if side_px <= 100:
        return side_px
    return next(t for t in range(100, 200) if side_px % t == 0 or side_px % t >= 4)


def wcs_cards(plane: TangentPlane) -> list[tuple[str, Any, str]]:
    """The WCS header cards of an image."""
    step = plane.pixel_arcsec / 3600.0
    return [
        ("CTYPE1", "RA---TAN", "TANgent plane"),
        ("CTYPE2", "DEC--TAN", "TANgent plane"),
        ("CRVAL1", plane.ra_deg, "Reference RA"),
        ("CRVAL2", plane.dec_deg, "Reference Dec"),
        ("CRPIX1", plane.x_px + 1, "Reference x"),
        ("CRPIX2", plane.y_px + 1, "Reference y"),
        ("CD1_1", -step, "CD matrix"),
        ("CD1_2", 0.0, "CD matrix"),
        ("CD2_1", 0.0, "CD matrix"),
        ("CD2_2", step, "CD matrix"),
        ("EQUINOX", 2000.0, "WCS epoch"),
    ]


def brick_cards(place: MockBrick, bands: Sequence[str]) -> list[tuple[str, Any, str]]:
    """The header cards that name the brick and its bands."""
    brick = place.brick
    cards: list[tuple[str, Any, str]] = [
        ("SURVEY", "MOCK", "Simulated, not an observation"),
        ("BRICK", brick.name, "LegacySurveys brick RRRr[pm]DDd"),
        ("BRICKID", brick.brickid, "LegacySurveys brick id"),
        ("RAMIN", brick.ra1_deg, "Brick RA min (deg)"),
        ("RAMAX", brick.ra2_deg, "Brick RA max (deg)"),
        ("DECMIN", brick.dec1_deg, "Brick Dec min (deg)"),
        ("DECMAX", brick.dec2_deg, "Brick Dec max (deg)"),
        ("CENTRA", brick.ra_deg, "Brick center RA (deg)"),
        ("CENTDEC", brick.dec_deg, "Brick center Dec (deg)"),
    ]
    cards += [
        (f"BRICK_{band.upper()}", band in bands, f"Does band {band} touch this brick?")
        for band in OPTICAL_BANDS
    ]
    cards += [("BANDS", "".join(bands), "Bands touching this brick"), ("NBANDS", len(bands), "")]
    cards += [(f"BAND{i}", band, "Band name in this catalog") for i, band in enumerate(bands)]
    return cards


def write_compressed(
    path: Path,
    arrays: Sequence[tuple[str, NDArray[Any]]],
    kind: str,
    cards: Sequence[tuple[str, Any, str]],
    dither_seed: int,
) -> None:
    """Write tile-compressed images, one HDU each, after an empty primary HDU.

    Parameters
    ----------
    arrays
        (EXTNAME, image) pairs.
    kind
        image, invvar, psfsize, nexp or maskbits: it decides the compression, as in the survey.
    cards
        Header cards of the first image.
    dither_seed
        1 to 10,000.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name, array in arrays:
        settings: dict[str, Any]
        if kind == "image":
            settings = {
                "compression_type": "RICE_1",
                "quantize_level": -IMAGE_STEP_NANOMAGGY,
                "quantize_method": SUBTRACTIVE_DITHER_2,
                "dither_seed": dither_seed,
            }
        elif kind == "invvar":
            settings = {
                "compression_type": "RICE_1",
                "quantize_level": INVVAR_QUANTIZE_LEVEL,
                "quantize_method": NO_DITHER,
            }
        elif kind == "psfsize":
            settings = {
                "compression_type": "GZIP_1",
                "quantize_level": 0.0,
                "quantize_method": NO_DITHER,
            }
        else:
            settings = {"compression_type": "HCOMPRESS_1", "hcomp_scale": 0}
        tile = (tile_side(array.shape[0]), tile_side(array.shape[1]))
        # The header is complete before the HDU is made: each later card would cost much more.
        header = fits.Header([("EXTNAME", name), *(cards if len(hdus) == 1 else ())])
        hdus.append(fits.CompImageHDU(data=array, header=header, tile_shape=tile, **settings))
    write_bytes(path, without_gzip_times(fits_bytes(hdus)))


def without_gzip_times(data: bytes) -> bytes:
    """The same FITS file with the time stamps of its gzip-compressed tiles set to 0.

    Tiles that cannot be quantised (a constant invvar) and GZIP_1 images hold gzip members, whose
    header carries the time of writing.
    """
    patched = bytearray(data)
    with fits.open(io.BytesIO(data), disable_image_compression=True) as hdus:
        for hdu in hdus[1:]:
            header = hdu.header
            start = hdu.fileinfo()["datLoc"]
            num_rows, row_bytes = header["NAXIS2"], header["NAXIS1"]
            heap = start + header.get("THEAP", num_rows * row_bytes)
            rows = np.frombuffer(data, np.uint8, num_rows * row_bytes, start)
            rows = rows.reshape(num_rows, row_bytes)
            offset = 0
            for i in range(1, header["TFIELDS"] + 1):
                form = header[f"TFORM{i}"]
                width = 16 if "Q" in form else 8
                if "P" in form or "Q" in form:
                    kind = ">i8" if width == 16 else ">i4"
                    pairs = np.ascontiguousarray(rows[:, offset : offset + width]).view(kind)
                    for length, place in pairs.tolist():
                        at = heap + place
                        if length >= 10 and data[at : at + 3] == b"\x1f\x8b\x08":
                            patched[at + 4 : at + 8] = bytes(4)
                offset += width
    return bytes(patched)


def fits_bytes(hdus: fits.HDUList) -> bytes:
    """The file as bytes."""
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole, by rename: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def table_bytes(columns: dict[str, NDArray[Any]], cards: Sequence[tuple[str, Any, str]]) -> bytes:
    """A FITS file with one binary table: column arrays of equal first dimension, in order."""
    dtype = [(name, array.dtype, array.shape[1:]) for name, array in columns.items()]
    length = next(iter(columns.values())).shape[0]
    rows = np.zeros(length, dtype=dtype)
    for name, array in columns.items():
        rows[name] = array
    primary = fits.PrimaryHDU()
    primary.header.extend(list(cards), update=True)
    return fits_bytes(fits.HDUList([primary, fits.BinTableHDU(rows)]))


def write_table(
    path: Path, columns: dict[str, NDArray[Any]], cards: Sequence[tuple[str, Any, str]] = ()
) -> None:
    """Write a table as FITS, gzip-compressed (without a time stamp) if the name ends in .gz."""
    data = table_bytes(columns, cards)
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=6, mtime=0)
    write_bytes(path, data)


def write_checksums(path: Path, files: Sequence[Path], folder: Path) -> None:
    """Write `<sha256> *<path relative to folder>` lines."""
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()} *{f.relative_to(folder).as_posix()}\n"
        for f in files
    ]
    write_bytes(path, "".join(lines).encode())
