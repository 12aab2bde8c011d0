"""The sections of the page: a run's facts in, HTML out. All text from files is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from engine.report.charts import (
    BLUE,
    DASHES,
    GREY,
    ORANGE,
    PALETTE,
    Chart,
    colour_of,
    upper_limit,
)
from engine.report.gather import BrickState, RunReport
from engine.report.sky import sky_charts
from engine.report.statistics import (
    COLOUR_EDGES,
    COLOURS,
    DEPTH_EDGES,
    MAG_EDGES,
    MAGNITUDES,
    PLANE_EDGES,
    TARGET_CLASSES,
    Z_EDGES,
    CatalogueStatistics,
)
from model.metrics import PIT_BINS
from model.weights import Weights
from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS, QUALITY_BIT_MEANING, QUALITY_BITS

# Bricks listed: the slowest, and those left out.
_NUM_SLOWEST = 10
_NUM_QUARANTINED = 200

_REDSHIFT_TICKS = (0, 0.5, 1, 1.5, 2, 3, 4)


def section(title: str, *parts: str) -> str:
    """One section with its heading."""
    name = title.lower().replace(" ", "-")
    return f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def facts_table(facts: Mapping[str, Any]) -> str:
    """Two columns: a word and its value."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f'<div class="wide"><table class="facts">{rows}</table></div>'


def data_table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()
) -> str:
    """A table that scrolls by itself where the page is narrow.

    `notes` are HTML, one a row, and stand below it over the whole width, so that they can be read
    on a phone.
    """
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in header)
    body = ""
    for place, row in enumerate(rows):
        body += f"<tr>{''.join(_cell(value) for value in row)}</tr>"
        if notes:
            body += f'<tr class="note"><td colspan="{len(header)}">{notes[place]}</td></tr>'
    kind = ' class="noted"' if notes else ""
    table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cell(value: Any) -> str:
    text = str(value)
    kind = ' class="number"' if text[:1].isdigit() else ""
    return f"<td{kind}>{escape(text)}</td>"


def command(text: str) -> str:
    """A command to copy, as HTML."""
    return f"<code>{escape(text)}</code>"


def count(number: int, noun: str) -> str:
    """`1 brick`, `2,000 bricks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figures(charts: Iterable[Chart]) -> str:
    return f'<div class="figures">{"".join(chart.svg() for chart in charts)}</div>'


# --- what was done -------------------------------------------------------------------------------


def overview(report: RunReport) -> str:
    """The numbers that say whether the run is whole."""
    status = report.status
    facts = {
        "partitions": f"{status.num_partitions_done:,} of {status.num_partitions:,} done",
        "bricks": f"{status.num_bricks_done:,} of {status.num_bricks:,} done, "
        f"{len(status.quarantined):,} quarantined",
        "sources": f"{status.num_sources:,} = {status.num_rows_read:,} rows read - "
        f"{status.num_not_primary:,} not primary - {status.num_dup:,} DUP",
        "images decoded": ", ".join(f"{band} {n:,}" for band, n in status.decoded.items())
        or "none",
        "catalogue": "finished" if status.finished else "not finished: repeat engine run",
    }
    if report.catalogue is not None and not status.finished:
        facts["catalogue"] = "published, but not whole: repeat engine run"
    if report.catalogue is not None and report.catalogue.num_rows:
        clean = report.catalogue.num_clean
        facts["without any flag"] = f"{clean:,} of {report.catalogue.num_rows:,} rows"
    return section("Overview", facts_table(facts))


def sky(report: RunReport) -> str:
    """Where, and how dense."""
    return section(
        "Sky",
        paragraph(
            "Every planned brick (partition, in a run of very many), coloured by the sources per "
            "square degree of the brick's own area. Small regions are drawn again, enlarged; a "
            "box of less than 4 units is drawn larger than it is."
        ),
        figures(sky_charts(report.bricks)),
    )


def throughput(report: RunReport) -> str:
    """Sources done over time."""
    times = sorted(report.times, key=lambda item: item.end)
    if not times:
        return section("Throughput", paragraph("No partition is done yet."))
    begin = min(item.begin for item in times)
    span = times[-1].end - begin
    unit, size = ("h", 3600.0) if span > 7200 else ("min", 60.0) if span > 180 else ("s", 1.0)
    ends = np.array([0.0, *((item.end - begin) / size for item in times)])
    done = np.cumsum([0, *(item.num_sources for item in times)])
    chart = Chart(
        "Sources done since the first partition began",
        f"time ({unit})",
        "sources",
        (0, upper_limit(ends)),
        (0, upper_limit(done)),
    )
    chart.line(np.repeat(ends, 2)[1:], np.repeat(done, 2)[:-1], BLUE)
    steps = {f"{step} (s)": f"{value:,.1f}" for step, value in report.status.seconds.items()}
    rate = done[-1] / span if span > 0 else 0.0
    facts = {"sources/s, pauses included": f"{rate:,.1f}", **steps}
    text = (
        "From the receipts. A flat part is a pause, or partitions still at work: a partition "
        "counts when it is done. Seconds of the steps are summed over workers."
    )
    return section("Throughput", paragraph(text), figures([chart]), facts_table(facts))


def slowest(report: RunReport) -> str:
    """Bricks that took longest, and how to see it again."""
    done = [item for item in report.bricks if item.state == "done"]
    worst = sorted(done, key=lambda item: -sum(item.seconds.values()))[:_NUM_SLOWEST]
    header = ("brick", "seconds", "sources", "partition")
    rows = [
        (
            item.brick.name,
            f"{sum(item.seconds.values()):.2f}",
            f"{item.num_sources:,}",
            item.partition,
        )
        for item in worst
    ]
    if not rows:
        return section("Slowest bricks", paragraph("None yet."))
    text = "Below each brick its seconds by step and the command that does it again."
    notes = [f"{_steps_text(item)}<br>{command(item.command)}" for item in worst]
    return section("Slowest bricks", paragraph(text), data_table(header, rows, notes))


def _steps_text(item: BrickState) -> str:
    return ", ".join(f"{step} {seconds:.2f}" for step, seconds in item.seconds.items())


def left_out(report: RunReport) -> str:
    """Quarantined bricks with reason and command, and partitions not done."""
    bad = [item for item in report.bricks if item.state == "quarantined"]
    waiting = [item for item in report.bricks if item.state == "waiting"]
    parts = []
    if bad:
        shown = bad[:_NUM_QUARANTINED]
        parts.append(
            paragraph(
                f"{count(len(bad), 'brick')} with files that cannot be used"
                + (f", the first {_NUM_QUARANTINED} of them here" if len(bad) > len(shown) else "")
                + ". When mended, repeat the run with --retry-quarantined."
            )
        )
        rows = [(item.brick.name, item.reason) for item in shown]
        notes = [command(item.command) for item in shown]
        parts.append(data_table(("brick", "reason, and the command that shows it"), rows, notes))
    else:
        parts.append(paragraph("No brick is quarantined."))
    if waiting:
        parts.append(_waiting_text(waiting))
    return section("Failed and quarantined", *parts)


def _waiting_text(waiting: Sequence[BrickState]) -> str:
    partitions = sorted({item.partition for item in waiting})
    named = ", ".join(partitions[:10]) + (", ..." if len(partitions) > 10 else "")
    return paragraph(
        f"Not done: {count(len(waiting), 'brick')} of {count(len(partitions), 'partition')} "
        f"({named}); repeat engine run."
    )


# --- what came of it -----------------------------------------------------------------------------


def redshifts(found: CatalogueStatistics) -> str:
    """n(z), of all and by class."""
    names = [name for name in found.nz if name != "all"]
    widths = np.diff(Z_EDGES)
    total = found.nz["all"] / widths
    z_range = (0.0, float(Z_EDGES[-1]))
    chart = Chart(
        "n(z) of all sources",
        "redshift z",
        "sources per unit of z",
        z_range,
        (0, upper_limit(total)),
    )
    chart.steps(Z_EDGES, total, BLUE, fill=True)
    shown = [name for name in names if found.classes[name]]
    shapes = {name: found.nz[name] / widths / found.classes[name] for name in shown}
    by_class = Chart(
        "n(z) by " + ("target class" if set(names) <= set(TARGET_CLASSES) else "TYPE"),
        "redshift z",
        "probability per unit of z",
        z_range,
        (0, upper_limit([value for shape in shapes.values() for value in shape])),
    )
    for place, (name, shape) in enumerate(shapes.items()):
        number = f"{name} ({found.classes[name]:,})"
        style = place % len(PALETTE)
        by_class.steps(Z_EDGES, shape, PALETTE[style], name=number, dash=DASHES[style])
    beyond = found.num_rows - float(found.nz["all"].sum())
    note = (
        "Posteriors stacked, from their 21 quantiles: each source adds its whole posterior, not "
        f"a point. {max(beyond, 0):,.1f} of {found.num_rows:,} sources' worth of probability lies "
        f"beyond z = {Z_EDGES[-1]:g} or below 0. Stars are among the sources, above all in PSF, "
        "and have a posterior too. A stack of posteriors is wider than the true n(z)."
    )
    return section("Redshift distribution", paragraph(note), figures([chart, by_class]))


def accuracy(report: RunReport, found: CatalogueStatistics) -> str:
    """Against known redshifts."""
    known = found.known
    if not report.truth:
        text = "No known redshifts: add --truth TRUTH.fits (engine truth makes one)."
        return section("Accuracy", paragraph(text))
    if not known.num_objects:
        text = f"None of the catalogue's rows is among the galaxies and quasars of {report.truth}."
        return section("Accuracy", paragraph(text))
    value = known.report()
    facts = {
        "galaxies and quasars with known redshifts": f"{known.num_objects:,}",
        "bias, median of dz": f"{value['bias']:+.4f}".replace("-", "\u2212"),
        "sigma_NMAD": f"{value['sigma_nmad']:.4f}",
        "eta, |dz| > 0.15": f"{100 * value['eta_0.15']:.2f} %",
        "eta, |dz| > 0.10": f"{100 * value['eta_0.10']:.2f} %",
        "truth inside the 68 % interval": f"{100 * value['coverage_68']:.1f} %",
        "truth inside the 95 % interval": f"{100 * value['coverage_95']:.1f} %",
    }
    text = (
        f"Z_PHOT_MEDIAN against {report.truth}; dz = (z_phot - z_spec) / (1 + z_spec). Rows that "
        "the weights were fitted on are among them if the truth table has them."
    )
    charts = [_plane_chart(found), _pit_chart(found)]
    return section("Accuracy", paragraph(text), facts_table(facts), figures(charts))


def _plane_chart(found: CatalogueStatistics) -> Chart:
    limit = float(PLANE_EDGES[-1])
    chart = Chart(
        "z_phot against z_spec",
        "spectroscopic redshift",
        "photometric redshift (median)",
        (0, limit),
        (0, limit),
        height=400,
        scale=math.log1p,
        ticks=(_REDSHIFT_TICKS, _REDSHIFT_TICKS),
    )
    largest = math.log1p(float(found.plane.max()))
    for row, column in zip(*np.nonzero(found.plane), strict=True):
        number = int(found.plane[row, column])
        chart.box(
            *(PLANE_EDGES[row], PLANE_EDGES[row + 1], PLANE_EDGES[column], PLANE_EDGES[column + 1]),
            colour_of(math.log1p(number) / largest),
        )
    z = PLANE_EDGES
    chart.line(z, z, GREY, name="z_phot = z_spec")
    inside = z[(1.15 * z + 0.15) <= limit]
    chart.line(inside, 1.15 * inside + 0.15, ORANGE, name="|dz| = 0.15", dash="6 3")
    below = z[(0.85 * z - 0.15) >= 0]
    chart.line(below, 0.85 * below - 0.15, ORANGE, dash="6 3")
    chart.legend("1 source in a bin", colour_of(math.log1p(1) / largest))
    chart.legend(f"{int(found.plane.max()):,} sources (log scale)", colour_of(1))
    return chart


def _pit_chart(found: CatalogueStatistics) -> Chart:
    counts = found.known.pit_counts / found.known.num_objects * PIT_BINS
    edges = np.linspace(0, 1, PIT_BINS + 1)
    chart = Chart(
        "PIT: posterior probability below the truth",
        "PIT",
        "sources, relative to uniform",
        (0, 1),
        (0, upper_limit([*counts, 1.2])),
    )
    chart.steps(edges, counts, BLUE, fill=True)
    chart.line((0, 1), (1, 1), ORANGE, name="honest posteriors: flat at 1", dash="6 3")
    return chart


def flags(found: CatalogueStatistics) -> str:
    """Every quality bit."""
    total = max(found.num_rows, 1)
    rows: list[tuple[Any, ...]] = [
        (
            name,
            QUALITY_BITS[name],
            f"{found.flags[name]:,}",
            f"{100 * found.flags[name] / total:.2f} %",
        )
        for name in QUALITY_BITS
    ]
    rows.append(("none", "", f"{found.num_clean:,}", f"{100 * found.num_clean / total:.2f} %"))
    notes = [escape(QUALITY_BIT_MEANING[name]) for name in QUALITY_BITS]
    return section(
        "Flags",
        paragraph("Bits of Z_PHOT_FLAG; a row may have several."),
        data_table(("flag", "bit", "rows", "share"), rows, [*notes, "no bit is set"]),
    )


def bands(found: CatalogueStatistics) -> str:
    """Which bands there are, and how deep."""
    total = max(found.num_rows, 1)
    ordered = sorted(found.band_sets.items(), key=lambda item: -item[1])
    rows = [(name, f"{number:,}", f"{100 * number / total:.2f} %") for name, number in ordered]
    by_band = [
        (
            band,
            f"{found.depth[band].median(DEPTH_EDGES):.2f}",
            f"{int(found.depth[band].counts.sum()):,}",
        )
        for band in BANDS
    ]
    widest = [value for band in BANDS for value in _smooth(found.depth[band].counts)]
    chart = Chart(
        "5-sigma depth of point sources",
        "depth (AB mag)",
        "sources per 0.25 mag",
        (float(MAG_EDGES[12]), 26.5),
        (0, upper_limit(widest)),
    )
    for place, band in enumerate(BANDS):
        counts = _smooth(found.depth[band].counts)
        edges = DEPTH_EDGES[:: len(found.depth[band].counts) // len(counts)]
        inside = slice(0, int((edges <= 26.5).sum()))
        chart.steps(
            edges[inside],
            counts[: len(edges[inside]) - 1],
            PALETTE[place],
            name=band,
            dash=DASHES[place],
        )
    text = (
        "Depth is read off the errors of the model fluxes of PSF rows: "
        "22.5 - 2.5 log10(5 / sqrt(FLUX_IVAR)), not corrected for extinction."
    )
    return section(
        "Bands and depth",
        data_table(("bands with a flux", "rows", "share"), rows),
        paragraph(text),
        figures([chart]),
        data_table(("band", "median depth (AB mag)", "PSF rows"), by_band),
    )


def _smooth(counts: Any) -> Any:
    """Five bins of 0.05 mag in one."""
    return np.asarray(counts).reshape(-1, 5).sum(axis=1)


def training(report: RunReport, found: CatalogueStatistics) -> str:
    """Magnitudes and colours against what the network was trained on."""
    text = (
        "Blue: all rows of the catalogue, dereddened asinh AB magnitudes of the model fluxes, as "
        "the network reads them. The weights keep no distribution of the training set, only three "
        "numbers a feature: its median (orange line), its robust 1-sigma spread (dark band) and "
        "the range beyond which a row is flagged OUT_OF_TRAINING_RANGE (light band)."
    )
    if report.weights is None:
        text = f"The training set cannot be shown: {report.weights_problem}"
    charts = [
        _feature_chart(name, found.features[name].counts, report.weights)
        for name in (*MAGNITUDES, *COLOURS)
    ]
    return section("Against the training set", paragraph(text), figures(charts))


def _feature_chart(name: str, counts: Any, weights: Weights | None) -> Chart:
    is_colour = name in COLOURS
    edges = COLOUR_EDGES if is_colour else MAG_EDGES
    chart = Chart(
        f"Colour {name}" if is_colour else f"Magnitude {name.removeprefix('MAG_')}",
        f"{name.removeprefix('MAG_')} (AB mag, dereddened)",
        f"sources per {edges[1] - edges[0]:.2g} mag",
        (float(edges[0]), float(edges[-1])),
        (0, upper_limit(counts)),
        height=220,
    )
    if weights is not None:
        place = FEATURE_NAMES.index(name)
        stats = weights.standardisation
        centre, spread = float(stats.feature_center[place]), float(stats.feature_scale[place])
        low, high = float(stats.feature_low[place]), float(stats.feature_high[place])
        top = upper_limit(counts)

        def band(first: float, last: float, opacity: float) -> None:
            ends = max(first, float(edges[0])), min(last, float(edges[-1]))
            if ends[0] < ends[1]:
                chart.box(*ends, 0, top, ORANGE, opacity=opacity)

        band(low, high, 0.10)
        band(centre - spread, centre + spread, 0.18)
        if edges[0] <= centre <= edges[-1]:
            chart.line((centre, centre), (0, top), ORANGE, name=f"training median {centre:.2f}")
    chart.steps(edges, counts, BLUE, name="catalogue")
    return chart


def provenance(report: RunReport) -> str:
    """What made the numbers."""
    plan, status = report.plan, report.status
    facts: dict[str, Any] = {
        "run": status.run,
        "survey": status.survey,
        "plan digest": plan.digest,
        "HEALPix nside": f"{1 << plan.order} (NESTED)",
        "network": plan.network,
        "weights": str(plan.weights_path),
        "weights digest": plan.weights_digest,
        "planned by engine": plan.engine_version,
        "carried out by engine": ", ".join(report.engine_versions) or "nothing yet",
        "page made": f"{report.made_at} by engine {report.made_by}",
    }
    weights = report.weights
    if weights is None:
        facts["training"] = f"unknown: {report.weights_problem}"
        return section("Provenance", facts_table(facts))
    made = weights.provenance
    for name, values in (
        ("training rows", made.get("rows")),
        ("versions at training", made.get("versions")),
        ("validation metrics", made.get("validation")),
    ):
        if isinstance(values, Mapping):
            facts[name] = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
    if "best_epoch" in made:
        facts["best epoch"] = f"{made['best_epoch']} of {made.get('epochs', '?')}"
    return section("Provenance", facts_table(facts))


def _short(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
