"""The method to beat: a random forest on the same photometry.

Needs scikit-learn, which comes with the extra `baselines` and is imported only when a forest is
made: the engine runs without it.

References
----------
* Zhou et al. 2021, MNRAS 501, 3309: random-forest photo-z of the Legacy Surveys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

# Far below any magnitude or colour: a tree separates it from the measured values in one cut.
MISSING_VALUE = -99.0


def photometry_matrix(arrays: Arrays) -> npt.NDArray[np.float32]:
    """(N, F + 3 B) features, S/N, depth and presence of every band; what is missing is -99.

    Parameters
    ----------
    arrays
        `features` (N, F), NaN where a band is missing; `flux`, `flux_ivar`, `mw_transmission`
        (N, B).
    """
    features = np.nan_to_num(arrays["features"].astype(np.float32), nan=MISSING_VALUE)
    ivar = np.maximum(arrays["flux_ivar"].astype(np.float64), 0)
    present = ivar > 0
    signal_to_noise = np.arcsinh(arrays["flux"].astype(np.float64) * np.sqrt(ivar))
    transmission = np.maximum(arrays["mw_transmission"].astype(np.float64), 0.01)
    depth_mag = 22.5 + 2.5 * np.log10(np.sqrt(np.where(present, ivar, 1.0)) * transmission)
    errors = [np.where(present, values, MISSING_VALUE) for values in (signal_to_noise, depth_mag)]
    return np.concatenate([features, *errors, present], axis=1).astype(np.float32)


def _forest_class() -> Any:
    try:
        # Here and not above: scikit-learn is an optional extra.
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise ImportError(
            "the random forest needs scikit-learn, which is not installed: "
            "install the extra `baselines`"
        ) from error
    return RandomForestRegressor


class RandomForest:
    """Random forest from photometry to redshift."""

    def __init__(
        self,
        num_trees: int = 200,
        min_samples_leaf: int = 3,
        max_features: float = 0.4,
        seed: int = 0,
        num_threads: int = 1,
    ) -> None:
        self._forest = _forest_class()(
            n_estimators=num_trees,
            min_samples_leaf=min_samples_leaf,
            max_features=max_features,
            random_state=seed,
            n_jobs=num_threads,
        )

    def fit(self, arrays: Arrays, z_true: npt.ArrayLike) -> RandomForest:
        """Fit on training rows; the target is ln(1 + z), whose errors are dz / (1 + z)."""
        z = np.asarray(z_true, np.float64)
        matrix = photometry_matrix(arrays)
        if len(z) != len(matrix):
            raise ValueError(f"{len(z)} redshifts for {len(matrix)} rows: they must agree")
        self._forest.fit(matrix, np.log1p(z))
        return self

    def predict(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N,) redshift of every row."""
        matrix = photometry_matrix(arrays)
        if not len(matrix):
            return np.empty(0, np.float32)
        return np.asarray(np.expm1(self._forest.predict(matrix)), np.float32)

    def predict_trees(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """(N, number of trees) redshift of each tree, a crude sample of the posterior."""
        matrix = photometry_matrix(arrays)
        trees = self._forest.estimators_
        if not len(matrix):
            return np.empty((0, len(trees)), np.float32)
        columns = [np.expm1(tree.predict(matrix)) for tree in trees]
        return np.stack(columns, axis=1).astype(np.float32)
