"""A table's rows -> weights, judged on held-out rows beside the baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import UserError
from engine.table.config import TableConfig
from engine.table.reading import KnownRows
from model.dataset import Split, split_by_sky
from model.evaluation import Record, Scores, as_row, compare, evaluate
from model.posterior import summarise
from model.table import (
    RIVALS,
    MemberEpoch,
    TablePredictor,
    TableWeights,
    fit_table,
    predict_rival,
    rival_arrays,
    safe_redshift,
    split_by_row,
)

NETWORK = "network"


@dataclass(frozen=True, eq=False)
class TableFit:
    """Weights, and how good they are on rows that nothing was fitted on."""

    weights: TableWeights
    known: KnownRows
    split: Split
    records: list[Record]
    """Every method with its own point estimate, every metric."""
    differences: list[Record]
    """The network minus each baseline, on the same rows resampled alike."""

    def report(self) -> dict[str, Any]:
        """As JSON takes it."""
        known = self.known
        return {
            "digest": self.weights.digest,
            "rows": {"read": known.num_read, "used": len(known.z_true), **known.drops},
            "missing": known.missing,
            "split": {
                "by": "row" if known.ra_deg is None else "sky",
                "training": len(self.split.train),
                "validation": len(self.split.validation),
                "held_out": len(self.split.test),
            },
            "temperature": self.weights.temperature,
            "methods": [as_row(record) for record in self.records],
            "differences": [as_row(record) for record in self.differences],
        }


def split_known_rows(known: KnownRows, config: TableConfig) -> Split:
    """By sky where there are positions, else by row.

    Raises
    ------
    UserError
        If there are too few patches of sky.
    """
    fit = config.fit
    if known.ra_deg is None or known.dec_deg is None:
        return split_by_row(len(known.rows), fit.seed, fit.fractions)
    try:
        return split_by_sky(known.ra_deg, known.dec_deg, fit.seed, fit.fractions)
    except ValueError as error:
        raise UserError(f"{error}; leave out ra and dec to split by row") from None


def train_table(
    known: KnownRows,
    config: TableConfig,
    baselines: bool = False,
    progress: Callable[[MemberEpoch], None] | None = None,
    on_baseline: Callable[[str], None] | None = None,
) -> TableFit:
    """Split, fit, judge.

    Raises
    ------
    UserError
        If the rows cannot be split or fitted, or a baseline needs what is not installed.
    """
    split = split_known_rows(known, config)
    layout = config.reading.layout
    try:
        weights = fit_table(
            known.rows, known.z_true, layout, split, config.fit, config.reading.to_dict(), progress
        )
    except (ValueError, FloatingPointError) as error:
        raise UserError(f"train on {len(split.train):,} rows: {error}") from None
    held, z_held = known.rows.take(split.test), known.z_true[split.test]
    found = TablePredictor(weights).predict(held, with_pdf=True)
    assert found.pdf is not None
    ours = Scores.of_pdf(found.pdf, weights.grid, z_held, found.summary["safe"])
    scores = {
        NETWORK: ours,
        f"{NETWORK}, median": Scores.of_pdf(found.pdf, weights.grid, z_held),
    }
    if baselines:
        scores |= _judge_baselines(known, split, weights, config.fit.seed, on_baseline)
    records = [r for name, s in scores.items() for r in evaluate(s, method=name)]
    differences = [
        r
        for name, s in scores.items()
        if not name.startswith(NETWORK)
        for r in compare(ours, s, method=f"{NETWORK} - {name}")
    ]
    return TableFit(weights, known, split, records, differences)


def _judge_baselines(
    known: KnownRows,
    split: Split,
    weights: TableWeights,
    seed: int,
    on_baseline: Callable[[str], None] | None,
) -> dict[str, Scores]:
    """Each with its own point estimate, and with the network's rule for its posterior."""
    layout, grid = weights.layout, weights.grid
    arrays = rival_arrays(known.rows, layout, weights.standardisation.softening)
    # They need no validation rows: what the network validates on, they learn from.
    training, held = np.sort(np.concatenate([split.train, split.validation])), split.test
    learnt = {name: values[training] for name, values in arrays.items()}
    judged = {name: values[held] for name, values in arrays.items()}
    z_held = known.z_true[held]
    scores = {}
    for name in RIVALS:
        if on_baseline is not None:
            on_baseline(name)
        try:
            found = predict_rival(
                name, layout, (learnt, known.z_true[training]), judged, grid, seed
            )
        except (ImportError, ValueError) as error:
            raise UserError(f"--baselines: {name}: {error}") from None
        median = summarise(found.pdf, grid, ())["median"]
        safe = safe_redshift(found.pdf, grid, median)
        scores[name] = Scores.of_pdf(found.pdf, grid, z_held, np.asarray(found.z_phot))
        scores[f"{name}, same rule"] = Scores.of_pdf(found.pdf, grid, z_held, safe)
    return scores
