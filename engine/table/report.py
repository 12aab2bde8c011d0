"""What a fit shows a person: what was read, how it was split, how good every method is."""

from __future__ import annotations

from engine.table.training import TableFit
from model.evaluation import Record

# Metric -> heading, factor, digits.
_SHOWN = {
    "bias": ("bias", 1, 4),
    "sigma_nmad": ("sigma_NMAD", 1, 4),
    "eta_0.15": ("eta(0.15) %", 100, 2),
    "crps": ("CRPS", 1, 4),
    "coverage_68": ("in 68 % int.", 100, 1),
    "coverage_95": ("in 95 % int.", 100, 1),
}
_WIDTH = 18


def fit_lines(fit: TableFit) -> list[str]:
    """Lines for the terminal."""
    known, split = fit.known, fit.split
    dropped = ", ".join(f"{n:,} {why}" for why, n in known.drops.items() if n) or "none"
    lines = [
        f"rows       {known.num_read:,} read, {len(known.z_true):,} used; left out: {dropped}",
        "missing    " + ", ".join(f"{band} {n:,}" for band, n in known.missing.items()),
        f"split      {len(split.train):,} training, {len(split.validation):,} validation, "
        f"{len(split.test):,} held out, "
        + (
            "by row: the table names no positions, so neighbours on the sky may be in both"
            if known.ra_deg is None
            else "by sky: no patch is in both"
        ),
        "",
        *_table(fit.records),
    ]
    if fit.differences:
        lines += ["", "Paired differences (below 0: the network is better)"]
        lines += _table(fit.differences, ("sigma_nmad", "eta_0.15", "crps"))
    return lines


def _table(records: list[Record], metrics: tuple[str, ...] = tuple(_SHOWN)) -> list[str]:
    rows: dict[str, dict[str, Record]] = {}
    for record in records:
        rows.setdefault(record.method, {})[record.metric] = record
    first = max(len(name) for name in ("method", *rows))
    head = "".join(f"{_SHOWN[metric][0]:>{_WIDTH}}" for metric in metrics)
    lines = [f"{'method':{first}}{head}"]
    for name, row in rows.items():
        cells = "".join(f"{_cell(row[metric]):>{_WIDTH}}" for metric in metrics)
        lines.append(f"{name:{first}}{cells}")
    return lines


def _cell(record: Record) -> str:
    _, factor, digits = _SHOWN[record.metric]
    return f"{factor * record.value:.{digits}f} ± {factor * record.error:.{digits}f}"
