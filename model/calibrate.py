"""Recalibration of posteriors on held-out rows: temperatures, and a link of the distribution.

A network trained on cross-entropy is typically too sure of itself on rows it has not seen.
Dividing its logits by one scalar fitted on validation rows mends that and changes no ranking. What
one scalar leaves, bright rows too wide where faint ones are too narrow, and skewness, is mended by
a `Recalibration`: a temperature that depends on the magnitude, and one monotonic map of cumulative
probability for all rows.

Shapes: N objects, Z bins, K knots.

References
----------
* Guo et al. 2017, arXiv:1706.04599 (temperature scaling).
* Kull, Silva Filho & Flach 2017, AISTATS 54, 623 (the beta map); Song et al. 2019,
  arXiv:1905.06023 (as a map of cumulative distributions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS

FloatArray = npt.NDArray[np.float64]

TEMPERATURE_RANGE = (0.05, 20.0)

REFERENCE_BANDS = ("r", "z", "i", "g", "W1", "W2")
"""The magnitude that temperatures depend on is that of the first of these that was measured."""

KNOT_SPACING_MAG = 1.0

# Each parameter is held to no change as by this many units of ln likelihood per unit squared: a
# knot that few rows speak for stays near the temperature of all.
_RIDGE = 3.0

_LEAST_PROBABILITY = 1e-12


def softmax(logits_NZ: npt.ArrayLike, temperature: float | FloatArray = 1.0) -> FloatArray:
    """Probabilities (N, Z) of logits divided by the temperature, one or (N,), float64."""
    divisor = temperature if np.ndim(temperature) == 0 else np.asarray(temperature)[:, None]
    scaled = np.asarray(logits_NZ, np.float64) / divisor
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def cross_entropy(
    logits_NZ: npt.ArrayLike,
    true_bin_N: npt.NDArray[np.int64],
    temperature: float = 1.0,
    weight_N: npt.ArrayLike | None = None,
) -> float:
    """Mean of -ln probability of the true bin, rows weighted."""
    scaled = np.asarray(logits_NZ, np.float64) / temperature
    highest = scaled.max(axis=1)
    log_norm = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    loss = log_norm - scaled[np.arange(len(scaled)), true_bin_N]
    return float(np.average(loss, weights=None if weight_N is None else np.asarray(weight_N)))


def fit_temperature(
    logits_NZ: npt.ArrayLike,
    true_bin_N: npt.NDArray[np.int64],
    weight_N: npt.ArrayLike | None = None,
) -> float:
    """Temperature that minimises the cross-entropy of validation rows, weighted.

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
    fa, fb = (cross_entropy(logits, true_bin_N, float(np.exp(x)), weight_N) for x in (a, b))
    while high - low > 1e-4:
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - golden * (high - low)
            fa = cross_entropy(logits, true_bin_N, float(np.exp(a)), weight_N)
        else:
            low, a, fa = a, b, fb
            b = low + golden * (high - low)
            fb = cross_entropy(logits, true_bin_N, float(np.exp(b)), weight_N)
    return float(np.exp(0.5 * (low + high)))


# --- beyond one temperature ------------------------------------------------------------------


def reference_magnitude(
    arrays: Mapping[str, npt.NDArray[Any]], rows: slice | npt.NDArray[np.int64]
) -> FloatArray:
    """(N,) dereddened asinh magnitude, AB, of the first measured of REFERENCE_BANDS; NaN if none.

    Reads `features` (N, F) and `flux_ivar` (N, B).
    """
    features, ivar = arrays["features"][rows], arrays["flux_ivar"][rows]
    magnitude = np.full(len(features), np.nan)
    for band in reversed(REFERENCE_BANDS):
        measured = ivar[:, BANDS.index(band)] > 0
        of_band = features[:, FEATURE_NAMES.index(f"MAG_{band.upper()}")]
        magnitude[measured] = of_band[measured]
    return magnitude


@dataclass(frozen=True, eq=False)
class Recalibration:
    """What is done to posteriors after the one temperature; part of the weights."""

    knots_mag: FloatArray
    """(K,) increasing reference magnitudes."""
    log_temperature: FloatArray
    """(K,) ln of the further temperature at the knots; linear between, constant beyond them."""
    link: FloatArray
    """(3,) ln a, ln b, c of the map u -> expit(a ln u - b ln(1 - u) + c); zeros change nothing."""

    def __post_init__(self) -> None:
        shapes = [np.shape(getattr(self, name)) for name in self.names()]
        if len(shapes[0]) != 1 or shapes[1] != shapes[0] or shapes[2] != (3,):
            raise ValueError(
                f"recalibration has arrays of shapes {shapes}, expected (K,) (K,) (3,)"
            )
        if not all(np.isfinite(getattr(self, name)).all() for name in self.names()):
            raise ValueError("recalibration holds numbers that are not finite")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(field.name for field in fields(cls))

    def temperature(self, magnitude_N: npt.ArrayLike) -> FloatArray:
        """(N,) further temperature; 1 where there is no magnitude."""
        magnitude = np.asarray(magnitude_N, np.float64)
        log_temperature = np.interp(magnitude, self.knots_mag, self.log_temperature)
        return np.where(np.isfinite(magnitude), np.exp(log_temperature), 1.0)


def calibrated(
    logits_NZ: npt.ArrayLike,
    temperature: float,
    recalibration: Recalibration | None = None,
    magnitude_N: npt.ArrayLike | None = None,
) -> FloatArray:
    """Posteriors (N, Z) of logits, float64.

    Parameters
    ----------
    temperature
        Of all rows.
    recalibration
        What follows it; None for nothing.
    magnitude_N
        (N,) `reference_magnitude`, where there is a recalibration.
    """
    if recalibration is None:
        return softmax(logits_NZ, temperature)
    assert magnitude_N is not None
    further = recalibration.temperature(magnitude_N)
    return _apply_link(softmax(logits_NZ, temperature * further), recalibration.link)


def _apply_link(pdf_NZ: FloatArray, link: FloatArray) -> FloatArray:
    """(N, Z) probabilities of the bins after the map of their cumulative distribution."""
    # Summed from either end: 1 - u would lose the upper tail to rounding.
    below = np.zeros((len(pdf_NZ), pdf_NZ.shape[1] + 1))
    above = below.copy()
    np.cumsum(pdf_NZ, axis=1, out=below[:, 1:])
    above[:, :-1] = np.cumsum(pdf_NZ[:, ::-1], axis=1)[:, ::-1]
    mapped = _linked(below, above, link)
    pdf = _between(mapped[:, :-1], mapped[:, 1:])
    return np.asarray(pdf / pdf.sum(axis=1, keepdims=True))


def _linked(below: FloatArray, above: FloatArray, link: FloatArray) -> FloatArray:
    """a ln u - b ln(1 - u) + c; -inf and inf at the ends of the grid."""
    with np.errstate(divide="ignore"):
        mapped = np.exp(link[0]) * np.log(np.minimum(below, 1.0))
        mapped -= np.exp(link[1]) * np.log(np.minimum(above, 1.0))
    return np.asarray(mapped + link[2])


def _between(low: FloatArray, high: FloatArray) -> FloatArray:
    """expit(high) - expit(low), without cancellation in the upper half."""
    sign = np.where(low > 0, -1.0, 1.0)
    return np.asarray(np.abs(expit(sign * high) - expit(sign * low)))


def fit_recalibration(
    logits_NZ: npt.ArrayLike,
    true_bin_N: npt.NDArray[np.int64],
    temperature: float,
    magnitude_N: npt.ArrayLike,
    weight_N: npt.ArrayLike | None = None,
) -> Recalibration:
    """The recalibration that makes validation rows most likely, held towards no change.

    Parameters
    ----------
    logits_NZ, true_bin_N
        Of validation rows.
    temperature
        That of all rows, fitted before.
    magnitude_N
        (N,) `reference_magnitude`; rows without one take part in the link only.
    weight_N
        (N,) how much a row counts, 1 on average: that of the mixture that the posteriors hold for.

    Raises
    ------
    ValueError
        Without rows.
    """
    logits = np.asarray(logits_NZ, np.float64) / temperature
    magnitude = np.asarray(magnitude_N, np.float64)
    if not len(logits):
        raise ValueError("0 validation rows: the recalibration needs at least 1")
    weight = np.ones(len(logits)) if weight_N is None else np.asarray(weight_N, np.float64)
    knots = _knots(magnitude)
    seen = np.isfinite(magnitude)
    log_temperature = _fit_temperatures(
        logits[seen], true_bin_N[seen], magnitude[seen], weight[seen], knots
    )
    unlinked = Recalibration(knots, log_temperature, np.zeros(3))
    pdf = calibrated(logits, 1.0, unlinked, magnitude)
    return Recalibration(knots, log_temperature, _fit_link(pdf, true_bin_N, weight))


def _knots(magnitude: FloatArray) -> FloatArray:
    """Whole multiples of the spacing that span 98 % of the magnitudes; one knot for none."""
    finite = magnitude[np.isfinite(magnitude)]
    if not len(finite):
        return np.zeros(1)
    ends = np.round(np.percentile(finite, (1, 99)) / KNOT_SPACING_MAG)
    return np.arange(ends[0], ends[1] + 1) * KNOT_SPACING_MAG


def _fit_temperatures(
    logits: FloatArray,
    true_bin: npt.NDArray[np.int64],
    magnitude: FloatArray,
    weight: FloatArray,
    knots: FloatArray,
) -> FloatArray:
    """(K,) ln temperatures; the likelihood and its gradient in them."""
    rows = np.arange(len(logits))
    hat = np.eye(len(knots))
    share_NK = np.stack([np.interp(magnitude, knots, column) for column in hat], axis=1)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        pdf = softmax(logits, np.exp(share_NK @ parameters))
        scaled = logits / np.exp(share_NK @ parameters)[:, None]
        log_p = np.log(np.maximum(pdf[rows, true_bin], _LEAST_PROBABILITY))
        slope = weight * (scaled[rows, true_bin] - (pdf * scaled).sum(axis=1))
        penalty = _RIDGE * float(parameters @ parameters)
        return penalty - float(weight @ log_p), share_NK.T @ slope + 2 * _RIDGE * parameters

    found = minimize(loss, np.zeros(len(knots)), jac=True, method="L-BFGS-B")
    return np.asarray(found.x, np.float64)


def _fit_link(pdf: FloatArray, true_bin: npt.NDArray[np.int64], weight: FloatArray) -> FloatArray:
    """(3,) link by maximum likelihood of the true bins."""
    rows, edges = np.arange(len(pdf)), np.stack([true_bin, true_bin + 1])
    below = np.pad(np.cumsum(pdf, axis=1), ((0, 0), (1, 0)))[rows, edges]
    above = np.pad(np.cumsum(pdf[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))[rows, edges]

    def loss(link: FloatArray) -> float:
        low, high = _linked(below, above, link)
        probability = np.maximum(_between(low, high), _LEAST_PROBABILITY)
        return _RIDGE * float(link @ link) - float(weight @ np.log(probability))

    return np.asarray(minimize(loss, np.zeros(3), method="L-BFGS-B").x, np.float64)
