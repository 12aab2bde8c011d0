"""The mean of the members' posteriors, kept as a logarithm so that a temperature can act on it.

Shapes: N rows, Z bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.calibrate import softmax

_TINIEST = np.finfo(np.float64).tiny


def log_mean(logits: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float64]:
    """(N, Z) ln of the mean of the members' probabilities, from the logits (N, Z) of each.

    A temperature then divides it as it divides logits: softmax(log_mean / T).
    """
    total = softmax(logits[0])
    for other in logits[1:]:
        total += softmax(other)
    # A probability that underflowed is next to none, not none: its logarithm stays finite.
    return np.asarray(np.log(np.maximum(total / len(logits), _TINIEST)))
