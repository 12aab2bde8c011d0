"""Columns that every table format takes: numbers, truth values and text, one value a row."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from engine.config import UserError

_UNITS = {
    "RA": "deg",
    "DEC": "deg",
    "EBV": "mag",
    "FLUX": "nanomaggy",
    "FLUX_IVAR": "1/nanomaggy^2",
}
"""Column, or its name without the band -> unit, as in the survey's own tables."""


@dataclass(frozen=True)
class Kind:
    """What becomes of a column."""

    field: pa.Field
    """Its name and type in the answer."""
    type: pa.DataType
    """Type to write; lists of a fixed size stay what they are."""

    @property
    def width(self) -> int:
        """Values a row."""
        return self.type.list_size if pa.types.is_fixed_size_list(self.type) else 1


def plain_kinds(schema: pa.Schema, suffix: str) -> list[Kind]:
    """What a file of numbers and text holds of an answer.

    Raises
    ------
    UserError
        If a column holds lists of any length or records, which only Parquet takes.
    """
    return [Kind(field, _plain_type(field, suffix)) for field in schema]


def column_unit(name: str) -> str:
    """Unit of a column of the catalogue, empty if it has none."""
    return _UNITS.get(name) or _UNITS.get(name.rpartition("_")[0], "")


def _plain_type(field: pa.Field, suffix: str) -> pa.DataType:
    kind = field.type
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        return kind
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise UserError(
            f"--output {suffix}: column {field.name} holds {kind}, one value a row is expected; "
            "leave it out or write .parquet"
        )
    if pa.types.is_decimal(kind):  # Sums of integers.
        return pa.float64()
    if pa.types.is_int8(kind):  # FITS has none.
        return pa.int16()
    if pa.types.is_unsigned_integer(kind):  # Nor these.
        return pa.int64()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return kind
    return pa.string()  # Text; dates and times as text.
