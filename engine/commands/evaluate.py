"""The commands `evaluate` and `importance`: how good weights are, and what they live on."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import numpy.typing as npt

from engine import plots
from engine.arrays.read import open_training_arrays
from engine.commands.options import (
    EXIT_QUARANTINED,
    arrays_option,
    json_option,
    refuse_two_sources,
)
from engine.config import UserError, check_folder
from engine.evaluate import (
    Choice,
    FeatureImportance,
    Judged,
    Part,
    Sample,
    Sections,
    all_slices,
    choose_rows,
    collect_sample,
    feature_importance,
    judge,
    make_sections,
    sample_of_arrays,
)
from engine.evaluate_catalogue import evaluate_catalogue
from engine.evaluate_report import (
    IMPORTANCE_FILE,
    write_csv,
    write_metrics,
    write_outliers,
    write_tables,
)
from engine.known import dropped_text, read_known
from engine.progress import Progress
from model.evaluation import Record, as_row, evaluate, outlier_records, outlier_rows
from model.predict import Predictor
from model.weights import Weights, default_weights_path, load_weights
from partitions.dr10 import open_survey, read_bricks
from partitions.photometry import FEATURE_NAMES
from partitions.schema import OPTICAL_BANDS
from partitions.tiling import select_bricks

_NUM_EXAMPLES = 4
_NUM_LISTED = 15

_survey_option = click.option(
    "--survey", type=click.Path(path_type=Path), help="DR10-layout folder with known redshifts."
)
_truth_option = click.option(
    "--truth",
    "truth_path",
    type=click.Path(path_type=Path),
    help="FITS table with RELEASE, BRICKID, OBJID, Z, SPECTYPE.  [default: <survey>/truth.fits]",
)
_weights_option = click.option(
    "--weights",
    "weights_path",
    type=click.Path(path_type=Path),
    help="Folder of trained weights.  [default: the packaged `compact` network]",
)
_rows_option = click.option(
    "--rows",
    "part",
    type=click.Choice(["test", "validation", "all"]),
    help="Part of the split by sky that the weights were trained with.  "
    "[default: test; all on another sample than theirs]",
)
_output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("photoz-evaluation"),
    show_default=True,
    help="Folder to write into.",
)


@click.command("evaluate")
@_survey_option
@arrays_option
@click.option(
    "--catalogue",
    type=click.Path(path_type=Path),
    help="A finished catalogue instead of a survey: numbers only, read leaf by leaf.",
)
@_truth_option
@_weights_option
@_rows_option
@_output_option
@json_option
def evaluate_command(
    survey: Path | None,
    arrays: Path | None,
    catalogue: Path | None,
    truth_path: Path | None,
    weights_path: Path | None,
    part: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Say how good weights are on known redshifts they have not seen.

    Writes metrics per slice with bootstrap errors (metrics.json, metrics.csv), tables in the
    source's layout (tables.md), the outliers (outliers.csv) and plots (PNG).

    \b
    Examples:
      engine evaluate --survey dr10 --truth truth.fits --weights my-weights
      engine evaluate --arrays photoz-arrays --weights my-weights
      engine evaluate --catalogue cosmos/catalogue --truth truth.fits
    """
    if sum(given is not None for given in (survey, arrays, catalogue)) != 1:
        raise UserError(
            "evaluate: give either --survey DIR or --catalogue CATALOGUE or --arrays DIR"
        )
    if catalogue is not None:
        given = {"--weights": weights_path, "--rows": part}
        for option in (name for name, value in given.items() if value is not None):
            raise UserError(f"{option}: a catalogue has its redshifts already; give --survey")
        if truth_path is None:
            raise UserError("--catalogue needs --truth FILE, the known redshifts")
        _evaluate_catalogue(catalogue, truth_path, output, as_json)
        return
    refuse_two_sources("evaluate", survey, truth_path, arrays)
    source = _Source(survey, truth_path, arrays)
    _evaluate_sample(source, weights_path, cast(Part | None, part), output, as_json)


@click.command("importance")
@_survey_option
@arrays_option
@_truth_option
@_weights_option
@_rows_option
@click.option(
    "--rows-limit",
    type=click.IntRange(min=10),
    default=2000,
    show_default=True,
    help="At most this many rows, drawn at random.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Shuffles of each feature.",
)
@_output_option
@json_option
def importance_command(
    survey: Path | None,
    arrays: Path | None,
    truth_path: Path | None,
    weights_path: Path | None,
    part: str | None,
    rows_limit: int,
    repeats: int,
    output: Path,
    as_json: bool,
) -> None:
    """Rank the 86 features by what the network loses when one is shuffled among the sources.

    Neighbouring apertures say nearly the same and cover for each other: what is low in the list is
    not needed on top of the others, which does not mean that it says nothing.

    \b
    Example: engine importance --survey mock-survey --repeats 3 --rows-limit 1000
    """
    refuse_two_sources("importance", survey, truth_path, arrays)
    source = _Source(survey, truth_path, arrays)
    prepared = _prepare(source, weights_path, cast(Part | None, part), output, as_json)
    rows = prepared.choice.rows
    if len(rows) > rows_limit:
        rows = np.sort(np.random.default_rng(0).choice(rows, rows_limit, replace=False))
    sample = prepared.sample.take(rows)
    predictor = Predictor(prepared.weights, batch_size=min(len(sample), 256), num_threads=0)
    total = 1 + len(FEATURE_NAMES) * repeats
    with Progress("importance", total, "predictions", quiet=as_json) as progress:
        found = feature_importance(predictor, sample.rows, repeats, progress.advance)
    path = output / IMPORTANCE_FILE
    lines = [as_row(item) for item in found]
    write_csv(path, lines, list(lines[0]))
    content = prepared.content(len(sample))
    if as_json:
        report = {"importance": str(path), **content, "repeats": repeats}
        click.echo(json.dumps({**report, "features": lines}))
    else:
        click.echo("")
        for line in _describe(content):
            click.echo(line)
        _show_importance(found)
        click.echo(f"\nAll {len(found)}: {path}")
    _end_with_quarantine(prepared.quarantined)


# --- on a survey or arrays -----------------------------------------------------------------------


def _evaluate_sample(
    source: _Source,
    weights_path: Path | None,
    part: Part | None,
    output: Path,
    as_json: bool,
) -> None:
    prepared = _prepare(source, weights_path, part, output, as_json)
    weights, sample = prepared.weights, prepared.sample.take(prepared.choice.rows)
    predictor = Predictor(weights)
    with Progress("sources", len(sample), "sources", quiet=as_json) as progress:
        judged = judge(predictor, sample.rows, progress.advance)
    sections = make_sections(sample.r_mag, sample.rows.z_true, sample.labels, sample.present)
    slices = all_slices(sections)
    records = evaluate(judged.scores, slices, weights.network_config.name)
    outliers = outlier_records(judged.scores.dz, slices)
    content: dict[str, Any] = {
        **prepared.content(len(sample)),
        "num_outliers": len(outlier_rows(judged.scores.dz)),
        "pit_histogram": judged.scores.pit_histogram().tolist(),
        "outliers": [as_row(item) for item in outliers],
    }
    about = _describe(content)
    files = write_metrics(output, content, records)
    files.append(write_tables(output, about, sample, judged, sections, records, outliers))
    files.append(write_outliers(output, sample, judged))
    drawn = _draw_all(output, sample, judged, sections, records, predictor)
    if as_json:
        report = {"output": str(output), "files": [*files, *drawn], **content}
        click.echo(json.dumps({**report, "records": [as_row(item) for item in records]}))
    else:
        click.echo("")
        for line in about:
            click.echo(line)
        _show_metrics(records, list(sections["all"]))
        click.echo(f"\nWritten  {output}: {', '.join(files)}")
        if drawn:
            click.echo(f"Plots    {', '.join(drawn)}")
        else:
            click.echo("Plots    none: matplotlib is missing, pip install 'photoz-engine[plot]'")
    _end_with_quarantine(prepared.quarantined)


@dataclass(frozen=True)
class _Source:
    """Where known redshifts come from: a survey or a folder of training arrays."""

    survey: Path | None
    truth_path: Path | None
    arrays: Path | None


@dataclass(frozen=True)
class _Prepared:
    """What is to be judged."""

    weights: Weights
    sample: Sample
    choice: Choice
    quarantined: dict[str, str]
    about: dict[str, Any]
    """Source, class column and counts, for machines."""

    def content(self, num_rows: int) -> dict[str, Any]:
        """What was judged, for machines."""
        return {
            **self.about,
            "weights_digest": self.weights.digest,
            "network": self.weights.network_config.name,
            "rows": self.choice.part,
            "rows_reason": self.choice.reason,
            "num_matched": len(self.sample),
            "num_rows": num_rows,
        }


def _prepare(
    source: _Source, weights_path: Path | None, part: Part | None, output: Path, as_json: bool
) -> _Prepared:
    """Everything that can be refused is looked at before the bricks are read."""
    weights = load_weights(weights_path if weights_path is not None else default_weights_path())
    about: dict[str, Any]
    if source.arrays is not None:
        manifest = open_training_arrays(source.arrays, weights.stamp_size)
        check_folder("--output", output)
        with Progress("arrays", len(manifest.bricks), "bricks", quiet=as_json) as progress:
            sample, quarantined = sample_of_arrays(
                source.arrays, manifest, weights, progress.advance
            )
        about = {
            "arrays": str(source.arrays),
            "survey": manifest.survey,
            "class_column": manifest.class_column,
            "dropped": manifest.dropped_by_table,
            "num_known": manifest.num_known,
        }
    else:
        assert source.survey is not None
        layout = open_survey(source.survey)
        known = read_known(source.truth_path or layout.truth_table)
        bricks = select_bricks(read_bricks(layout))
        check_folder("--output", output)
        with Progress("bricks", len(bricks), "bricks", quiet=as_json) as progress:
            sample, quarantined = collect_sample(
                layout, bricks, known, weights, lambda _brick, _rows: progress.advance()
            )
        about = {
            "survey": str(source.survey),
            "class_column": known.class_column,
            "dropped": known.dropped,
            "num_known": len(known.truth),
        }
    choice = choose_rows(weights, sample, part)
    return _Prepared(weights, sample, choice, quarantined, about)


def _describe(content: dict[str, Any]) -> list[str]:
    """What was judged, for people: a few aligned lines."""
    dropped = dropped_text(content["dropped"])
    return [
        f"Weights  {content['network']}, digest {content['weights_digest'][:12]}",
        f"Truth    {content['num_matched']:,} of {content['num_known']:,} galaxies and quasars "
        f"matched{f'; left out: {dropped}' if dropped else ''}",
        f"Judged   {content['num_rows']:,} rows ({content['rows']}): {content['rows_reason']}",
    ]


def _end_with_quarantine(quarantined: dict[str, str]) -> None:
    for reason in quarantined.values():
        click.echo(f"engine: quarantined: {reason}", err=True)
    if quarantined:
        sys.exit(EXIT_QUARANTINED)


# --- on a catalogue ------------------------------------------------------------------------------


def _evaluate_catalogue(catalogue: Path, truth_path: Path, output: Path, as_json: bool) -> None:
    known = read_known(truth_path)
    check_folder("--output", output)
    found = evaluate_catalogue(catalogue, known)
    records = found.records()
    content = {
        "catalogue": str(catalogue),
        "truth": str(truth_path),
        "class_column": known.class_column,
        "dropped": known.dropped,
        "num_known": len(known.truth),
        "num_catalogue_rows": found.num_rows,
        "num_rows": found.slices["all"].num_objects,
    }
    files = write_metrics(output, content, records)
    if as_json:
        report = {"output": str(output), "files": files, **content}
        click.echo(json.dumps({**report, "records": [as_row(item) for item in records]}))
        return
    dropped = dropped_text(known.dropped)
    click.echo(f"Catalogue  {catalogue}: {found.num_rows:,} rows")
    click.echo(
        f"Truth      {content['num_rows']:,} of {len(known.truth):,} galaxies and quasars "
        f"matched{f'; left out: {dropped}' if dropped else ''}"
    )
    click.echo("Judged     all of them, also any that the weights were fitted on")
    names = ("all", "r < 21.5", "r >= 21.5")
    _show_metrics(records, [name for name in names if name in found.slices])
    click.echo(f"\nWritten  {output}: {', '.join(files)}; errors and plots need --survey")


# --- what is shown -------------------------------------------------------------------------------

_SHOWN = {
    "bias": ("bias", 1, "+.4f"),
    "sigma_nmad": ("sigma_NMAD", 1, ".4f"),
    "eta_0.15": ("eta(0.15) %", 100, ".2f"),
    "eta_0.10": ("eta(0.10) %", 100, ".2f"),
    "crps": ("CRPS", 1, ".4f"),
    "coverage_68": ("in 68 % int.", 100, ".1f"),
    "coverage_95": ("in 95 % int.", 100, ".1f"),
    "pit_ks": ("PIT KS", 1, ".4f"),
}
"""Metric -> heading, factor, format."""


def _show_metrics(records: list[Record], slices: list[str]) -> None:
    """One column a slice, one line a metric."""
    cells = {(record.slice, record.metric): record for record in records}
    counts = {record.slice: record.num_rows for record in records}
    click.echo("\n" + " " * 13 + "".join(f"{name:>19}" for name in slices))
    click.echo(f"{'rows':13}" + "".join(f"{counts[name]:>19,}" for name in slices))
    for metric, (heading, factor, form) in _SHOWN.items():
        found = [cells.get((name, metric)) for name in slices]
        texts = [_value_text(record, factor, form) for record in found if record is not None]
        if texts:
            click.echo(f"{heading:13}" + "".join(f"{text:>19}" for text in texts))


def _value_text(record: Record, factor: int, form: str) -> str:
    if math.isnan(record.value):
        return "-"
    text = format(factor * record.value, form)
    error = format(factor * record.error, form.lstrip("+"))
    return text if math.isnan(record.error) else f"{text} ± {error}"


def _show_importance(found: list[FeatureImportance]) -> None:
    click.echo(f"\n{'':4}{'feature':10}{'CRPS, increase':>22}{'sigma_NMAD, increase':>24}")
    for item in found[:_NUM_LISTED]:
        crps = f"{item.crps_increase:+.5f} ± {item.crps_error:.5f}"
        nmad = f"{item.sigma_nmad_increase:+.5f} ± {item.sigma_nmad_error:.5f}"
        click.echo(f"{item.rank:2d}  {item.feature:10}{crps:>22}{nmad:>24}".replace(" ± nan", ""))


# --- plots ---------------------------------------------------------------------------------------


def _draw_all(
    output: Path,
    sample: Sample,
    judged: Judged,
    sections: Sections,
    records: list[Record],
    predictor: Predictor,
) -> list[str]:
    """Every plot, as PNG; returns their names, none without matplotlib."""
    if not plots.has_matplotlib():
        return []
    z_spec, z_phot = sample.rows.z_true, judged.summary["median"].astype(np.float64)
    pit = judged.scores.columns["pit"]
    value = {record.metric: record.value for record in records if record.slice == "all"}
    caption = (
        f"{len(sample):,} sources   $\\sigma_{{NMAD}}$ {value['sigma_nmad']:.4f}   "
        f"$\\eta$ {100 * value['eta_0.15']:.1f} %   bias {value['bias']:+.4f}"
    )
    plots.draw_z_phot(output / "z_phot.png", z_spec, z_phot, caption)
    plots.draw_dz(output / "dz.png", judged.scores.dz)
    by_z = _trend(records, sections["z_spec"], z_spec)
    by_r = _trend(records, sections["r"], sample.r_mag)
    plots.draw_trends(output / "trends.png", by_z, by_r)
    plots.draw_pit(output / "pit.png", pit)
    plots.draw_coverage(output / "coverage.png", pit)
    drawn = ["z_phot.png", "dz.png", "trends.png", "pit.png", "coverage.png"]
    examples = _examples(sample, judged, predictor)
    if examples:
        edges = predictor.weights.grid.edges
        plots.draw_examples(output / "examples.png", examples, edges)
        drawn.append("examples.png")
    return drawn


def _trend(
    records: list[Record],
    slices: dict[str, npt.NDArray[np.bool_]],
    values: npt.NDArray[np.float64],
) -> plots.Trend:
    """Metrics in the bins of one quantity, at the median of each bin."""
    bins = {name: mask for name, mask in slices.items() if np.isfinite(values[mask]).any()}
    cells = {(record.slice, record.metric): record for record in records}
    return plots.Trend(
        x=np.array([np.median(values[mask]) for mask in bins.values()]),
        num_rows=np.array([int(mask.sum()) for mask in bins.values()]),
        values={
            metric: np.array([cells[name, metric].value for name in bins])
            for metric in plots.TREND_METRICS
        },
        errors={
            metric: np.array([cells[name, metric].error for name in bins])
            for metric in plots.TREND_METRICS
        },
    )


def _examples(
    sample: Sample, judged: Judged, predictor: Predictor
) -> dict[str, list[plots.Example]]:
    """A few good sources and a few outliers, spread evenly over redshift, with g, r and z."""
    dz = np.abs(judged.scores.dz)
    coloured = sample.present[:, [OPTICAL_BANDS.index(band) for band in "grz"]].all(axis=1)
    good = coloured & (dz < np.median(dz))
    bad = np.zeros(len(sample), bool)
    bad[outlier_rows(judged.scores.dz)] = True
    parts = {"Good: |dz| below its median": good, "Outliers: |dz| > 0.15": bad & coloured}
    chosen = {name: _spread(sample.rows.z_true, mask) for name, mask in parts.items()}
    return {
        name: [_example(sample, judged, predictor, int(row)) for row in rows]
        for name, rows in chosen.items()
        if len(rows)
    }


def _spread(z_spec: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """A few rows at equal steps in the order of redshift."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(z_spec[rows], kind="stable")]
    steps = (np.arange(_NUM_EXAMPLES) + 0.5) / _NUM_EXAMPLES * len(rows)
    return rows[np.unique(steps.astype(np.int64))] if len(rows) else rows


def _example(sample: Sample, judged: Judged, predictor: Predictor, row: int) -> plots.Example:
    one = sample.take(np.array([row]))
    pdf = predictor.predict(one.rows.arrays, with_pdf=True).pdf
    assert pdf is not None
    z_spec, z_phot = float(one.rows.z_true[0]), float(judged.summary["median"][row])
    label = "" if one.labels[0] == "none" else f"{one.labels[0]}   "
    return plots.Example(
        title=f"{label}r = {one.r_mag[0]:.2f}   $z_{{spec}}$ {z_spec:.3f}   "
        f"$z_{{phot}}$ {z_phot:.3f}",
        stamps=one.rows.arrays["optical"][0],
        pdf=pdf[0].astype(np.float64),
        z_spec=z_spec,
        z_phot=z_phot,
    )
