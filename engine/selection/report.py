"""A selection as JSON-ready data and as lines for a person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.selection.select import Fraction, Selection, TruthCounts

QSO_NOTE = (
    "QSO is the colour box of desitarget; DESI's own quasar targets come from its random forest"
)


def selection_to_json(selection: Selection, output: Path | None) -> dict[str, Any]:
    """What `--json` prints."""
    config, truth = selection.config, selection.truth
    return {
        "class": config.target_class.name,
        "z1": config.z1,
        "z2": config.z2,
        "min_probability": config.min_probability,
        "num_rows": selection.num_rows,
        "num_class": selection.num_class,
        "num_selected": selection.num_selected,
        "covered_deg2": selection.covered_deg2,
        "density_per_deg2": selection.density_per_deg2,
        "class_density_per_deg2": selection.class_density_per_deg2,
        "expected": {
            "num_class_in_range": selection.expected_in_range,
            "completeness": selection.completeness.value,
            "contamination": selection.contamination.value,
        },
        "truth": None if truth is None else _truth_to_json(truth),
        "left_out": selection.left_out,
        "output": None if output is None else str(output),
    }


def _truth_to_json(truth: TruthCounts) -> dict[str, Any]:
    return {
        **asdict(truth),
        "completeness": asdict(truth.completeness),
        "contamination": asdict(truth.contamination),
    }


def selection_lines(selection: Selection, output: Path | None) -> list[str]:
    """Aligned lines."""
    config = selection.config
    lines = [
        f"Class     {config.target_class.name}: {selection.num_class:,} of "
        f"{selection.num_rows:,} rows{_per_deg2(selection.class_density_per_deg2)}",
        f"Selected  {selection.num_selected:,} with P({config.z1:g} < z < {config.z2:g}) >= "
        f"{config.min_probability:g}{_per_deg2(selection.density_per_deg2)}",
        f"Area      {selection.covered_deg2:.4f} deg^2 with g, r and z exposures, each brick's "
        "own region",
        f"Expected  completeness {_percent(selection.completeness)}, contamination "
        f"{_percent(selection.contamination)}; {selection.expected_in_range:,.1f} of the class in "
        "the range",
    ]
    truth = selection.truth
    if truth is not None:
        lines.append(
            f"Truth     completeness {_percent(truth.completeness)} "
            f"({truth.num_selected_in_range:,} of {truth.num_in_range:,}), contamination "
            f"{_percent(truth.contamination)} "
            f"({truth.num_selected - truth.num_selected_in_range:,} of {truth.num_selected:,}); "
            f"{truth.num_known:,} of the class are known"
        )
    for reason, num_bricks in selection.left_out.items():
        where = "1 brick" if num_bricks == 1 else f"{num_bricks:,} bricks"
        lines.append(
            f"note: no {config.target_class.cuts} bits in {where}, left out of the area: {reason}"
        )
    if config.target_class.name == "QSO":
        lines.append(f"note: {QSO_NOTE}")
    if output is not None:
        lines.append(f"Written   {output}")
    return lines


def _per_deg2(density: float | None) -> str:
    return ", no covered area" if density is None else f", {density:,.1f} a deg^2"


def _percent(fraction: Fraction) -> str:
    if fraction.value is None:
        return "-"
    error = "" if fraction.error is None else f" ± {100 * fraction.error:.1f}"
    return f"{100 * fraction.value:.1f}{error} %"
