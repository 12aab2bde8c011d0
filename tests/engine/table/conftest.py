"""A small table on disk as CSV, FITS and Parquet, and the TOML that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.table import Table

BANDS = ("g", "r", "i", "z")

Columns = dict[str, npt.NDArray[Any]]
WriteConfig = Callable[..., Path]


def make_columns(num_rows: int = 900, seed: int = 0) -> Columns:
    """Magnitudes of a step in the spectrum that moves through the bands with redshift."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.05, 1.0, num_rows)
    step = 1 / (1 + np.exp(-(np.array([0.1, 0.4, 0.7, 1.0]) - z[:, None]) / 0.15))
    magnitude = rng.uniform(18, 20, num_rows)[:, None] - 2.5 * np.log10(0.2 + step)
    magnitude += 0.03 * rng.standard_normal(magnitude.shape)
    magnitude[rng.random(magnitude.shape) < 0.02] = -99
    columns: Columns = {
        "ID": np.arange(num_rows),
        "NAME": np.char.mod("J%04d", np.arange(num_rows)),
    }
    for b, band in enumerate(BANDS):
        columns[f"MAG_{band.upper()}"] = magnitude[:, b]
        columns[f"MAGERR_{band.upper()}"] = np.full(num_rows, 0.03)
    columns |= {"Z": z, "RA": rng.uniform(10, 13, num_rows), "DEC": rng.uniform(-1, 1, num_rows)}
    return columns


def write_columns(path: Path, columns: Columns) -> Path:
    """By the name's ending."""
    if path.suffix == ".fits":
        Table(columns).write(path, overwrite=True)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def columns() -> Columns:
    """900 rows, 2 % of the magnitudes missing (-99)."""
    return make_columns()


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    """write_config(columns, table=..., fit=..., suffix=...) -> the TOML beside the table."""

    def write(
        columns: Columns, table: str = "", fit: str = "", suffix: str = ".csv", band: str = ""
    ) -> Path:
        write_columns(tmp_path / f"galaxies{suffix}", columns)
        bands = "".join(
            f'[[band]]\nname = "{b}"\nvalue = "MAG_{b.upper()}"\nerror = "MAGERR_{b.upper()}"\n'
            for b in BANDS
        )
        path = tmp_path / "galaxies.toml"
        path.write_text(
            f'[table]\nfiles = ["galaxies{suffix}"]\nredshift = "Z"\nmissing = [-99, 99]\n'
            f'reference = "r"\n{table}\n{bands}{band}\n'
            f"[fit]\nmembers = 2\nepochs = 10\nwidth = 32\nnum_layers = 2\n{fit}\n"
        )
        return path

    return write
