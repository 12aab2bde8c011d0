from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model.baselines import MISSING_VALUE
from model.metrics import normalised_error, sigma_nmad
from model.posterior import RedshiftGrid
from model.table import RIVALS, TableLayout, TableRows, predict_rival, rival_arrays
from model.table.rivals import rival_photometry
from model.table.rows import Units

Known = tuple[TableRows, npt.NDArray[np.float64]]


def test_magnitudes_reach_the_rivals_as_the_table_has_them() -> None:
    layout = TableLayout(("g", "r"), "r", ("size",))
    magnitude, error = np.array([[21.0, 33.1]]), np.array([[0.1, 900.0]])
    rows = TableRows.from_magnitudes(magnitude, error, [[np.nan]])
    arrays = rival_arrays(rows, layout, np.array([0.1, 0.1]))
    np.testing.assert_allclose(arrays["magnitude"], magnitude)
    np.testing.assert_allclose(arrays["magnitude_error"], error)
    assert rival_photometry(layout).matrix(arrays)[0, -1] == MISSING_VALUE


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_serves_a_table_of_fluxes(known: Known, name: str) -> None:
    rows, z = known
    units: Units = "nanomaggy"
    layout = TableLayout(("g", "r", "i", "z"), "r", ("size",), units)
    arrays = rival_arrays(rows, layout, np.full(4, 0.3))
    train, judged = (
        {key: values[part] for key, values in arrays.items()}
        for part in (slice(0, 1000), slice(1000, None))
    )
    grid = RedshiftGrid.log_uniform(0, 1.1, 100)
    found = predict_rival(name, layout, (train, z[:1000]), judged, grid, seed=0)
    assert sigma_nmad(normalised_error(found.z_phot, z[1000:])) < 0.1
    assert found.pdf.shape == (500, 100)
