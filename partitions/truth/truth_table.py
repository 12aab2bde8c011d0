"""Known redshifts of a survey's sources, as a FITS table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from partitions.bricks import SurveyError


@dataclass(frozen=True)
class Truth:
    """Redshifts of M sources, identified as in the survey's catalogue."""

    release: npt.NDArray[np.int64]
    brickid: npt.NDArray[np.int64]
    objid: npt.NDArray[np.int64]
    z: npt.NDArray[np.float64]
    """Redshift; 0 for stars."""
    spectype: npt.NDArray[np.str_]
    """GALAXY, QSO or STAR."""

    def __len__(self) -> int:
        return len(self.z)

    @property
    def extragalactic(self) -> npt.NDArray[np.bool_]:
        """(M,) galaxies and quasars with a usable redshift: what a photo-z is judged on."""
        return np.asarray((self.spectype != "STAR") & np.isfinite(self.z) & (self.z > 0))


def read_truth(path: Path) -> Truth:
    """Read a FITS truth table: RELEASE, BRICKID, OBJID, Z, SPECTYPE in HDU 1, either case.

    Raises
    ------
    SurveyError
        If the table is missing, damaged or lacks a column.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            table = hdus[1].data
            columns = {name.lower(): name for name in table.dtype.names}
            values = [
                np.asarray(table[columns[name]])
                for name in ("release", "brickid", "objid", "z", "spectype")
            ]
    except KeyError as error:
        raise SurveyError(f"truth table {path}: column {error} missing") from None
    except (OSError, IndexError, AttributeError, ValueError, TypeError) as error:
        raise SurveyError(f"truth table {path}: cannot be read ({error})") from None
    release, brickid, objid = (value.astype(np.int64) for value in values[:3])
    spectype = np.char.strip(values[4].astype("U8"))
    return Truth(release, brickid, objid, values[3].astype(np.float64), spectype)


def truth_to_fits(
    columns: Mapping[str, npt.NDArray[Any]],
    cards: Mapping[str, tuple[Any, str]],
    drops: Mapping[str, npt.NDArray[Any]],
) -> bytes:
    """A truth table as the bytes of a FITS file: the same input gives the same bytes.

    Parameters
    ----------
    columns
        HDU 1, TRUTH: what `read_truth` reads, and more; (N,) each.
    cards
        Header cards of HDU 1: keyword -> value and comment.
    drops
        HDU 2, DROPS: what was removed.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name, table in (("TRUTH", columns), ("DROPS", drops)):
        hdus.append(fits.BinTableHDU(_to_rows(table), name=name))
    header = hdus[1].header
    for keyword, (value, comment) in cards.items():
        header[keyword] = (_ascii(value), comment) if comment else _ascii(value)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def _to_rows(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """A structured array; text becomes ASCII bytes, of which FITS tables are made."""
    values = {
        name: np.char.encode(value, "ascii", "backslashreplace")
        if value.dtype.kind == "U"
        else value
        for name, value in columns.items()
    }
    rows = np.empty(
        len(next(iter(values.values()))),
        # A text column of width 0 is none.
        dtype=[
            (name, value.dtype if value.dtype.itemsize else "S1") for name, value in values.items()
        ],
    )
    for name, value in values.items():
        rows[name] = value
    return rows


def _ascii(value: Any) -> Any:
    """Header cards hold printable ASCII only."""
    if not isinstance(value, str):
        return value
    return value.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
