"""The area behind a catalogue's rows, and the target cuts that could not be made everywhere.

One small file inside the catalogue, so that a density needs nothing of the run directory.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.catalogue.layout import COVERAGE_FILE
from engine.config import UserError
from engine.journal import Receipt
from partitions.coverage import TARGET_BANDS
from partitions.targets import CUT_COLUMNS


@dataclass(frozen=True)
class CutCoverage:
    """Where one set of target cuts (ELG, LRG, BGS, QSO) was made."""

    num_bricks: int
    covered_deg2: float
    """Area with exposures in g, r and z of these bricks."""
    left_out: dict[str, int]
    """Reason -> bricks in which the cuts were not made and the bits are 0."""


@dataclass(frozen=True)
class Coverage:
    """Areas of all bricks that are in a catalogue: their own regions, which do not overlap."""

    num_bricks: int
    area_deg2: float
    covered_deg2: dict[str, float]
    """Optical band, or `grz` for the three together -> area with an exposure."""
    cuts: dict[str, CutCoverage]


def sum_coverage(receipts: Iterable[Receipt]) -> Coverage:
    """Sum over the bricks of all receipts; the same for any order of them."""
    bricks: list[dict[str, Any]] = [
        {name: facts[name] for name in ("area_deg2", "covered_deg2", "targets_left_out")}
        for receipt in receipts
        for facts in receipt["bricks"].values()
    ]
    bands = sorted({band for facts in bricks for band in facts["covered_deg2"]})
    cuts = {}
    for name in CUT_COLUMNS:
        made = [facts for facts in bricks if name not in facts["targets_left_out"]]
        reasons = Counter(
            facts["targets_left_out"][name] for facts in bricks if name in facts["targets_left_out"]
        )
        cuts[name] = CutCoverage(
            num_bricks=len(made),
            covered_deg2=math.fsum(facts["covered_deg2"][TARGET_BANDS] for facts in made),
            left_out=dict(sorted(reasons.items())),
        )
    return Coverage(
        num_bricks=len(bricks),
        area_deg2=math.fsum(facts["area_deg2"] for facts in bricks),
        covered_deg2={
            band: math.fsum(facts["covered_deg2"].get(band, 0.0) for facts in bricks)
            for band in bands
        },
        cuts=cuts,
    )


def coverage_to_json(coverage: Coverage) -> dict[str, Any]:
    """JSON-ready data."""
    return asdict(coverage)


def read_coverage(catalogue: Path) -> Coverage:
    """The coverage that a catalogue was published with.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    path = catalogue / COVERAGE_FILE
    try:
        data = json.loads(path.read_text())
        cuts = {name: CutCoverage(**facts) for name, facts in data.pop("cuts").items()}
        return Coverage(**data, cuts=cuts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); repeat `engine finish`") from None
