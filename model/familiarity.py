"""How far a source lies from what a network was trained on, in the network's own terms.

The range of each feature (dataset.outside_range) sees one number at a time and no pixel. The
embedding, what the network's encoders make of image and photometry, has a distribution over the
training rows; a Gaussian of K axes and an isotropic rest describes it (probabilistic PCA), and the
distance to its centre in units of that Gaussian says how unusual a source is to this network.

It is the encoders' and not the last layer's vector, whose few directions serve the redshift alone:
there, and along the widest axes only, a saturated image looks like any other (model/LOG.md).

Shapes: N objects, D numbers of an embedding, K axes.

References
----------
* Probabilistic PCA: Tipping & Bishop 1999, J. R. Stat. Soc. B 61, 611, section 3.3.
* Distance in a network's embedding against unknown inputs: Lee et al. 2018, arXiv:1807.03888.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MAX_AXES = 384
"""Axes kept. What is odd about an image shows along narrow axes: 256 find a saturated centre, and
384 of the default network's 576, all that have any variance, also an empty stamp."""

FAR_FRACTION = 0.001
"""Share of held-out rows that the threshold calls far."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The training rows' embeddings as a Gaussian; part of the weights."""

    centre: npt.NDArray[np.float32]
    """(D,) mean."""
    axes: npt.NDArray[np.float32]
    """(D, K) unit vectors of the largest variance."""
    variance: npt.NDArray[np.float32]
    """(K,) variance along them, decreasing."""
    rest_variance: npt.NDArray[np.float32]
    """() variance along each of the other D - K directions; positive."""
    threshold: npt.NDArray[np.float32]
    """() distance beyond which a source is far from the training set."""

    def __post_init__(self) -> None:
        (num_numbers,), (num_axes,) = self.centre.shape, self.variance.shape
        if self.axes.shape != (num_numbers, num_axes):
            raise ValueError(
                f"axes have shape {self.axes.shape}, expected {(num_numbers, num_axes)}"
            )
        if not (self.variance > 0).all() or not self.rest_variance > 0:
            raise ValueError("variances of the embedding must be positive")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(field.name for field in fields(cls))

    def distance(self, embedding_ND: Tensor) -> Tensor:
        """(N,) Mahalanobis distance to the training set, per square root of D: 1 is typical."""
        device = embedding_ND.device
        centre, axes, variance = (
            torch.from_numpy(values).to(device)
            for values in (self.centre, self.axes, self.variance)
        )
        offset = embedding_ND.to(torch.float32) - centre
        along = offset @ axes
        # Rounding may leave the square of the rest just below zero.
        rest = (offset.square().sum(dim=1) - along.square().sum(dim=1)).clamp(min=0)
        total = (along.square() / variance).sum(dim=1) + rest / float(self.rest_variance)
        return (total / len(self.centre)).sqrt()

    def is_far(self, embedding_ND: Tensor) -> Tensor:
        """(N,) bool, whether a source lies beyond the threshold; NaN does."""
        return ~(self.distance(embedding_ND) <= float(self.threshold))


def fit_familiarity(
    embedding_ND: npt.NDArray[np.floating], held_out_MD: npt.NDArray[np.floating]
) -> Familiarity:
    """Describe the embeddings of training rows, and draw the line by held-out rows.

    Parameters
    ----------
    embedding_ND
        Embeddings of rows that the network was trained on.
    held_out_MD
        Embeddings of rows that it was not: FAR_FRACTION of them lie beyond the threshold.

    Raises
    ------
    ValueError
        Without rows.
    """
    if not len(embedding_ND) or not len(held_out_MD):
        raise ValueError(f"{len(embedding_ND)} and {len(held_out_MD)} embeddings: need at least 1")
    values = np.asarray(embedding_ND, np.float64)
    centre = values.mean(axis=0)
    covariance = (values - centre).T @ (values - centre) / len(values)
    variance, axes = np.linalg.eigh(covariance)
    # Units that are always 0 have no variance; the floor keeps the distance finite.
    floor = max(1e-6 * float(variance.sum()) / len(variance), 1e-12)
    variance, axes = np.maximum(variance[::-1], floor), axes[:, ::-1]
    kept = min(MAX_AXES, len(variance) - 1) if len(variance) > 1 else 1
    rest = float(variance[kept:].mean()) if kept < len(variance) else floor
    fitted = Familiarity(
        centre.astype(np.float32),
        np.ascontiguousarray(axes[:, :kept], np.float32),
        variance[:kept].astype(np.float32),
        np.array(max(rest, floor), np.float32),
        np.array(np.inf, np.float32),
    )
    held_out = torch.from_numpy(np.asarray(held_out_MD, np.float32))
    distances = fitted.distance(held_out).numpy()
    threshold = np.quantile(distances.astype(np.float64), 1 - FAR_FRACTION)
    return replace(fitted, threshold=np.array(threshold, np.float32))
