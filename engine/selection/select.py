"""One pass over the leaves: which rows, how many a square degree, how complete, how pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.catalogue.coverage import Coverage, read_coverage
from engine.catalogue.read import iterate_tables, read_properties, read_schema
from engine.catalogue.schema import (
    QUANTILE_COLUMN,
    Rows,
    quantile_array,
    schema_quantile_levels,
    take_rows,
)
from engine.config import UserError
from engine.selection.classes import TargetClass, find_class
from engine.selection.output import (
    OUTPUT_COLUMNS,
    PROBABILITY_COLUMN,
    check_output,
    selection_schema,
    write_selection,
)
from engine.selection.probability import interval_probability
from engine.targets import encode_targetid
from partitions.truth import Truth, read_truth

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SelectionConfig:
    """What to select."""

    target_class: TargetClass
    z1: float
    z2: float
    min_probability: float
    """Rows with P(z1 < z < z2) of at least this are selected."""


@dataclass(frozen=True)
class Fraction:
    """A fraction of rows."""

    value: float | None
    """None of no rows."""
    error: float | None
    """Binomial standard error; None where it is expected from probabilities, not counted."""
    num_rows: int
    """Rows that it is a fraction of."""


@dataclass(frozen=True)
class TruthCounts:
    """The selection against known redshifts; a star is never in the range."""

    num_known: int
    """Rows of the class with a known redshift."""
    num_in_range: int
    num_selected: int
    num_selected_in_range: int

    @property
    def completeness(self) -> Fraction:
        """Of the class in the range: the part that is selected."""
        return _counted(self.num_selected_in_range, self.num_in_range)

    @property
    def contamination(self) -> Fraction:
        """Of the selected: the part outside the range."""
        return _counted(self.num_selected - self.num_selected_in_range, self.num_selected)


@dataclass(frozen=True)
class Selection:
    """What came of it."""

    config: SelectionConfig
    num_rows: int
    """Rows of the catalogue."""
    num_class: int
    """Rows of the class."""
    num_selected: int
    expected_in_range: float
    """Sum of P over the class: how many of it lie in the range."""
    expected_selected_in_range: float
    """Sum of P over the selected rows."""
    covered_deg2: float
    """Area that g, r and z cover together, in the bricks where the class's cuts were made."""
    left_out: dict[str, int]
    """Reason -> bricks in which the cuts were not made; they have no part in the area."""
    truth: TruthCounts | None = None

    @property
    def density_per_deg2(self) -> float | None:
        """Selected rows a square degree; None without any area."""
        return self.num_selected / self.covered_deg2 if self.covered_deg2 > 0 else None

    @property
    def class_density_per_deg2(self) -> float | None:
        return self.num_class / self.covered_deg2 if self.covered_deg2 > 0 else None

    @property
    def completeness(self) -> Fraction:
        """Expected: sum of P over the selected / sum of P over the class."""
        whole = self.expected_in_range
        value = self.expected_selected_in_range / whole if whole > 0 else None
        return Fraction(value, None, self.num_class)

    @property
    def contamination(self) -> Fraction:
        """Expected: 1 - mean P of the selected."""
        n = self.num_selected
        value = 1 - self.expected_selected_in_range / n if n else None
        return Fraction(value, None, n)


def _counted(part: int, whole: int) -> Fraction:
    if not whole:
        return Fraction(None, None, 0)
    value = part / whole
    return Fraction(value, math.sqrt(value * (1 - value) / whole), whole)


def make_config(name: str, z1: float, z2: float, min_probability: float) -> SelectionConfig:
    """Check what the user asks for.

    Raises
    ------
    UserError
        If the class is unknown, the range empty, or the probability none.
    """
    if not (math.isfinite(z1) and math.isfinite(z2) and z1 < z2 and z2 > 0):
        raise UserError(f"--z {z1:g} {z2:g}: give the lower redshift first, for example 0.6 1.6")
    if not 0 <= min_probability <= 1:
        raise UserError(f"--prob {min_probability:g}: a probability lies between 0 and 1")
    return SelectionConfig(find_class(name), z1, z2, min_probability)


def select_targets(
    catalogue: Path | str,
    name: str,
    z1: float,
    z2: float,
    min_probability: float = 0.8,
    output: Path | None = None,
    truth: Path | None = None,
    on_leaf: Callable[[int], None] | None = None,
) -> Selection:
    """Select rows by target class and by P(z1 < z < z2), leaf by leaf.

    Parameters
    ----------
    output
        Table to write, Parquet or FITS; none by default.
    truth
        FITS table of known redshifts to compare with.
    on_leaf
        Called with the rows of each leaf.

    Raises
    ------
    UserError
        If this is no finished catalogue of this version, or what is asked for makes no sense.
    SurveyError
        If the truth table cannot be read.
    """
    config = make_config(name, z1, z2, min_probability)
    catalogue = Path(catalogue)
    properties = read_properties(catalogue)
    schema = read_schema(catalogue)
    missing = [name for name in (*OUTPUT_COLUMNS, QUANTILE_COLUMN) if name not in schema.names]
    if missing:
        raise UserError(
            f"{catalogue}: has no column {missing[0]}, it was made by an older engine; "
            "run the survey again"
        )
    coverage = read_coverage(catalogue)
    known = _Known(read_truth(Path(truth))) if truth is not None else None
    tally = _Tally(config, schema_quantile_levels(schema), known)
    wanted = {"TARGETID", config.target_class.column, QUANTILE_COLUMN}
    if output is not None:
        wanted |= set(OUTPUT_COLUMNS)
    leaves = iterate_tables(catalogue, [name for name in schema.names if name in wanted])
    if output is None:
        for table in leaves:
            tally.add(table)
            _tell(on_leaf, table)
        return tally.selection(coverage)
    check_output(output)
    digest = properties.get("engine_weights_digest", "")
    about = {
        "class": config.target_class.name,
        "z1": z1,
        "z2": z2,
        "min_probability": min_probability,
        "weights_digest": digest,
    }
    out_schema = selection_schema(schema, about)

    def selected_rows() -> Iterator[Rows]:
        for table in leaves:
            keep, probability = tally.add(table)
            _tell(on_leaf, table)
            yield take_rows(table, keep, {PROBABILITY_COLUMN: probability}, out_schema)

    write_selection(output, out_schema, selected_rows(), digest)
    return tally.selection(coverage)


def _tell(on_leaf: Callable[[int], None] | None, table: Rows) -> None:
    if on_leaf is not None:
        on_leaf(table.num_rows)


class _Known:
    """Known redshifts by TARGETID; rows without a finite one are left out."""

    def __init__(self, truth: Truth) -> None:
        is_star = truth.spectype == "STAR"
        kept = is_star | np.isfinite(truth.z)
        try:
            targetid = encode_targetid(truth.release[kept], truth.brickid[kept], truth.objid[kept])
        except ValueError as error:
            raise UserError(f"truth table: {error}") from None
        order = np.argsort(targetid)
        self.targetid = targetid[order]
        # A star has no redshift of the kind that is asked for.
        self.z = np.where(is_star, np.nan, truth.z)[kept][order]

    def match(self, targetid: npt.NDArray[Any]) -> tuple[BoolArray, npt.NDArray[np.float64]]:
        """(N,) which rows are known, and their redshifts, NaN for stars and unknown ones."""
        if not len(self.targetid):
            return np.zeros(len(targetid), bool), np.full(len(targetid), np.nan)
        place = np.minimum(np.searchsorted(self.targetid, targetid), len(self.targetid) - 1)
        found = self.targetid[place] == targetid
        return found, np.where(found, self.z[place], np.nan)


class _Tally:
    """Sums over leaves."""

    def __init__(
        self, config: SelectionConfig, levels: tuple[float, ...], known: _Known | None
    ) -> None:
        self._config = config
        self._levels = levels
        self._known = known
        self._counts = dict.fromkeys(("rows", "class", "selected"), 0)
        self._sums = {"class": 0.0, "selected": 0.0}
        self._truth = np.zeros(4, dtype=np.int64)

    def add(self, table: Rows) -> tuple[BoolArray, npt.NDArray[np.float64]]:
        """Count one leaf; returns (N,) which rows are selected, and P of every row of the class."""
        config = self._config
        member = config.target_class.contains(table.column(config.target_class.column).to_numpy())
        probability = np.zeros(table.num_rows)
        probability[member] = interval_probability(
            quantile_array(table)[member], self._levels, config.z1, config.z2
        )
        selected = member & (probability >= config.min_probability)
        self._counts["rows"] += table.num_rows
        self._counts["class"] += int(member.sum())
        self._counts["selected"] += int(selected.sum())
        self._sums["class"] += float(probability[member].sum())
        self._sums["selected"] += float(probability[selected].sum())
        if self._known is not None:
            found, z = self._known.match(table.column("TARGETID").to_numpy())
            found &= member
            in_range = found & (z > config.z1) & (z < config.z2)
            masks = (found, in_range, found & selected, in_range & selected)
            self._truth += [int(mask.sum()) for mask in masks]
        return selected, probability

    def selection(self, coverage: Coverage) -> Selection:
        cut = coverage.cuts[self._config.target_class.cuts]
        return Selection(
            config=self._config,
            num_rows=self._counts["rows"],
            num_class=self._counts["class"],
            num_selected=self._counts["selected"],
            expected_in_range=self._sums["class"],
            expected_selected_in_range=self._sums["selected"],
            covered_deg2=cut.covered_deg2,
            left_out=cut.left_out,
            truth=TruthCounts(*self._truth.tolist()) if self._known is not None else None,
        )
