"""Columns in, DESI_TARGET and BGS_TARGET out.

The bits equal those of desitarget 4.4.0 `cuts.apply_cuts(rows, qso_selection="colorcuts",
tcnames=["ELG", "QSO", "LRG", "BGS", "LGE"])` on every row, but for ELG_HIP and BGS_FAINT_HIP, which
it draws at random per file. Milky Way and standard stars are not selected.

References
----------
desitarget 4.4.0 data/targetmask.yaml; Myers et al. 2023, AJ 165, 50.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitions.targets import bgs, elg, lrg, qso
from partitions.targets.sources import BoolArray, Columns, TargetSources

DESI_TARGET_BITS = {
    **{"LRG": 0, "ELG": 1, "QSO": 2, "LGE": 3, "ELG_LOP": 5, "ELG_VLO": 7},
    **{"LRG_NORTH": 8, "ELG_NORTH": 9, "QSO_NORTH": 10},
    **{"ELG_LOP_NORTH": 11, "ELG_VLO_NORTH": 12, "LGE_NORTH": 13},
    **{"LRG_SOUTH": 16, "ELG_SOUTH": 17, "QSO_SOUTH": 18},
    **{"ELG_LOP_SOUTH": 19, "ELG_VLO_SOUTH": 20, "LGE_SOUTH": 21},
    "BGS_ANY": 60,
}
"""Bits of DESI_TARGET that are set here; the others are 0."""

BGS_TARGET_BITS = {
    **{"BGS_FAINT": 0, "BGS_BRIGHT": 1, "BGS_WISE": 2},
    **{"BGS_FAINT_NORTH": 8, "BGS_BRIGHT_NORTH": 9, "BGS_WISE_NORTH": 10},
    **{"BGS_FAINT_SOUTH": 16, "BGS_BRIGHT_SOUTH": 17, "BGS_WISE_SOUTH": 18},
}
"""Bits of BGS_TARGET that are set here; the others are 0."""

CUT_COLUMNS = {"ELG": elg.COLUMNS, "LRG": lrg.COLUMNS, "BGS": bgs.COLUMNS, "QSO": qso.COLUMNS}
"""Cuts -> the columns they need, as a sweep file names them. LRG includes LGE."""

TARGET_COLUMNS = tuple(dict.fromkeys(name for names in CUT_COLUMNS.values() for name in names))
"""The columns that all cuts together need."""

UNKNOWN_PHOTSYS = "RELEASE of no known photometric system"


@dataclass(frozen=True)
class TargetBits:
    """Bits of N rows, and the cuts that could not be made."""

    desi_target: npt.NDArray[np.int64]
    """(N,) DESI_TARGET."""
    bgs_target: npt.NDArray[np.int64]
    """(N,) BGS_TARGET."""
    left_out: dict[str, str]
    """Cuts of `CUT_COLUMNS` that were not made, for all rows or some -> why; their bits are 0."""


def target_bits(columns: Columns, photsys: npt.NDArray[np.str_]) -> TargetBits:
    """Target bits of N rows.

    Parameters
    ----------
    columns
        `TARGET_COLUMNS`, (N,) each, as in a sweep or Tractor file (observed, not dereddened); cuts
        of which a column is missing are left out. Rows are taken to be primary.
    photsys
        (N,) `N` or `S` (`release_to_photsys`); rows with another value get no bit.
    """
    num_rows = len(photsys)
    desi, bgs_bits = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.int64)
    left_out: dict[str, str] = {}
    sources = TargetSources(columns)
    for cuts, needed in CUT_COLUMNS.items():
        missing = [name for name in needed if name not in columns]
        if missing:
            left_out[cuts] = f"no column {', '.join(missing)}"
        elif not np.isin(photsys, ("N", "S")).all():
            left_out[cuts] = UNKNOWN_PHOTSYS
    for system, suffix in (("N", "_NORTH"), ("S", "_SOUTH")):
        rows = photsys == system
        if not rows.any():
            continue
        for cuts, needed in CUT_COLUMNS.items():
            if any(name not in columns for name in needed):
                continue
            # Fluxes of 0 and transmissions of 0 are data; what comes of them fails the cuts.
            with np.errstate(all="ignore"):
                classes = _select(cuts, sources, is_north=system == "N")
            for name, selected in classes.items():
                bits, target = (
                    (BGS_TARGET_BITS, bgs_bits) if cuts == "BGS" else (DESI_TARGET_BITS, desi)
                )
                target[rows & selected] |= (1 << bits[name]) | (1 << bits[name + suffix])
    desi[bgs_bits != 0] |= 1 << DESI_TARGET_BITS["BGS_ANY"]
    return TargetBits(desi, bgs_bits, left_out)


def _select(cuts: str, sources: TargetSources, is_north: bool) -> dict[str, BoolArray]:
    """Class -> (N,) whether a row is selected by the cuts of one photometric system."""
    if cuts == "ELG":
        lop, vlo = elg.select_elg(sources)
        return {"ELG": lop | vlo, "ELG_LOP": lop, "ELG_VLO": vlo}
    if cuts == "LRG":
        chosen, extended = lrg.select_lrg(sources, is_north)
        return {"LRG": chosen, "LGE": extended}
    if cuts == "BGS":
        found = bgs.select_bgs(sources, is_north)
        return {"BGS_BRIGHT": found.bright, "BGS_FAINT": found.faint, "BGS_WISE": found.wise}
    return {"QSO": qso.select_qso(sources, is_north)}
