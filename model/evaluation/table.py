"""Results in the layout of the source's Tables 5 and 6: overall, by r magnitude, by ELG class.

References
----------
* Wei et al. 2025, PASA, arXiv:2505.24175.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.evaluation.bootstrap import Record
from model.evaluation.slices import slices_by_label, slices_by_value, whole

R_SPLIT_MAG = 21.5
"""The source's r magnitude between bright and faint."""

ELG_CLASSES = ("STARFORMING", "STARBURST", "AGN", "BROADLINE")
"""The emission-line classes of the source, in the order of its table."""

TABLE_METRICS = ("bias", "sigma_nmad", "eta_0.15")


def source_slices(
    r_mag: npt.ArrayLike, elg_class: npt.ArrayLike | None = None
) -> dict[str, npt.NDArray[np.bool_]]:
    """The parts of a sample that the source reports.

    Parameters
    ----------
    r_mag
        (N,) r magnitudes, NaN where missing.
    elg_class
        (N,) labels; those of `ELG_CLASSES` get a row each, and one together. Left out, or with
        none of them, there are only the rows by magnitude.
    """
    r = np.asarray(r_mag, np.float64)
    slices = {**whole(len(r)), **slices_by_value("r", r, (-np.inf, R_SPLIT_MAG, np.inf))}
    if elg_class is not None:
        labels = np.asarray(elg_class)
        found = slices_by_label("class", labels)
        names = [name for label in ELG_CLASSES if (name := f"class = {label}") in found]
        slices |= {name: found[name] for name in names}
        if names:
            slices["classes together"] = np.isin(labels, ELG_CLASSES)
    return slices


def source_table(records: Sequence[Record], metrics: Sequence[str] = TABLE_METRICS) -> str:
    """Markdown table of records: one row a method and slice, `value ± error` of each metric.

    The slices carry their counts, as in the source: `class = AGN (1,512)`.
    """
    cells: dict[tuple[str, str, int], dict[str, str]] = {}
    for record in records:
        row = cells.setdefault((record.method, record.slice, record.num_rows), {})
        row[record.metric] = f"{record.value:.4f} ± {record.error:.4f}"
    lines = ["| method | sample | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 2) + "|"]
    for (method, name, count), row in cells.items():
        values = " | ".join(row.get(metric, "") for metric in metrics)
        lines.append(f"| {method} | {name} ({count:,}) | {values} |")
    return "\n".join(lines) + "\n"
