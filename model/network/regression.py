"""A regression head's one number, as the posterior that the engine works with, and back.

The number is a place on the redshift grid in bins: 0 at its lower end, Z at its upper end. Its
posterior is a Gaussian over the bins around that place: in z on a grid of equal bins in z (as in
the source), in ln(1 + z) on the default grid. Its width is not predicted. It is WIDTH_FRACTION of
the grid times the square root of the temperature by which every posterior's logits are divided,
so that fitting the temperature on validation rows (`model.calibrate`) fits the width of their
residuals, by maximum likelihood. Nothing else of the engine knows that a network regresses.

Shapes: N objects, Z bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH_FRACTION = 1 / 40
"""Standard deviation of the Gaussian at temperature 1, in units of the whole grid: with
calibrate.TEMPERATURE_RANGE widths from 0.6 to 11 % of the grid can be fitted."""

PLACES_PER_UNIT = 200.0
"""Places per unit of the head's raw number. 1 / 0.005: on the source's grid from z = 0 the raw
number is the redshift itself, as there."""


def place_to_logits(place_N: Tensor, num_bins: int) -> Tensor:
    """(N, Z) logits of a Gaussian around a place, at temperature 1.

    Parameters
    ----------
    place_N
        (N,) places in bins; they may lie beyond the grid.
    num_bins
        Z, at least 2.
    """
    centres = torch.arange(num_bins, device=place_N.device, dtype=place_N.dtype) + 0.5
    deviation = (centres[None, :] - place_N[:, None]) / (WIDTH_FRACTION * num_bins)
    return -0.5 * deviation.square()


def logits_to_place(logits_NZ: Tensor) -> Tensor:
    """(N,) places in bins: the inverse of `place_to_logits`, with its gradient.

    A training loop thus calls `forward` alone, whatever the head. The logits of the Gaussian
    differ between the ends of the grid by a linear function of the place.
    """
    num_bins = logits_NZ.shape[1]
    rise = logits_NZ[:, -1] - logits_NZ[:, 0]
    return 0.5 * num_bins + (WIDTH_FRACTION * num_bins) ** 2 * rise / (num_bins - 1)
