"""Permutation importance: how much worse a method becomes when a feature is shuffled among rows.

It is judged on rows that the method was not fitted on. Features that say nearly the same thing
(magnitudes in neighbouring apertures) cover for each other and all look unimportant one by one:
shuffle them as a group.

Shapes: N rows, F features.

References
----------
* Breiman 2001, Mach. Learn. 45, 5, section 10. Fisher, Rudin & Dominici 2019, JMLR 20, 177.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from model import metrics
from model.posterior import RedshiftGrid

Prediction = TypeVar("Prediction")


@dataclass(frozen=True)
class Importance:
    """How much one feature, or group of features, matters."""

    name: str
    """Name of the feature or group."""
    increase: float
    """Mean increase of the loss over the repeats."""
    error: float
    """Standard deviation of the increase over the repeats; NaN for one repeat."""


def sigma_nmad_loss(z_true: npt.ArrayLike) -> Callable[[npt.ArrayLike], float]:
    """Loss of point estimates: sigma_NMAD against these true redshifts (N,)."""
    return lambda z_phot: metrics.sigma_nmad(metrics.normalised_error(z_phot, z_true))


def crps_loss(grid: RedshiftGrid, z_true: npt.ArrayLike) -> Callable[[npt.ArrayLike], float]:
    """Loss of posteriors (N, Z): mean CRPS against these true redshifts (N,)."""
    return lambda pdf_NZ: float(metrics.means(metrics.crps(pdf_NZ, grid, z_true)))


def permutation_importance(
    predict: Callable[[npt.NDArray[Any]], Prediction],
    features_NF: npt.NDArray[Any],
    loss: Callable[[Prediction], float],
    groups: Mapping[str, Sequence[int]],
    num_repeats: int = 5,
    seed: int = 0,
) -> list[Importance]:
    """Features or groups by importance, the most important first.

    Parameters
    ----------
    predict
        Features (N, F) -> whatever `loss` takes, for example redshifts or posteriors.
    features_NF
        Rows that `predict` was not fitted on; NaN is moved like any value.
    loss
        Predictions -> a number, lower is better; it knows the true redshifts.
    groups
        Columns of each name, for example {name: [column] for column, name in enumerate(names)}.
        Columns of a group are shuffled together and keep their relation to each other.
    num_repeats
        Shuffles of each group.

    Raises
    ------
    ValueError
        If a group names no column or one that does not exist.
    """
    num_features = features_NF.shape[1]
    for name, columns in groups.items():
        if not len(columns) or not all(0 <= column < num_features for column in columns):
            raise ValueError(f"group {name!r}: columns {list(columns)} of {num_features} features")
    reference = loss(predict(features_NF))
    rng = np.random.default_rng(seed)
    shuffled = features_NF.copy()
    found = []
    for name, columns in groups.items():
        chosen = list(columns)
        increases = []
        for _ in range(num_repeats):
            order = rng.permutation(len(features_NF))
            shuffled[:, chosen] = features_NF[order][:, chosen]
            increases.append(loss(predict(shuffled)) - reference)
        shuffled[:, chosen] = features_NF[:, chosen]
        error = float(np.std(increases, ddof=1)) if num_repeats > 1 else float("nan")
        found.append(Importance(name, float(np.mean(increases)), error))
    return sorted(found, key=lambda item: -item.increase)
