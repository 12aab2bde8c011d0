"""The split of a table without positions; one with positions is split by sky, as images are."""

from __future__ import annotations

import numpy as np

from model.dataset import Split


def split_by_row(num_rows: int, seed: int, fractions: tuple[float, float, float]) -> Split:
    """Every row by itself, at random.

    Neighbours on the sky, which share exposures and structure, may then be in both parts: a test
    on them is a little too kind. `model.dataset.split_by_sky` has no such flaw.

    Parameters
    ----------
    fractions
        Shares of train, validation and test; they sum to 1.

    Raises
    ------
    ValueError
        If they do not sum to 1, or one is negative.
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise ValueError(f"fractions {fractions} sum to {sum(fractions)}, expected 1")
    order = np.random.default_rng(seed).permutation(num_rows).astype(np.int64)
    num_test = round(fractions[2] * num_rows)
    num_validation = round(fractions[1] * num_rows)
    test, validation, train = np.split(order, [num_test, num_test + num_validation])
    return Split(*(np.sort(part) for part in (train, validation, test)))
