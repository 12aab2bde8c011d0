from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.table import TableWeights, load_table_weights
from model.weights import WeightsError


def test_saved_and_read_is_the_same(weights: TableWeights, tmp_path: Path) -> None:
    weights.save(tmp_path)
    read = load_table_weights(tmp_path)
    assert read.digest == weights.digest
    assert read.layout == weights.layout
    assert read.reading == weights.reading
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.json", "table.safetensors"]


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / "table.json").read_text())
        change(content)
        (folder / "table.json").write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (edit(lambda c: c.update(format="other")), "format photoz-table-weights"),
        (edit(lambda c: c.update(format_version=9)), "format version 9"),
        (edit(lambda c: c.update(temperature=2.0)), "digest"),
        (edit(lambda c: c.pop("prior_art", c.pop("layout"))), "missing or unknown fields"),
        (lambda folder: (folder / "table.json").write_text("{"), "no JSON"),
        (lambda folder: (folder / "table.safetensors").write_bytes(b"x"), "digest"),
        (lambda folder: (folder / "table.safetensors").unlink(), "cannot read"),
    ],
)
def test_damaged_weights(
    weights: TableWeights, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    weights.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(WeightsError, match=said):
        load_table_weights(tmp_path)


def test_parts_that_do_not_belong_together(weights: TableWeights) -> None:
    with pytest.raises(WeightsError, match="network reads 3 features"):
        replace(weights, shape=replace(weights.shape, num_features=3))
    with pytest.raises(WeightsError, match="prior"):
        replace(weights, prior=np.ones(3) / 3)
    with pytest.raises(WeightsError, match="no member"):
        replace(weights, members=())
