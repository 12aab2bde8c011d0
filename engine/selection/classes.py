"""Target classes by name: the column and the bit that a row has, the cuts that set it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.config import UserError
from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS


@dataclass(frozen=True)
class TargetClass:
    """One DESI target class."""

    name: str
    column: str
    """DESI_TARGET or BGS_TARGET."""
    bit: int
    cuts: str
    """The cuts that set the bit: a key of partitions.targets.CUT_COLUMNS."""

    def contains(self, bits: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """(N,) which values of the column have the bit."""
        return np.asarray(bits >> self.bit & 1, dtype=bool)


_DESI = {
    "ELG": "ELG",
    "ELG_LOP": "ELG",
    "ELG_VLO": "ELG",
    "LRG": "LRG",
    "LGE": "LRG",
    "QSO": "QSO",
}
TARGET_CLASSES = {
    **{n: TargetClass(n, "DESI_TARGET", DESI_TARGET_BITS[n], cuts) for n, cuts in _DESI.items()},
    "BGS": TargetClass("BGS", "DESI_TARGET", DESI_TARGET_BITS["BGS_ANY"], "BGS"),
    **{
        name: TargetClass(name, "BGS_TARGET", BGS_TARGET_BITS[name], "BGS")
        for name in ("BGS_BRIGHT", "BGS_FAINT", "BGS_WISE")
    },
}
"""Name -> class. QSO is the colour box, not DESI's random forest."""


def find_class(name: str) -> TargetClass:
    """The class of a name, in either case.

    Raises
    ------
    UserError
        If there is none; the nearest name is given.
    """
    found = TARGET_CLASSES.get(name.upper())
    if found is None:
        near = difflib.get_close_matches(name.upper(), TARGET_CLASSES, n=1, cutoff=0.0)[0]
        raise UserError(
            f"--class {name}: no such target class, the nearest is {near}; "
            f"there are {', '.join(TARGET_CLASSES)}"
        )
    return found
