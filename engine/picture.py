"""Pictures of a brick's stamps, so that a person can see that they hold what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.config import UserError
from partitions.schema import BANDS, OPTICAL_BANDS, SOURCE_TYPES
from partitions.store import Arrays

MAX_SOURCES = 8


def draw_stamps(arrays: Arrays, title: str, path: Path) -> int:
    """Draw the brightest galaxies of a brick, one row each, one column a band; returns how many.

    Brightness is asinh-scaled by the noise of the stamp; a cross hair marks the source's pixel, a
    grey panel a band without data.

    Raises
    ------
    UserError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(
            "--picture needs matplotlib, which is not installed: pip install 'photoz-engine[plot]'"
        ) from None
    sources = _brightest_galaxies(arrays)
    figure = Figure(
        figsize=(1.25 * len(BANDS) + 1.0, 1.25 * max(len(sources), 1) + 0.9), layout="constrained"
    )
    grid = figure.subplots(max(len(sources), 1), len(BANDS), squeeze=False)
    figure.suptitle(f"{title}: stamps, optical 0.262, WISE 2.75 arcsec/px", fontsize=9)
    for panels, source in zip(grid, sources, strict=False):
        for panel, band in zip(panels, BANDS, strict=True):
            _draw_panel(panel, _stamp(arrays, int(source), band))
        kind = SOURCE_TYPES[arrays["type_code"][source]]
        panels[0].set_ylabel(f"OBJID {arrays['objid'][source]}\n{kind}", fontsize=7)
    for panel, band in zip(grid[0], BANDS, strict=True):
        panel.set_title(band, fontsize=9)
    figure.savefig(path, dpi=110)
    return len(sources)


def _brightest_galaxies(arrays: Arrays) -> npt.NDArray[np.int64]:
    """Rows of the brightest sources that are no point source, brightest first."""
    brightness = np.where(arrays["flux_ivar"] > 0, arrays["flux"], 0).max(axis=1, initial=0)
    galaxies = np.flatnonzero(arrays["type_code"] > 0)
    order = np.argsort(-brightness[galaxies], kind="stable")
    return np.asarray(galaxies[order][:MAX_SOURCES])


def _stamp(arrays: Arrays, source: int, band: str) -> npt.NDArray[np.float32]:
    if band in OPTICAL_BANDS:
        stamp = arrays["optical"][source, OPTICAL_BANDS.index(band)]
    else:
        stamp = arrays["wise"][source, BANDS.index(band) - len(OPTICAL_BANDS)]
    return np.asarray(stamp, dtype=np.float32)


def _draw_panel(panel: Any, stamp: npt.NDArray[np.float32]) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    covered = stamp[stamp != 0]
    if not len(covered):
        panel.set_facecolor("0.85")
        return
    noise = 1.4826 * np.median(np.abs(covered - np.median(covered))) or 1.0
    panel.imshow(np.arcsinh(stamp / noise), origin="lower", cmap="gray_r")
    middle = len(stamp) // 2
    for start, end in ((0.1, 0.3), (0.7, 0.9)):
        panel.plot([middle, middle], [start * len(stamp), end * len(stamp)], "r-", lw=0.6)
        panel.plot([start * len(stamp), end * len(stamp)], [middle, middle], "r-", lw=0.6)
