"""Known redshifts of a survey's sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
