from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.config import UserError
from engine.table.config import read_table_config
from engine.table.reading import KnownRows, read_known_rows

Columns = dict[str, npt.NDArray[Any]]
WriteConfig = Callable[..., Path]


def known_of(path: Path) -> KnownRows:
    return read_known_rows(read_table_config(path))


@pytest.mark.parametrize("suffix", [".csv", ".fits", ".parquet"])
def test_every_format_gives_the_same_rows(
    write_config: WriteConfig, columns: Columns, suffix: str
) -> None:
    known = known_of(write_config(columns, suffix=suffix))
    expected = columns["MAG_R"] != -99
    np.testing.assert_array_equal(known.rows.present[:, 1], expected)
    flux = 10 ** (-0.4 * (columns["MAG_R"][expected] - 22.5))
    np.testing.assert_allclose(known.rows.flux[expected, 1], flux)
    np.testing.assert_allclose(known.z_true, columns["Z"])
    assert known.ra_deg is None


def test_every_row_left_out_is_counted(write_config: WriteConfig, columns: Columns) -> None:
    columns["Z"][[0, 1]] = np.nan, -99
    columns["Z"][2] = -0.001
    for band in "GRIZ":
        columns[f"MAG_{band}"][3] = 99
    columns["DEC"][4] = 95
    for values in columns.values():
        values[5] = values[6]
    known = known_of(write_config(columns, table='ra = "RA"\ndec = "DEC"'))
    assert known.drops == {
        "no redshift": 2,
        "negative redshift": 1,
        "no band measured": 1,
        "no position": 1,
        "repeats another row": 1,
    }
    assert known.num_read == 900 == len(known.z_true) + sum(known.drops.values())
    assert known.missing["r"] == int((~known.rows.present[:, 1]).sum())
    assert known.dec_deg is not None
    assert len(known.dec_deg) == 894


def test_rows_without_some_bands_repeat_too(write_config: WriteConfig, columns: Columns) -> None:
    columns["MAG_G"][6] = -99
    for values in columns.values():
        values[5] = values[6]
    assert known_of(write_config(columns)).drops["repeats another row"] == 1


def test_fill_values_are_rounded_as_the_column_is(
    write_config: WriteConfig, columns: Columns
) -> None:
    columns["MAG_R"] = np.full(900, 20, np.float32)
    columns["MAG_R"][:3] = -99.9
    columns["MAG_I"] = np.full(900, 21, np.int32)
    columns["MAG_I"][3] = -99
    path = write_config(columns, suffix=".fits")
    path.write_text(path.read_text().replace("[-99, 99]", "[-99.9, -99]"))
    missing = known_of(path).missing
    assert (missing["r"], missing["i"]) == (3, 1)


def test_fluxes_with_inverse_variances(tmp_path: Path, columns: Columns) -> None:
    flux = np.random.default_rng(0).normal(1, 2, 900)
    ivar = np.where(np.arange(900) % 10 == 0, 0.0, 4.0)
    write = {"F": flux, "IVAR": ivar, "Z": columns["Z"]}
    text = ["F,IVAR,Z", *(",".join(map(str, row)) for row in zip(*write.values(), strict=True))]
    (tmp_path / "f.csv").write_text("\n".join(text) + "\n")
    config = tmp_path / "f.toml"
    config.write_text(
        '[table]\nfiles = ["f.csv"]\nredshift = "Z"\nunits = "nanomaggy"\n'
        '[[band]]\nname = "g"\nvalue = "F"\nivar = "IVAR"\n'
    )
    known = known_of(config)
    assert known.drops["no band measured"] == 90
    np.testing.assert_allclose(known.rows.flux_error, 0.5)
    assert (known.rows.flux < 0).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Z": None, "Z_SPEC": np.linspace(0.1, 1, 900)}, "no column 'Z', did you mean"),
        ({"MAG_R": None}, "no column 'MAG_R', did you mean .*MAG_"),
        ({"MAG_R": np.full(900, "faint")}, "column 'MAG_R' holds text such as 'faint'"),
        ({"Z": np.full(900, 0.5)}, r"column 'Z' has one value only \(0.5\)"),
        ({"Z": np.where(np.arange(900) < 150, 0.3, -1)}, "150 usable rows, at least 200.*750 neg"),
        ({"Z": np.full(900, np.nan)}, "0 usable rows.*900 no redshift"),
    ],
)
def test_tables_that_cannot_be_used(
    write_config: WriteConfig, columns: Columns, change: dict[str, Any], said: str
) -> None:
    changed = {k: v for k, v in {**columns, **change}.items() if v is not None}
    with pytest.raises(UserError, match=said) as caught:
        known_of(write_config(changed))
    assert "galaxies.csv" in str(caught.value)
