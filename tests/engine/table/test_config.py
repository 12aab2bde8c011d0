from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import UserError
from engine.table.config import BandColumns, Reading, read_table_config

GOOD = """
[table]
files = ["a.csv", "b.csv"]
redshift = "Z"
missing = [-99, 99.0]
extra = ["EBV"]
[[band]]
name = "g"
value = "MAG_G"
error = "MAGERR_G"
[[band]]
name = "r"
value = "MAG_R"
error = "MAGERR_R"
[fit]
seed = 3
dropout = 0
"""


def config_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.toml"
    path.write_text(text)
    return path


def test_what_is_read(tmp_path: Path) -> None:
    config = read_table_config(config_of(tmp_path, GOOD), epochs=7)
    assert config.files == (tmp_path / "a.csv", tmp_path / "b.csv")
    assert config.reading.bands[1] == BandColumns("r", "MAG_R", "MAGERR_R")
    assert config.reading.columns == ("MAG_G", "MAGERR_G", "MAG_R", "MAGERR_R", "EBV")
    assert config.reading.layout.reference == "r"
    assert (config.fit.seed, config.fit.epochs, config.fit.dropout) == (3, 7, 0)


def test_the_reading_survives_json(tmp_path: Path) -> None:
    reading = replace(read_table_config(config_of(tmp_path, GOOD)).reading, units="nanomaggy")
    assert Reading.from_dict(reading.to_dict()) == reading


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replaced("redshift =", "redshfit ="), "unknown key 'redshfit', did you mean redshift"),
        (replaced("[fit]", "[fits]"), "unknown key 'fits', did you mean fit"),
        (replaced("seed = 3", "sead = 3"), r"\[fit\] unknown key 'sead', did you mean seed"),
        (replaced("seed = 3", 'seed = "3"'), "seed='3'; expected a value such as 0"),
        (replaced("seed = 3", "seed = true"), "seed=True"),
        (replaced("seed = 3", "seed = -1"), "seed=-1: expected 0 or more"),
        (replaced("seed = 3", "held_out = 1.5"), "held_out=1.5"),
        (replaced('error = "MAGERR_R"', ""), r"\[\[band\]\] 2 needs one of error and ivar"),
        (replaced('error = "MAGERR_R"', 'ivar = "IVAR_R"'), "ivar is for fluxes"),
        (replaced('name = "r"', 'name = "g"'), "each once"),
        (replaced('name = "r"', ""), r"\[\[band\]\] 2 name is missing"),
        (replaced("[-99, 99.0]", '["-99"]'), "missing holds '-99'"),
        (replaced('redshift = "Z"', 'redshift = "Z"\nunits = "Jy"'), "units='Jy'"),
        (replaced('redshift = "Z"', 'redshift = "Z"\nreference = "u"'), "'u' is none of"),
        (replaced('redshift = "Z"', 'redshift = "Z"\nra = "RA"'), "one of ra and dec"),
        (replaced('["a.csv", "b.csv"]', "[]"), "files is missing or empty"),
        (lambda _text: "[table", "cannot be read"),
        (lambda text: text.split("[[band]]")[0], "no band"),
        (lambda _text: "table = 3", "table=3"),
    ],
)
def test_errors(tmp_path: Path, change: Callable[[str], str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_table_config(config_of(tmp_path, change(GOOD)))
    assert "table.toml" in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_table_config(tmp_path / "none.toml")
