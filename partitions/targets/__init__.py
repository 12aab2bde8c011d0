"""DESI main-survey target classes from the columns of a row: PHOTSYS and target bits."""

from partitions.targets.bits import (
    BGS_TARGET_BITS,
    CUT_COLUMNS,
    DESI_TARGET_BITS,
    TARGET_COLUMNS,
    UNKNOWN_PHOTSYS,
    TargetBits,
    target_bits,
)
from partitions.targets.photsys import PHOTSYS_OF_RELEASE, release_to_photsys

__all__ = [
    "BGS_TARGET_BITS",
    "CUT_COLUMNS",
    "DESI_TARGET_BITS",
    "PHOTSYS_OF_RELEASE",
    "TARGET_COLUMNS",
    "UNKNOWN_PHOTSYS",
    "TargetBits",
    "release_to_photsys",
    "target_bits",
]
