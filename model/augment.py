"""Augmentation: the symmetries of a square for stamps, and bands that go missing.

Shapes: N objects, B bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from partitions.schema import BANDS

BAND_DROP_PATTERNS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("i",), 6.0),
    (("W1", "W2"), 4.0),
    (("i", "W1", "W2"), 2.0),
    (("r",), 1.0),
    (("z",), 1.0),
    (("g",), 1.0),
    (("r", "i"), 1.0),
    (("i", "z"), 1.0),
    (("r", "z"), 1.0),
    (("g", "i"), 1.0),
    (("W2",), 1.0),
    (("r", "i", "z"), 0.5),
    (("g", "r", "i", "z"), 0.5),
)
"""Bands that are dropped together, and how often: i is DR10's most frequent gap."""


def _mirror(stamps: Tensor, axis: int) -> Tensor:
    """Reverse an axis about the source's pixel, side // 2, and not about the stamp's middle.

    A plain flip of an even side would shift the source by a pixel.
    """
    return stamps.flip(axis).roll(1, axis) if stamps.shape[axis] % 2 == 0 else stamps.flip(axis)


def dihedral(stamps: Tensor, symmetry: int) -> Tensor:
    """One of the 8 symmetries of a square (0 is the identity), the source's pixel kept fixed."""
    if symmetry & 1:
        stamps = _mirror(stamps, -1)
    if symmetry & 2:
        stamps = _mirror(stamps, -2)
    return stamps.transpose(-1, -2) if symmetry & 4 else stamps


def draw_symmetries(num_rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(N,) symmetry of every row of a batch: each eighth of the batch has another one.

    Rows come shuffled, so every row meets every symmetry with the same probability.
    """
    eighths = np.array_split(np.arange(num_rows), 8)
    return np.repeat(rng.permutation(8), [len(eighth) for eighth in eighths])


def turn(inputs: Mapping[str, Tensor], symmetry_N: npt.NDArray[np.int64]) -> dict[str, Tensor]:
    """Turn and mirror the stamps of every row; optical and WISE stamps of a row go together."""
    # Neighbours of the same symmetry are turned at once.
    starts = np.flatnonzero(np.diff(symmetry_N, prepend=-1))
    counts = np.diff(starts, append=len(symmetry_N)).tolist()
    result = dict(inputs)
    for name in ("optical", "wise"):
        parts = torch.split(inputs[name], counts)
        symmetries = symmetry_N[starts].tolist()
        turned = [dihedral(part, s) for part, s in zip(parts, symmetries, strict=True)]
        result[name] = torch.cat(turned)
    return result


def turn_at_random(inputs: Mapping[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """`turn` a whole batch by symmetries that are drawn here."""
    return turn(inputs, draw_symmetries(len(inputs["optical"]), rng))


def draw_kept_bands(
    num_rows: int, probability: float, bands: tuple[str, ...], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """(N, B) False where a band is to be dropped: outside `bands`, or by a drawn pattern."""
    shares = np.array([share for _, share in BAND_DROP_PATTERNS])
    dropped_PB = np.array([[b in names for b in BANDS] for names, _ in BAND_DROP_PATTERNS])
    pattern = rng.choice(len(shares), size=num_rows, p=shares / shares.sum())
    hit = rng.random(num_rows) < probability
    allowed = np.array([band in bands for band in BANDS])
    return np.asarray(~(dropped_PB[pattern] & hit[:, None]) & allowed)
