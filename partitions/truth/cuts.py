"""Quality cuts as data: a column, the name of a test, a value. Nothing is ever executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

_TRUE_WORDS = ("T", "TRUE", "1", "Y", "YES")

# NaN passes none of these, so a row whose quality is unknown is never kept.
_TESTS: dict[str, Callable[[Column, Any], Any]] = {
    "equals": lambda values, wanted: values == wanted,
    "one_of": lambda values, wanted: np.isin(values, wanted),
    "at_least": lambda values, limit: values >= limit,
    "at_most": lambda values, limit: values <= limit,
    "above": lambda values, limit: values > limit,
    "below": lambda values, limit: values < limit,
    "between": lambda values, limits: (values >= limits[0]) & (values <= limits[1]),
    "whole_part_in": lambda values, wanted: np.isin(np.floor(values), wanted),
}

_PHRASES = {
    "equals": "{column} = {value}",
    "one_of": "{column} in {value}",
    "at_least": "{column} >= {value}",
    "at_most": "{column} <= {value}",
    "above": "{column} > {value}",
    "below": "{column} < {value}",
    "between": "{low} <= {column} <= {high}",
    "whole_part_in": "whole part of {column} in {value}",
}


@dataclass(frozen=True)
class Cut:
    """One condition that a row must meet."""

    columns: tuple[str, ...]
    """Accepted names of the column, best first."""
    test: str
    """Name of the test, a key of the table above."""
    value: Any
    """What the column is compared with: a number, a text, a truth value or a list of numbers."""
    optional: bool = False
    """Whether a file without the column is taken as it is."""

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Cut:
        """A cut from its entry in the table of surveys.

        Raises
        ------
        ValueError
            If the entry names no test, several, or an unknown one.
        """
        tests = entry.keys() - {"columns", "optional"}
        if len(tests) != 1 or not tests <= _TESTS.keys():
            raise ValueError(f"cut {dict(entry)}: needs exactly one of {', '.join(_TESTS)}")
        (test,) = tests
        return cls(tuple(entry["columns"]), test, entry[test], bool(entry.get("optional", False)))

    def passes(self, values: Column) -> npt.NDArray[np.bool_]:
        """(N,) whether each value of the column, as read from a file, meets the condition."""
        comparable: Column
        if isinstance(self.value, bool):
            comparable = to_bool(values)
        elif isinstance(self.value, str):
            return np.asarray(to_text(values) == self.value.upper())
        else:
            comparable = to_float(values)
        return np.asarray(_TESTS[self.test](comparable, self.value), dtype=np.bool_)

    def __str__(self) -> str:
        value, low, high = self.value, None, None
        if isinstance(value, list):
            low, high = value[0], value[-1]
            value = ", ".join(str(item) for item in value)
        return _PHRASES[self.test].format(column=self.columns[0], value=value, low=low, high=high)


def to_float(values: Column) -> npt.NDArray[np.float64]:
    """(N,) float64; what is no number becomes NaN."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    text = np.char.strip(values.astype(str))
    try:
        return text.astype(np.float64)
    except ValueError:
        return np.array([_number(word) for word in text.tolist()], dtype=np.float64)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def to_text(values: Column) -> npt.NDArray[np.str_]:
    """(N,) text without padding, upper case."""
    return np.char.upper(np.char.strip(values.astype(str)))


def to_bool(values: Column) -> npt.NDArray[np.bool_]:
    """(N,) truth values from logical columns, numbers, or words such as t, True, 1."""
    if values.dtype.kind in "biu":
        return values.astype(np.bool_)
    if values.dtype.kind == "f":
        return np.asarray(values == 1)
    return np.isin(to_text(values), _TRUE_WORDS)
