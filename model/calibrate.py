"""Recalibration of posteriors on held-out rows: one temperature.

A network trained on cross-entropy is typically too sure of itself on rows it has not seen.
Dividing its logits by one scalar fitted on validation rows mends that and changes no ranking.

Shapes: N objects, Z bins.

References
----------
* Guo et al. 2017, arXiv:1706.04599 (temperature scaling).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TEMPERATURE_RANGE = (0.05, 20.0)


def softmax(logits_NZ: npt.ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Probabilities (N, Z) of logits divided by the temperature, float64."""
    scaled = np.asarray(logits_NZ, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def cross_entropy(
    logits_NZ: npt.ArrayLike, true_bin_N: npt.NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Mean of -ln probability of the true bin."""
    scaled = np.asarray(logits_NZ, np.float64) / temperature
    highest = scaled.max(axis=1)
    log_norm = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float(np.mean(log_norm - scaled[np.arange(len(scaled)), true_bin_N]))


def fit_temperature(logits_NZ: npt.ArrayLike, true_bin_N: npt.NDArray[np.int64]) -> float:
    """Temperature that minimises the cross-entropy of validation rows.

    The cross-entropy is convex in 1 / T, so a golden-section search over ln T finds the minimum.

    Raises
    ------
    ValueError
        Without rows.
    """
    logits = np.asarray(logits_NZ, np.float64)
    if not len(logits):
        raise ValueError("0 validation rows: the temperature needs at least 1")
    low, high = np.log(TEMPERATURE_RANGE)
    golden = (np.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    fa, fb = (cross_entropy(logits, true_bin_N, float(np.exp(x))) for x in (a, b))
    while high - low > 1e-4:
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - golden * (high - low)
            fa = cross_entropy(logits, true_bin_N, float(np.exp(a)))
        else:
            low, a, fa = a, b, fb
            b = low + golden * (high - low)
            fb = cross_entropy(logits, true_bin_N, float(np.exp(b)))
    return float(np.exp(0.5 * (low + high)))
