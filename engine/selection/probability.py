"""P(z1 < z < z2) from the stored quantiles of a posterior (`engine.quantiles`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.quantiles import cumulative_at

FloatArray = npt.NDArray[np.float64]


def interval_probability(
    quantiles_NQ: npt.NDArray[np.floating], levels: tuple[float, ...], z1: float, z2: float
) -> FloatArray:
    """(N,) probability that z1 < z < z2."""
    if not z1 < z2:
        raise ValueError(f"z1={z1}, z2={z2}: the range must not be empty")
    upper, lower = (cumulative_at(quantiles_NQ, levels, z) for z in (z2, z1))
    return np.clip(upper - lower, 0.0, 1.0)
