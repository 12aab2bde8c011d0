"""PHOTSYS: which imaging a row's photometry comes from, N (BASS and MzLS) or S (DECam).

References
----------
desitarget 4.4.0 `io.releasedict`. RELEASE 10002, the re-processed bricks of DR10.1, is missing
there (`release_to_photsys` raises); DR10 is DECam alone, so it is S (legacysurvey.org/dr10).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PHOTSYS_OF_RELEASE = {
    **{3000: "S", 4000: "N", 5000: "S", 6000: "N", 7000: "S", 7999: "S"},
    **{8000: "S", 8001: "N", 9000: "S", 9001: "N", 9002: "S", 9003: "N"},
    **{9004: "S", 9005: "N", 9006: "S", 9007: "N", 9008: "S", 9009: "N"},
    **{9010: "S", 9011: "N", 9012: "S", 9013: "N", 10000: "S", 10002: "S"},
}


def release_to_photsys(release: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    """PHOTSYS of RELEASE numbers: (N,) -> (N,) `N`, `S`, or empty where the release is unknown."""
    photsys = np.full(len(release), "", dtype="U1")
    for number in np.unique(release).tolist():
        photsys[release == number] = PHOTSYS_OF_RELEASE.get(number, "")
    return photsys
