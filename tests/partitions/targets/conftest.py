"""The oracle, desitarget itself, and rows that lie on the cuts."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from partitions.targets import BGS_TARGET_BITS, DESI_TARGET_BITS, TARGET_COLUMNS

Columns = Mapping[str, npt.NDArray[Any]]
Oracle = Callable[[Columns, npt.NDArray[np.str_]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]

# Columns that desitarget reads for classes that are not asked of it: present, all zero.
_OTHERS = (
    *("RELEASE", "RA", "DEC", "REF_ID", "FIBERTOTFLUX_G", "GAIA_DUPLICATED_SOURCE"),
    *(f"{stem}_{b}" for stem in ("FRACFLUX", "FRACMASKED", "FRACIN", "ALLMASK") for b in "GRZ"),
    *("PMRA", "PMDEC", "PMRA_IVAR", "PARALLAX", "PARALLAX_IVAR", "GAIA_PHOT_BP_MEAN_MAG"),
    *("GAIA_PHOT_RP_MEAN_MAG", "GAIA_ASTROMETRIC_EXCESS_NOISE"),
)
DESI_MASK = sum(1 << bit for bit in DESI_TARGET_BITS.values())
BGS_MASK = sum(1 << bit for bit in BGS_TARGET_BITS.values())


@pytest.fixture(scope="session")
def desitarget_bits() -> Oracle:
    """desitarget's own DESI_TARGET, BGS_TARGET of rows, without the bits drawn at random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cuts = pytest.importorskip("desitarget.cuts", reason="desitarget is not installed")
    for name in ("desitarget", "desimodel"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def apply(
        columns: Columns, photsys: npt.NDArray[np.str_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        dtype: list[Any] = [(name, columns[name].dtype) for name in TARGET_COLUMNS]
        dtype += [*((name, "f4") for name in _OTHERS), ("DCHISQ", "f4", 5), ("PHOTSYS", "U1")]
        rows = np.zeros(len(photsys), dtype)
        for name in TARGET_COLUMNS:
            rows[name] = columns[name]
        rows["PHOTSYS"] = photsys
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            desi, bgs, _ = cuts.apply_cuts(
                rows, qso_selection="colorcuts", tcnames=["ELG", "QSO", "LRG", "BGS", "LGE"]
            )
        return np.asarray(desi) & DESI_MASK, np.asarray(bgs) & BGS_MASK

    return apply
