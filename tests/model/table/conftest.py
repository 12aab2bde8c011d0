"""A small synthetic table: a step in the spectrum that moves through four bands with redshift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from model.dataset import Split
from model.table import (
    FitConfig,
    TableLayout,
    TableRows,
    TableWeights,
    fit_table,
    split_by_row,
)

LAYOUT = TableLayout(("g", "r", "i", "z"), "r", ("size",))
QUICK = FitConfig(members=2, epochs=20, width=64, num_layers=2, batch_size=128)


def make_rows(num_rows: int, seed: int = 0) -> tuple[TableRows, npt.NDArray[np.float64]]:
    """Rows and their redshifts; one in twenty lacks a band."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.05, 1.0, num_rows)
    step = 1 / (1 + np.exp(-(np.array([0.1, 0.4, 0.7, 1.0]) - z[:, None]) / 0.15))
    flux = 10 ** (-0.4 * (rng.uniform(18, 20, num_rows) - 22.5))[:, None] * (0.2 + step)
    # An error that followed the true flux would tell it.
    error = np.full_like(flux, 1.0)
    flux = flux + error * rng.standard_normal(flux.shape)
    lost = rng.random(flux.shape) < 0.05 / 4
    size = rng.uniform(0.5, 2, (num_rows, 1))
    return TableRows.from_fluxes(np.where(lost, np.nan, flux), error, size), z


@pytest.fixture(scope="session")
def make() -> Callable[..., tuple[TableRows, npt.NDArray[np.float64]]]:
    """make(num_rows, seed) -> rows, redshifts."""
    return make_rows


@pytest.fixture(scope="session")
def known() -> tuple[TableRows, npt.NDArray[np.float64]]:
    """1,500 rows and their redshifts."""
    return make_rows(1500)


@pytest.fixture(scope="session")
def split() -> Split:
    """Of these rows."""
    return split_by_row(1500, 0, (0.6, 0.1, 0.3))


@pytest.fixture(scope="session")
def weights(known: tuple[TableRows, npt.NDArray[np.float64]], split: Split) -> TableWeights:
    """A quick fit on the training rows; read only."""
    return fit_table(*known, LAYOUT, split, QUICK, reading={"units": "nanomaggy"})
