"""`engine table` end to end on tables in all three formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet
import pytest
from astropy.table import Table

from model.table import load_table_weights

Columns = dict[str, npt.NDArray[Any]]
WriteConfig = Callable[..., Path]
Engine = Callable[..., str]


@pytest.mark.parametrize("suffix", [".csv", ".fits", ".parquet"])
def test_train_then_predict(
    engine: Engine, write_config: WriteConfig, columns: Columns, tmp_path: Path, suffix: str
) -> None:
    config = write_config(columns, suffix=suffix)
    report = json.loads(engine("table", "train", config, "--output", tmp_path / "w", "--json"))
    assert report["split"]["by"] == "row"
    assert report["rows"]["used"] == 900
    figure = {(row["method"], row["metric"]): row["value"] for row in report["methods"]}
    assert figure["network", "sigma_nmad"] < 0.08
    assert json.loads((tmp_path / "w" / "metrics.json").read_text()) == {
        key: value for key, value in report.items() if key != "weights"
    }
    source, output = tmp_path / f"galaxies{suffix}", tmp_path / f"out{suffix}"
    command = ("table", "predict", tmp_path / "w", source, "--output", output)
    said = json.loads(engine(*command, "--keep", "ID", "--keep", "NAME", "--json"))
    assert said["num_rows"] == 900
    found = read_back(output)
    np.testing.assert_array_equal(found["ID"], np.arange(900))
    assert str(found["NAME"][7]) == "J0007"
    assert np.median(np.abs(found["Z_PHOT_MEDIAN"] - columns["Z"])) < 0.1
    assert (found["Z_PHOT_L68"] <= found["Z_PHOT_U68"]).all()
    assert set(np.unique(found["Z_PHOT_BANDS"])) <= {2, 3, 4}
    first = output.read_bytes()
    engine(*command, "--keep", "ID", "--keep", "NAME")
    assert output.read_bytes() == first


def read_back(path: Path) -> Any:
    if path.suffix == ".parquet":
        return {k: np.array(v) for k, v in pyarrow.parquet.read_table(path).to_pydict().items()}
    return Table.read(path, format="fits" if path.suffix == ".fits" else "ascii.csv")


def test_the_same_command_gives_the_same_bytes(
    engine: Engine, write_config: WriteConfig, columns: Columns, tmp_path: Path
) -> None:
    config = write_config(columns, fit="seed = 5")
    for name in ("a", "b"):
        engine("table", "train", config, "--output", tmp_path / name, "--epochs", 2)
    for file in ("table.json", "table.safetensors", "metrics.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    engine("table", "train", config, "--output", tmp_path / "c", "--epochs", 2, "--seed", 6)
    seeds = [load_table_weights(tmp_path / n).provenance["config"]["seed"] for n in ("a", "c")]
    assert seeds == [5, 6]


@pytest.mark.slow
def test_the_baselines_stand_beside(
    engine: Engine, write_config: WriteConfig, columns: Columns, tmp_path: Path
) -> None:
    config = write_config(columns, table='ra = "RA"\ndec = "DEC"')
    text = engine("table", "train", config, "--output", tmp_path / "w", "--baselines")
    assert "by sky: no patch is in both" in text
    for method in ("random forest", "nearest neighbours", "boosted trees"):
        assert f"\n{method} " in text
        assert f"\nnetwork - {method} " in text
    report = json.loads((tmp_path / "w" / "metrics.json").read_text())
    assert {row["num_rows"] for row in report["methods"]} == {report["split"]["held_out"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "none.toml", "--output", "w"), "none.toml: cannot be read"),
        (("predict", "none", "t.csv", "--output", "o.parquet"), "cannot read none"),
        (("predict", "none", "t.csv", "--output", "o.txt"), "name a file that ends in .parquet"),
        (("predict", "none", "t.csv", "--output", "t.csv"), "is one of the tables to read"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = engine("table", *arguments, expect=2)
    assert said in text
    assert text.startswith("engine: ")
    assert text.count("\n") == 1


def test_a_table_without_the_columns_of_the_weights(
    engine: Engine, write_config: WriteConfig, columns: Columns, tmp_path: Path
) -> None:
    config = write_config(columns)
    engine("table", "train", config, "--output", tmp_path / "w", "--epochs", 1)
    (tmp_path / "other.csv").write_text("mag_g,MAGERR_G\n20,0.1\n")
    command = ("table", "predict", tmp_path / "w")
    text = engine(*command, tmp_path / "other.csv", "--output", tmp_path / "o.csv", expect=2)
    assert "no column 'MAG_G', did you mean mag_g" in text
    source = tmp_path / "galaxies.csv"
    keep = ("--output", tmp_path / "o.csv", "--keep", "Z_PHOT_MEAN")
    assert "no column 'Z_PHOT_MEAN'" in engine(*command, source, *keep, expect=2)


def test_too_few_patches_of_sky(
    engine: Engine, write_config: WriteConfig, columns: Columns, tmp_path: Path
) -> None:
    columns["RA"][:], columns["DEC"][:] = 10.0, 2.0
    config = write_config(columns, table='ra = "RA"\ndec = "DEC"')
    text = engine("table", "train", config, "--output", tmp_path / "w", expect=2)
    assert "leave out ra and dec to split by row" in text
