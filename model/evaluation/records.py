"""Results as rows of JSON and CSV."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def as_row(record: DataclassInstance) -> dict[str, Any]:
    """The fields of a record by name, None where a number is NaN: JSON has none."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(record).items()
    }
