"""An evaluation as files: metrics.json and .csv, tables.md, outliers.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.atomic import to_json, write_atomic
from engine.evaluate import Judged, Sample, Sections
from engine.targets import decode_targetid
from model.evaluation import (
    OutlierRecord,
    Record,
    as_row,
    evaluate,
    outlier_rows,
    source_slices,
    source_table,
)
from partitions.schema import BANDS

METRICS_JSON, METRICS_CSV = "metrics.json", "metrics.csv"
TABLES_FILE, OUTLIERS_FILE, IMPORTANCE_FILE = "tables.md", "outliers.csv", "importance.csv"

_TABLE_METRICS = ("bias", "sigma_nmad", "eta_0.15", "crps", "coverage_68", "coverage_95")

_HEADINGS = {
    "r": "By r magnitude (dereddened, AB)",
    "z_spec": "By spectroscopic redshift",
    "class": "By class",
    "bands": "By bands",
}


def write_metrics(folder: Path, content: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """metrics.json (`content` with the records) and metrics.csv; returns their names."""
    rows = [as_row(record) for record in records]
    write_atomic(folder / METRICS_JSON, to_json({**content, "records": rows}))
    write_csv(folder / METRICS_CSV, rows, list(rows[0]))
    return [METRICS_JSON, METRICS_CSV]


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows as CSV; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def write_tables(
    folder: Path,
    about: Sequence[str],
    sample: Sample,
    judged: Judged,
    sections: Sections,
    records: Sequence[Record],
    outliers: Sequence[OutlierRecord],
) -> str:
    """tables.md: the source's Tables 5 and 6, the other slices, where outliers gather."""
    known = [record for record in records if not math.isnan(record.value)]
    of_source = evaluate(
        judged.scores, source_slices(sample.r_mag, sample.labels), records[0].method
    )
    of_source = [record for record in of_source if not math.isnan(record.value)]
    by_class = [record for record in of_source if record.slice.startswith("class")]
    overall = [record for record in of_source if record not in by_class]
    parts = ["# Evaluation", *("* " + " ".join(line.split()) for line in about)]
    parts += ["", "`±` is the bootstrap standard deviation.", ""]
    parts += [
        "## Overall and by r magnitude",
        "As the source's Table 5.",
        "",
        source_table(overall),
    ]
    if by_class:
        parts += ["## By class of emission-line galaxy", "As the source's Table 6.", ""]
        parts += [source_table(by_class)]
    for name, heading in _HEADINGS.items():
        chosen = [record for record in known if record.slice in sections[name]]
        if chosen:
            parts += [f"## {heading}", "", source_table(chosen, _TABLE_METRICS)]
    parts += ["## Where outliers gather (|dz| > 0.15)", *_outlier_table(outliers)]
    write_atomic(folder / TABLES_FILE, ("\n".join(parts) + "\n").encode())
    return TABLES_FILE


def _outlier_table(outliers: Sequence[OutlierRecord]) -> list[str]:
    return [
        "Lift: the fraction over that of all rows. Share: part of all outliers.",
        "",
        "| sample | rows | outliers | fraction | 68 % interval | lift | share |",
        "|---" * 7 + "|",
        *(
            f"| {item.slice} | {item.num_rows:,} | {item.num_outliers:,} | {item.fraction:.4f} | "
            f"{item.lower:.4f} to {item.upper:.4f} | {item.lift:.2f} | {item.share:.3f} |"
            for item in outliers
        ),
    ]


def write_outliers(folder: Path, sample: Sample, judged: Judged) -> str:
    """outliers.csv: every row with |dz| > 0.15, the worst first."""
    rows = outlier_rows(judged.scores.dz)
    release, brickid, objid = decode_targetid(sample.targetid[rows])
    missing = [
        " ".join(band for band, has in zip(BANDS, present, strict=True) if not has)
        for present in sample.present[rows]
    ]
    columns: dict[str, Sequence[Any]] = {
        "TARGETID": sample.targetid[rows].tolist(),
        "RELEASE": release.tolist(),
        "BRICKID": brickid.tolist(),
        "OBJID": objid.tolist(),
        "RA": _rounded(sample.rows.ra_deg[rows], 7),
        "DEC": _rounded(sample.rows.dec_deg[rows], 7),
        "Z_SPEC": _rounded(sample.rows.z_true[rows], 5),
        "Z_PHOT_MEDIAN": _rounded(judged.summary["median"][rows], 5),
        "Z_PHOT_L68": _rounded(judged.summary["l68"][rows], 5),
        "Z_PHOT_U68": _rounded(judged.summary["u68"][rows], 5),
        "Z_PHOT_ODDS": _rounded(judged.summary["odds"][rows], 3),
        "DZ": _rounded(judged.scores.dz[rows], 5),
        "PIT": _rounded(judged.scores.columns["pit"][rows], 5),
        "MAG_R": _rounded(sample.r_mag[rows], 3),
        "CLASS": sample.labels[rows].tolist(),
        "MISSING_BANDS": missing,
    }
    lines = (
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    )
    write_csv(folder / OUTLIERS_FILE, lines, list(columns))
    return OUTLIERS_FILE


def _rounded(values: Any, digits: int) -> list[float | None]:
    """Numbers as text would show them; NaN becomes None."""
    numbers = np.asarray(values, np.float64).tolist()
    return [None if math.isnan(number) else round(number, digits) for number in numbers]
