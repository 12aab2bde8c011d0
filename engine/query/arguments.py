"""Selections from the text of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.config import UserError
from engine.query.regions import Box, Cone, Polygon
from engine.query.selection import Pixels, TargetIds
from partitions.truth.tables import open_table

_TABLE_HEADS = (b"SIMPLE  =", b"PAR1", b"\x1f\x8b")


def parse_cone(text: str) -> Cone:
    """`RA,DEC,RADIUS_ARCSEC`."""
    return Cone(*_numbers("--cone", text, 3, "RA,DEC,RADIUS_ARCSEC, for example 150.1,2.2,60"))


def parse_box(text: str) -> Box:
    """`RA1,RA2,DEC1,DEC2`; RA1 > RA2 crosses RA 0."""
    return Box(*_numbers("--box", text, 4, "RA1,RA2,DEC1,DEC2, for example 149.5,150.7,1.6,2.8"))


def parse_polygon(text: str) -> Polygon:
    """`RA,DEC;RA,DEC;...`."""
    example = "RA,DEC;RA,DEC;..., for example '149,1;151,1;150,3'"
    vertices = [_numbers("--polygon", part, 2, example) for part in text.split(";") if part.strip()]
    return Polygon(tuple((ra_deg, dec_deg) for ra_deg, dec_deg in vertices))


def parse_pixels(text: str) -> Pixels:
    """`ORDER:N,N,...`."""
    order, _, numbers = text.partition(":")
    try:
        return Pixels(int(order), tuple(int(number) for number in numbers.split(",")))
    except ValueError:
        raise UserError(
            f"--pixels {text!r}: expected ORDER:N,N,... of whole numbers, for example 5:6814,6815"
        ) from None


def parse_ids(text: str) -> TargetIds:
    """TARGETIDs between commas, or a file: one a line, or a table with a column TARGETID.

    Raises
    ------
    UserError, SurveyError
        If it is neither, or the file cannot be read.
    """
    words = text.split(",")
    if all(_is_whole(word) for word in words):
        return TargetIds(tuple(int(word) for word in words))
    path = Path(text)
    try:
        with path.open("rb") as file:
            head = file.readline(4096)
    except OSError as error:
        raise UserError(
            f"--ids {text!r}: neither whole numbers between commas nor a file ({error.strerror})"
        ) from None
    if head.startswith(_TABLE_HEADS) or b"," in head:
        return _ids_of_table(path)
    lines = path.read_text(errors="replace").splitlines()
    words = [line.split("#")[0].strip() for line in lines]
    # A table of one column has its name in the first line.
    start = 1 if words and words[0].upper() == "TARGETID" else 0
    for number, word in enumerate(words[start:], start + 1):
        if word and not _is_whole(word):
            raise UserError(f"--ids {path}: line {number} is {word[:40]!r}, expected one TARGETID")
    return TargetIds(tuple(int(word) for word in words[start:] if word))


def _ids_of_table(path: Path) -> TargetIds:
    table = open_table(path)
    if "TARGETID" not in table.columns:
        raise UserError(
            f"--ids {path}: has no column TARGETID (it has {', '.join(table.columns[:8])})"
        )
    values = table.read(["TARGETID"])["TARGETID"]
    if not np.issubdtype(values.dtype, np.integer):
        raise UserError(
            f"--ids {path}: column TARGETID holds {values.dtype.name}, which cannot hold a 64-bit "
            "identifier; expected integers in every row"
        )
    return TargetIds(tuple(values.tolist()))


def _is_whole(word: str) -> bool:
    return word.strip().removeprefix("-").isdecimal()


def _numbers(option: str, text: str, count: int, expected: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise UserError(f"{option} {text!r}: expected {expected} (degrees)")
    return numbers
