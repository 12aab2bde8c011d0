"""What training minimises: cross-entropy of the redshift bins, and the CRPS beside it.

For a regression head: the root of the mean squared error, as in the source.

The target is spread over neighbouring bins by a small Gaussian. The CRPS, unlike the
cross-entropy, knows that bins are ordered.

Shapes: N objects, Z bins.

References
----------
* CRPS: Gneiting & Raftery 2007, JASA 102, 359.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spread_target(z_N: Tensor, edges: Tensor, smoothing: float) -> Tensor:
    """(N, Z) target probabilities: a Gaussian of sigma smoothing (1 + z), or the true bin.

    What falls beyond the ends of the grid is given to its first and last bin.
    """
    if smoothing <= 0:
        k = (torch.searchsorted(edges, z_N, right=True) - 1).clamp(0, len(edges) - 2)
        return torch.nn.functional.one_hot(k, len(edges) - 1).to(torch.float32)
    sigma = smoothing * (1 + z_N[:, None])
    cdf = torch.special.ndtr((edges[None, :] - z_N[:, None]) / sigma)
    cdf[:, 0], cdf[:, -1] = 0.0, 1.0
    target: Tensor = cdf.diff(dim=1).to(torch.float32)
    return target


def posterior_loss(
    logits_NZ: Tensor,
    z_N: Tensor,
    edges: Tensor,
    smoothing: float,
    crps_weight: float,
    weight_N: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy plus `crps_weight` times the mean CRPS in z / (1 + z), rows weighted."""
    logits = logits_NZ.to(torch.float32)
    target = spread_target(z_N, edges, smoothing)
    log_p = torch.log_softmax(logits, dim=1)
    loss = -(target * log_p).sum(dim=1)
    if crps_weight > 0:
        gap = log_p.exp().cumsum(dim=1) - target.cumsum(dim=1)
        crps = (gap.square() * edges.diff().to(torch.float32)).sum(dim=1)
        loss = loss + crps_weight * crps / (1 + z_N).to(torch.float32)
    return loss.mean() if weight_N is None else (loss * weight_N).mean()


def mean_square_error(place_N: Tensor, z_N: Tensor, edges: Tensor) -> Tensor:
    """Mean squared error of the redshifts at some places of a grid.

    Parameters
    ----------
    place_N
        (N,) places in bins, 0 at the lower end of the grid and Z at its upper, possibly beyond:
        `model.network.logits_to_place(logits)`.
    z_N
        (N,) true redshifts.
    edges
        (Z + 1,) bin edges.
    """
    edges = edges.to(torch.float32)
    # Beyond its ends the grid goes on with its last bin's width: a clamp would stop the gradient.
    below = place_N.detach().floor().long().clamp(0, len(edges) - 2)
    z = edges[below] + (place_N.to(torch.float32) - below) * edges.diff()[below]
    error = z - z_N.to(torch.float32)
    return error.square().mean()


def root_loss(mean_square: Tensor) -> Tensor:
    """Root of a mean squared error.

    References
    ----------
    The regression head of Wei et al. 2025: torch.sqrt(MSELoss) in its public code.
    """
    # The root has no gradient at 0; a thousandth of a bin of the source is far below its errors.
    return (mean_square + 2.5e-11).sqrt()


def root_mean_square_loss(place_N: Tensor, z_N: Tensor, edges: Tensor) -> Tensor:
    """Root of the `mean_square_error`."""
    return root_loss(mean_square_error(place_N, z_N, edges))
