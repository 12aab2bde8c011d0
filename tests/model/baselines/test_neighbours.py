"""Neighbours and their regression against scikit-learn; missing bands; rows left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.baselines import NearestNeighboursLinear, table_photometry
from model.posterior import RedshiftGrid

BANDS = ("u", "g", "r", "i", "z")
PHOTOMETRY = table_photometry(BANDS)
GRID = RedshiftGrid.uniform(0.0, 1.2, width=0.01)


def table(num_rows: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Magnitudes that depend on redshift, with noise."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.05, 1.0, num_rows)
    colours = np.cumsum(np.sin(2.5 * z[:, None] - 0.4 * np.arange(5)), axis=1)
    brightness = rng.uniform(17, 21, num_rows)[:, None]
    magnitude = brightness + colours + rng.normal(scale=0.02, size=(num_rows, 5))
    return {"magnitude": magnitude, "magnitude_error": np.full((num_rows, 5), 0.02)}, z


def test_equals_scikit_learn_row_by_row() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors", reason="needs the extra `baselines`")
    linear = pytest.importorskip("sklearn.linear_model")
    (train, z_train), (fresh, _) = table(500, 1), table(30, 2)

    def coordinates(magnitude: np.ndarray) -> np.ndarray:
        return np.column_stack([magnitude[:, 2], magnitude[:, :-1] - magnitude[:, 1:]])

    scale = coordinates(train["magnitude"]).std(axis=0)
    points, asked = (coordinates(t["magnitude"]) / scale for t in (train, fresh))
    nearest = neighbors.NearestNeighbors(n_neighbors=40).fit(points).kneighbors(asked)[1]
    expected, errors = [], []
    for row, rows in zip(asked, nearest, strict=True):
        kept = rows
        for _ in range(2):
            line = linear.LinearRegression().fit(points[kept], z_train[kept])
            residual = z_train[kept] - line.predict(points[kept])
            rms = np.sqrt(np.mean(residual**2))
            last, kept = kept, kept[np.abs(residual) <= 3 * rms]
        assert set(kept) <= set(last)
        value = line.predict(row[None])[0]
        expected.append(np.clip(value, z_train[rows].min(), z_train[rows].max()))
        errors.append(rms)
    method = NearestNeighboursLinear(num_neighbours=40, photometry=PHOTOMETRY)
    z, error = method.fit(train, z_train).predict_with_error(fresh)
    assert np.allclose(z, expected, atol=1e-6)
    assert np.allclose(error, errors, atol=1e-6)


def test_a_missing_band_is_left_out_of_the_comparison() -> None:
    (train, z_train), (fresh, _) = table(500, 1), table(20, 2)
    without = fresh["magnitude"].copy()
    without[:, 3] = np.nan
    method = NearestNeighboursLinear(num_neighbours=40, photometry=PHOTOMETRY).fit(train, z_train)
    found = method.predict({**fresh, "magnitude": without})
    # The same as if nobody had ever seen that band.
    four = NearestNeighboursLinear(
        num_neighbours=40, photometry=table_photometry(("u", "g", "r", "z"))
    )
    four.fit({"magnitude": np.delete(train["magnitude"], 3, axis=1)}, z_train)
    expected = four.predict({"magnitude": np.delete(fresh["magnitude"], 3, axis=1)})
    assert np.allclose(found, expected, atol=1e-6)


def test_a_band_that_few_training_rows_have_is_given_up() -> None:
    (train, z_train), (fresh, _) = table(500, 1), table(20, 2)
    scarce = train["magnitude"].copy()
    scarce[30:, 0] = np.nan
    method = NearestNeighboursLinear(num_neighbours=40, photometry=PHOTOMETRY)
    method.fit({**train, "magnitude": scarce}, z_train)
    without = fresh["magnitude"].copy()
    without[:, 0] = np.nan
    expected = method.predict({**fresh, "magnitude": without})
    assert np.array_equal(method.predict(fresh), expected)


def test_no_band_gives_the_training_set() -> None:
    (train, z_train), (fresh, _) = table(2000, 1), table(3, 2)
    method = NearestNeighboursLinear(photometry=PHOTOMETRY).fit(train, z_train, GRID)
    nothing = {**fresh, "magnitude": np.full((3, 5), np.nan)}
    z, error = method.predict_with_error(nothing)
    assert np.allclose(z, np.median(z_train))
    assert np.allclose(error, z_train.std())
    pdf = method.predict_pdf(nothing)
    mean, std = pdf @ GRID.centres, np.sqrt(pdf @ GRID.centres**2 - (pdf @ GRID.centres) ** 2)
    assert np.allclose(mean, z_train.mean(), atol=0.02)
    assert np.allclose(std, z_train.std(), rtol=0.15)


def test_a_training_row_is_not_its_own_neighbour() -> None:
    train, z_train = table(200, 1)
    method = NearestNeighboursLinear(num_neighbours=20, photometry=PHOTOMETRY).fit(train, z_train)
    rows = np.arange(0, 200, 10)
    left_out = method._estimate(train["magnitude"][rows], left_out=rows)[0]
    for row, value in zip(rows, left_out, strict=True):
        others = np.delete(np.arange(200), row)
        alone = NearestNeighboursLinear(num_neighbours=20, photometry=PHOTOMETRY)
        alone.fit({"magnitude": train["magnitude"][others]}, z_train[others])
        # The scale of the coordinates follows from one row fewer.
        assert alone.predict({"magnitude": train["magnitude"][[row]]})[0] == pytest.approx(
            value, abs=0.02
        )


def test_too_few_rows_or_neighbours_are_refused() -> None:
    train, z_train = table(30, 1)
    with pytest.raises(ValueError, match="30 training rows for num_neighbours=40"):
        NearestNeighboursLinear(num_neighbours=40, photometry=PHOTOMETRY).fit(train, z_train)
    with pytest.raises(ValueError, match="at least 7"):
        NearestNeighboursLinear(num_neighbours=6, photometry=PHOTOMETRY)
