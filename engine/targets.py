"""DESI identifiers and target bits of DR10 sources.

References
----------
TARGETID: desitarget `targets.encode_targetid`; Myers et al. 2023, AJ 165, 50.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from partitions.targets import release_to_photsys, target_bits

__all__ = ["decode_targetid", "encode_targetid", "release_to_photsys", "target_bits"]

_BITS = {"OBJID": (0, 22), "BRICKID": (22, 20), "RELEASE": (42, 16)}


def encode_targetid(
    release: npt.NDArray[Any], brickid: npt.NDArray[Any], objid: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """TARGETID = RELEASE << 42 | BRICKID << 22 | OBJID, (N,) int64.

    Raises
    ------
    ValueError
        If a value does not fit its field.
    """
    targetid = np.zeros(len(objid), dtype=np.int64)
    for name, values in (("RELEASE", release), ("BRICKID", brickid), ("OBJID", objid)):
        shift, width = _BITS[name]
        wide = np.asarray(values, dtype=np.int64)
        if np.any((wide < 0) | (wide >= 1 << width)):
            bad = int(wide[(wide < 0) | (wide >= 1 << width)][0])
            raise ValueError(f"TARGETID: {name}={bad} does not fit {width} bits")
        targetid |= wide << shift
    return targetid


def decode_targetid(
    targetid: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """RELEASE, BRICKID, OBJID of TARGETIDs, (N,) int64 each; -1 where it names no source.

    Negative values and those with a bit above RELEASE set (mock, sky, Gaia) name none.
    """
    shift, width = _BITS["RELEASE"]
    is_source = (targetid > 0) & (targetid >> (shift + width) == 0)
    fields = ((targetid >> shift) & ((1 << width) - 1) for shift, width in reversed(_BITS.values()))
    release, brickid, objid = (np.where(is_source, field, -1) for field in fields)
    return release, brickid, objid
