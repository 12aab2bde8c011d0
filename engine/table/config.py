"""The TOML file of a table: which files, which columns, how to fit. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from engine.config import UserError
from model.table import FitConfig, TableLayout
from model.table.rows import Units


@dataclass(frozen=True)
class BandColumns:
    """Columns of one band."""

    name: str
    """Name of the band; those of a table in order of wavelength."""
    value: str
    """Column of the magnitude or flux."""
    error: str = ""
    """Column of its error, in the same units."""
    ivar: str = ""
    """Column of the inverse variance instead, for fluxes."""


@dataclass(frozen=True)
class Reading:
    """How rows are read from a table; kept with the weights."""

    bands: tuple[BandColumns, ...]
    units: str = "mag"
    """`mag` (AB) or `nanomaggy`, of values and errors."""
    missing: tuple[float, ...] = ()
    """Values that stand for none, for example -99; NaN always does."""
    extra: tuple[str, ...] = ()
    """Further columns that the network reads, for example an extinction or a size."""
    reference: str = ""
    """The band whose magnitude stands beside the colours; the middle one if not given."""

    @property
    def layout(self) -> TableLayout:
        """What the rows will have."""
        names = tuple(band.name for band in self.bands)
        reference = self.reference or names[len(names) // 2]
        units: Units = "mag" if self.units == "mag" else "nanomaggy"
        return TableLayout(names, reference, self.extra, units)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, each once."""
        of_bands = [name for b in self.bands for name in (b.value, b.error or b.ivar)]
        return tuple(dict.fromkeys([*of_bands, *self.extra]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        content = asdict(self)
        lists = {key: list(content[key]) for key in ("bands", "missing", "extra")}
        return {**content, **lists}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Reading:
        """What `to_dict` gave."""
        bands = tuple(BandColumns(**band) for band in content["bands"])
        lists = {key: tuple(content[key]) for key in ("missing", "extra")}
        return cls(**{**content, **lists, "bands": bands})


@dataclass(frozen=True)
class TableConfig:
    """What the user asks for."""

    files: tuple[Path, ...]
    """Tables of the same columns; their rows are put together."""
    redshift: str
    """Column of the known redshifts."""
    reading: Reading
    fit: FitConfig
    ra: str = ""
    """Column of the right ascension, degrees; with `dec` rows are split by sky."""
    dec: str = ""


def read_table_config(path: Path, **overrides: Any) -> TableConfig:
    """Read a TOML file; `overrides` replace entries of its [fit].

    Raises
    ------
    UserError
        If it cannot be read, a key is unknown (the nearest is named) or missing, or a value is
        of another kind or out of range.
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    table_keys: dict[str, Any] = {
        "files": (list, ["galaxies.csv"]),
        "redshift": (str, "Z"),
        "units": (str, "mag"),
        "reference": (str, "r"),
        "missing": (list, [-99.0]),
        "extra": (list, ["EBV"]),
        "ra": (str, "RA"),
        "dec": (str, "DEC"),
    }
    _check_keys(path, "", data, {"table": (dict, {}), "band": (list, []), "fit": (dict, {})})
    table, fit = data.get("table", {}), data.get("fit", {})
    _check_keys(path, "[table] ", table, table_keys, required=("files", "redshift"))
    _check_lists(path, table, {"files": str, "extra": str, "missing": float})
    reading = _reading(path, table, data.get("band", []))
    if ("ra" in table) != ("dec" in table):
        raise UserError(f"{path}: [table] names one of ra and dec; name both or none")
    _check_keys(
        path, "[fit] ", fit, {f.name: (type(f.default), f.default) for f in fields(FitConfig)}
    )
    try:
        fit_config = FitConfig(**{**fit, **overrides})
    except ValueError as error:
        raise UserError(f"{path}: [fit] {error}") from None
    files = tuple(path.parent / name for name in table["files"])
    return TableConfig(
        files, table["redshift"], reading, fit_config, table.get("ra", ""), table.get("dec", "")
    )


def _reading(path: Path, table: Mapping[str, Any], entries: list[Any]) -> Reading:
    keys = {f.name: (str, "r" if f.name == "name" else f"{f.name}_r") for f in fields(BandColumns)}
    bands = []
    for number, entry in enumerate(entries, start=1):
        where = f"[[band]] {number} "
        if not isinstance(entry, dict):
            raise UserError(f"{path}: band is no list of tables; write [[band]] before each")
        required = [f.name for f in fields(BandColumns) if f.default is MISSING]
        _check_keys(path, where, entry, keys, required)
        if ("error" in entry) == ("ivar" in entry):
            raise UserError(f"{path}: {where}needs one of error and ivar")
        bands.append(BandColumns(**entry))
    if not bands:
        raise UserError(f"{path}: no band; write [[band]] with name, value and error for each")
    units = table.get("units", "mag")
    if units not in get_args(Units):
        raise UserError(f"{path}: [table] units={units!r}; expected one of {get_args(Units)}")
    if units == "mag" and any(band.ivar for band in bands):
        raise UserError(f"{path}: ivar is for fluxes; units='mag' needs error")
    lists = {name: tuple(table.get(name, ())) for name in ("missing", "extra")}
    reading = Reading(tuple(bands), units, reference=table.get("reference", ""), **lists)
    try:
        reading.layout  # noqa: B018 - checks the names against each other.
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return reading


def _check_keys(
    path: Path,
    where: str,
    data: Any,
    known: Mapping[str, tuple[type, Any]],
    required: tuple[str, ...] | list[str] = (),
) -> None:
    """Every key known, every value of its kind, nothing missing."""
    if not isinstance(data, dict):
        raise UserError(f"{path}: {where}is {data!r}; expected a table of keys")
    for key, value in data.items():
        if key not in known:
            raise UserError(f"{path}: {where}unknown key {key!r}{nearest(key, list(known))}")
        kind, example = known[key]
        # A whole number will do where a fraction may stand; a truth value is no number.
        good = type(value) is kind or (kind is float and type(value) is int)
        if not good:
            raise UserError(f"{path}: {where}{key}={value!r}; expected a value such as {example!r}")
    for key in required:
        if not data.get(key):
            raise UserError(f"{path}: {where}{key} is missing or empty")


def _check_lists(path: Path, table: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for key, kind in kinds.items():
        for value in table.get(key, []):
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise UserError(f"{path}: [table] {key} holds {value!r}; expected {kind.__name__}")


def nearest(name: str, known: list[str]) -> str:
    """`, did you mean ...?` with the nearest known names, or all names where none is near."""
    wanted, lower = name.lower(), {key.lower(): key for key in known}
    # Z for Z_SPEC: letters in common say little about short names, a common beginning does.
    close = [key for key in lower if key.startswith(wanted) or wanted.startswith(key)]
    close += get_close_matches(wanted, list(lower), n=3, cutoff=0.5)
    near = [lower[key] for key in dict.fromkeys(close)][:3]
    if near:
        return f", did you mean {' or '.join(near)}?"
    shown = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    return f"; known: {shown}"
