from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.dataset import Split
from model.evaluation import Scores
from model.table import (
    FitConfig,
    MemberEpoch,
    TablePredictor,
    TableRows,
    TableWeights,
    fit_table,
    redshift_grid,
    split_by_row,
)
from model.table.fit import rows_per_step

Known = tuple[TableRows, npt.NDArray[np.float64]]


def held_out_scores(known: Known, split: Split, weights: TableWeights) -> Scores:
    found = TablePredictor(weights).predict(known[0].take(split.test), with_pdf=True)
    return Scores.of_pdf(found.pdf, weights.grid, known[1][split.test])


def test_it_learns(known: Known, split: Split, weights: TableWeights) -> None:
    scores = held_out_scores(known, split, weights)
    guess = np.median(known[1][split.train])
    nothing = Scores.of_points(np.full(len(split.test), guess), known[1][split.test])
    assert np.median(np.abs(scores.dz)) < 0.25 * np.median(np.abs(nothing.dz))


@pytest.mark.slow
def test_intervals_hold_what_they_promise(
    make: Callable[..., Known], weights: TableWeights
) -> None:
    rows, z = make(6000, seed=2)
    split = split_by_row(6000, 0, (0.5, 0.2, 0.3))
    config = replace(FitConfig(**weights.provenance["config"]), epochs=40)
    columns = held_out_scores(
        (rows, z), split, fit_table(rows, z, weights.layout, split, config)
    ).columns
    for level in (68, 95):
        inside = columns[f"inside_{level}"].mean()
        # 1,800 rows, and a temperature from 1,200 that is itself uncertain.
        assert abs(inside - level / 100) < 4 * np.sqrt(level / 100 * (1 - level / 100) / 1800)


def test_the_same_seed_gives_the_same_bytes_and_leaves_torch_alone(
    known: Known, split: Split, weights: TableWeights
) -> None:
    config = FitConfig(**{**weights.provenance["config"]})
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    again = fit_table(*known, weights.layout, split, config, weights.reading)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert again.digest == weights.digest
    short = replace(config, epochs=1)
    one = fit_table(*known, weights.layout, split, short)
    other = fit_table(*known, weights.layout, split, replace(short, seed=1))
    assert one.digest != other.digest


def test_held_out_rows_are_never_looked_at(
    known: Known, split: Split, weights: TableWeights
) -> None:
    config = replace(FitConfig(**weights.provenance["config"]), epochs=1)
    rows, z = known
    other_z = z.copy()
    other_z[split.test] = 0.5
    flux = rows.flux.copy()
    flux[split.test] *= 2
    changed = fit_table(replace(rows, flux=flux), other_z, weights.layout, split, config)
    assert changed.digest == fit_table(rows, z, weights.layout, split, config).digest


def test_every_epoch_of_every_member_is_reported(
    known: Known, split: Split, weights: TableWeights
) -> None:
    logs: list[MemberEpoch] = []
    config = replace(FitConfig(**weights.provenance["config"]), epochs=2)
    fit_table(*known, weights.layout, split, config, progress=logs.append)
    assert [(log.member, log.epoch) for log in logs] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_the_grid_covers_the_redshifts() -> None:
    z = np.array([0.1, 0.93])
    grid = redshift_grid(FitConfig(), z)
    assert grid.edges[0] == 0
    assert 0.93 < grid.edges[-1] < 1.2
    with pytest.raises(ValueError, match=r"largest known redshift is 0\.93"):
        redshift_grid(FitConfig(z_max=0.9), z)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"members": 0}, "members=0"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"crps_weight": -1.0}, "crps_weight=-1.0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FitConfig(**change)


def test_small_tables_take_smaller_steps() -> None:
    assert [rows_per_step(FitConfig(), n) for n in (100, 4000, 10**6)] == [32, 100, 512]


def test_unusable_redshifts(known: Known, split: Split, weights: TableWeights) -> None:
    z = known[1].copy()
    z[3] = np.nan
    with pytest.raises(ValueError, match="finite and not negative"):
        fit_table(known[0], z, weights.layout, split)
