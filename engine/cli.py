"""The command line: one word per step, in the order of the data.

Exit codes: 0 done; 1 a check failed; 2 the user's mistake, in one line; 3 done, but bricks were
quarantined or partitions given up.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from deploy.cluster import open_cluster
from deploy.profiles import MachineProfile, ProfileError, read_profile
from engine.catalogue.finish import finish_catalogue, withdraw_catalogue
from engine.catalogue.verify import verify_catalogue
from engine.config import RunConfig, UserError, check_folder, parse_region, read_brick_list
from engine.evaluate_cli import evaluate_command, importance_command
from engine.fit import collect_training_rows
from engine.infer import PartitionTask, make_task
from engine.journal import Journal, Receipt
from engine.picture import draw_stamps
from engine.plan import RunPlan, make_plan
from engine.progress import Progress
from engine.project import project
from engine.schedule import run_dask, run_serial
from engine.summary import RunStatus, accuracy, run_status
from engine.table.commands import table
from engine.terminal import resume_line, show_plan, show_run, show_status
from engine.training_log import write_epoch
from engine.truth import (
    TruthConfig,
    make_truth_table,
    parse_survey_table,
    report_lines,
    survey_lines,
    write_truth_table,
)
from model.checkpoint import CheckpointError
from model.network import CompactConfig, NetworkConfig, Wei2025Config
from model.predict import Predictor
from model.train import EpochLog, TrainConfig
from model.train import train as fit_network
from model.weights import WeightsError, default_weights_path, load_weights
from partitions.bricks import BrickError, SurveyError
from partitions.build import build_brick_arrays
from partitions.dr10 import open_survey, read_bricks
from partitions.healpix import nside_to_order
from partitions.mock import MockConfig, write_mock_survey
from partitions.schema import StampSize
from partitions.store import read_arrays
from partitions.tiling import select_bricks
from partitions.truth import read_truth
from partitions.truth.match import METHODS
from partitions.truth.spectra import ELG_CLASSES

EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_QUARANTINED = 3

# What the output's file system says when it cannot take more.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

# Below this, workers take longer to start than they save.
_SMALL_RUN_ROWS = 20_000

_DEMO_SURVEY = Path("mock-survey")
_DEMO_SEED = 2026

Command = Callable[..., Any]


class _DataFlowGroup(click.Group):
    """Lists its commands in the order of the data flow, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_DataFlowGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="photoz-engine", prog_name="engine")
def cli() -> None:
    """Photometric redshifts for whole sky surveys.

    Streams survey bricks through a network and writes a HEALPix-partitioned Parquet catalogue.

    \b
    Example: engine run --healpix-nside 32
    """


def _survey_options(command: Command) -> Command:
    """Options that say what to do, shared by `run` and `plan`."""
    options = (
        click.option(
            "--survey",
            type=click.Path(path_type=Path),
            help="Folder in the DR10 layout: a release root or a region folder. "
            "Without it the embedded mock survey is made and used.",
        ),
        click.option(
            "--healpix-nside",
            "nside",
            type=int,
            default=32,
            show_default=True,
            help="HEALPix nside (NESTED) of partitions and leaves; a power of two.",
        ),
        click.option(
            "--region",
            metavar="RA1,RA2,DEC1,DEC2",
            help="Only bricks that overlap this box, degrees; RA1 > RA2 crosses RA 0.",
        ),
        click.option(
            "--bricks",
            "bricks_file",
            type=click.Path(path_type=Path),
            help="Only the bricks named in this file, one a line.",
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="Folder of trained weights.  [default: the packaged `compact` network]",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            help="Sources in one batch of the network.  [default: what suits a CPU]",
        ),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            help="Run directory.  [default: photoz-run-<survey>-nside<N>]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


_json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes; 0 works in this process.  [default: one per CPU; 0 for a small job]",
)


@cli.command()
@_survey_options
@_workers_option
@click.option("--machine", type=click.Path(path_type=Path), help="Machine profile (TOML).")
@click.option("--keep-arrays", is_flag=True, help="Keep the Zarr arrays of every brick.")
@click.option(
    "--retry-quarantined",
    is_flag=True,
    help="Do partitions with quarantined bricks again; their files may have changed.",
)
@_json_option
def run(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    workers: int | None,
    machine: Path | None,
    keep_arrays: bool,
    retry_quarantined: bool,
    as_json: bool,
) -> None:
    """Run the whole path: plan, build arrays, infer, finish.

    Repeat the same command to resume after any interruption.

    \b
    Examples:
      engine run --healpix-nside 32
      engine run --survey dr10 --region 149.5,150.7,1.6,2.8 --output cosmos
    """
    profile = _machine_profile(machine, workers)
    config = _run_config(survey, nside, region, bricks_file, weights, batch_size, output, as_json)
    begin = time.monotonic()  # The mock survey's making is no part of the run.
    plan = make_plan(config)
    if machine is None and workers is None and plan.num_rows < _SMALL_RUN_ROWS:
        profile = None
    journal = Journal(config.output)
    with journal.locked():
        plan = journal.begin(plan, retry_quarantined)
        remaining = journal.remaining(plan)
        finished = run_status(journal, plan).finished
        if remaining:
            _check_free_space(plan, journal, len(remaining) / len(plan.partitions), keep_arrays)
            withdraw_catalogue(journal.catalogue_folder)
        if keep_arrays and len(remaining) < len(plan.partitions):
            num_done = len(plan.partitions) - len(remaining)
            _say(as_json, f"--keep-arrays: {num_done} partitions are done, theirs were not kept")
        tasks = [make_task(plan, partition, journal, keep_arrays) for partition in remaining]
        num_before = run_status(journal, plan).num_sources
        _say(as_json, resume_line(plan, len(remaining), config.output))
        given_up = _run_partitions(tasks, profile, as_json)
        if not given_up and (remaining or not finished):
            _finish(journal, plan, as_json)
        journal.list_quarantined(plan)
        status = run_status(journal, plan)
    elapsed_s = time.monotonic() - begin
    report = _run_report(plan, journal, status, elapsed_s, status.num_sources - num_before)
    report["given_up"] = given_up
    if as_json:
        click.echo(json.dumps(report))
    else:
        show_run(report, status, survey_named=survey is not None)
    if status.quarantined or given_up:
        sys.exit(EXIT_QUARANTINED)


def _run_config(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    as_json: bool,
) -> RunConfig:
    """Settings from options; makes the mock survey if none was named."""
    # Everything that can be refused is looked at before minutes are spent on a mock survey.
    try:
        nside_to_order(nside)
    except ValueError as error:
        raise UserError(f"--healpix-nside: {error}") from None
    box = parse_region(region) if region is not None else None
    names = read_brick_list(bricks_file) if bricks_file is not None else None
    weights_path = weights if weights is not None else default_weights_path()
    load_weights(weights_path)
    if output is None:
        output = Path(f"photoz-run-{(survey or _DEMO_SURVEY).resolve().name}-nside{nside}")
    if survey is None:
        check_folder("--output", output.parent)
        survey = _DEMO_SURVEY
        _say(as_json, f"No survey was named (--survey): using the embedded mock survey, {survey}/")
        _make_mock(survey, MockConfig.demo(seed=_DEMO_SEED), as_json, None)
    return RunConfig(survey, output, nside, weights_path, box, names, batch_size)


def _machine_profile(machine: Path | None, workers: int | None) -> MachineProfile | None:
    """Where to run; None for this process."""
    if machine is not None:
        if workers is not None:
            raise UserError(f"--machine {machine} and --workers {workers}: give one of them")
        return read_profile(machine)
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    return MachineProfile(workers=workers) if workers else None


def _check_free_space(
    plan: RunPlan, journal: Journal, remaining_fraction: float, keep_arrays: bool
) -> None:
    """Refuse early if the output cannot fit."""
    projection = project(plan)
    total = projection.output_bytes + (projection.arrays_bytes if keep_arrays else 0)
    needed = int(total * remaining_fraction)
    free = shutil.disk_usage(journal.folder).free
    if free < needed:
        raise UserError(
            f"--output {journal.folder}: {free / 1e9:.2f} GB free, about {needed / 1e9:.2f} GB "
            "needed; free some space or choose another"
        )


def _run_partitions(
    tasks: list[PartitionTask], profile: MachineProfile | None, as_json: bool
) -> dict[str, str]:
    """Run what remains, with progress in bricks; returns the partitions given up."""
    if not tasks:
        return {}
    num_sources = 0
    with Progress("bricks", sum(len(t.bricks) for t in tasks), "bricks", quiet=as_json) as progress:

        def on_receipt(task: PartitionTask, receipt: Receipt) -> None:
            nonlocal num_sources
            num_sources += receipt["num_sources"]
            progress.advance(len(task.bricks), f"{num_sources:,} sources")

        if profile is None:
            return run_serial(tasks, on_receipt)
        num_workers = min(profile.workers, len(tasks))
        profile = MachineProfile(**{**asdict(profile), "workers": num_workers})
        with open_cluster(profile) as client:
            return run_dask(tasks, client, num_workers, on_receipt)


def _finish(journal: Journal, plan: RunPlan, quiet: bool, allow_partial: bool = False) -> Path:
    num_leaves = len({n for r in journal.receipts(plan).values() for n in r["leaves"]})
    with Progress("leaves", num_leaves, "leaves", quiet=quiet) as progress:
        return finish_catalogue(
            journal, plan, allow_partial, lambda _pixel, rows: progress.advance()
        )


def _run_report(
    plan: RunPlan, journal: Journal, status: RunStatus, elapsed_s: float, num_new: int
) -> dict[str, Any]:
    """What a run came to, as JSON-ready data."""
    known, problem = None, None
    if status.finished and plan.survey.truth_table.exists():
        try:
            known = accuracy(journal.catalogue_folder, plan.survey.truth_table)
        except (SurveyError, ValueError) as error:  # It is the user's file, not the run's.
            problem = str(error)
    return {
        **asdict(status),
        "elapsed_s": elapsed_s,
        "num_new_sources": num_new,
        "catalogue": str(journal.catalogue_folder) if status.finished else None,
        "accuracy": asdict(known) if known is not None else None,
        "accuracy_problem": problem,
    }


@cli.command()
@_survey_options
@_json_option
def plan(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Say what a run would do: partitions, bricks, rows, bytes, memory and time.

    Reads brick tables and headers, measures the network on this machine, writes nothing
    (but the mock survey, if no survey is named).

    \b
    Example: engine plan --survey dr10 --region 149.5,150.7,1.6,2.8
    """
    config = _run_config(survey, nside, region, bricks_file, weights, batch_size, output, as_json)
    made = make_plan(config)
    predictor = Predictor(load_weights(config.weights), batch_size=made.batch_size)
    projection = project(made, predictor)
    if as_json:
        click.echo(json.dumps({"digest": made.digest, **asdict(projection)}))
        return
    show_plan(made, projection, config)


@cli.command()
@click.option(
    "--survey", type=click.Path(path_type=Path), required=True, help="DR10-layout folder."
)
@click.option("--brick", "brick_name", required=True, help="Name of the brick, e.g. 0091p035.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("photoz-arrays"),
    show_default=True,
    help="Folder for the Zarr group <brick>.zarr.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Also draw the stamps of the brightest galaxies, as PNG.",
)
@_json_option
def build(survey: Path, brick_name: str, output: Path, picture: Path | None, as_json: bool) -> None:
    """Build the Zarr arrays of one brick: stamps, features, photometry.

    This is also how to see again why a brick was quarantined.

    \b
    Example: engine build --survey dr10 --brick 1501p022
    """
    check_folder("--output", output)
    if picture is not None:
        check_folder("--picture", picture.parent)
        if picture.suffix.lower() != ".png" or picture.is_dir():
            raise UserError(f"--picture {picture}: name a file that ends in .png")
    layout = open_survey(survey)
    (brick,) = select_bricks(read_bricks(layout), names=[brick_name])
    path = output / f"{brick.name}.zarr"
    counts = build_brick_arrays(layout, brick, StampSize(), path)
    if picture is not None:
        draw_stamps(read_arrays(path), f"brick {brick.name}", picture)
    if as_json:
        click.echo(json.dumps({"arrays": str(path), **asdict(counts)}))
        return
    bands = ", ".join(counts.decoded) or "none"
    click.echo(f"{path}: {counts.num_sources:,} sources of {counts.num_rows:,} rows; bands {bands}")


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@_json_option
def status(run_folder: Path, as_json: bool) -> None:
    """Show how far a run is, what was quarantined, and where the time went.

    \b
    Example: engine status photoz-run-mock-survey-nside32
    """
    journal = Journal(run_folder)
    made = journal.read_plan()
    state = run_status(journal, made)
    if as_json:
        click.echo(json.dumps(asdict(state)))
        return
    show_status(state)


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--partial", is_flag=True, help="Publish what is done, and say so in the catalogue.")
@_json_option
def finish(run_folder: Path, partial: bool, as_json: bool) -> None:
    """Write the HATS catalogue from the fragments on disk; can be repeated.

    \b
    Example: engine finish photoz-run-mock-survey-nside32
    """
    journal = Journal(run_folder)
    made = journal.read_plan()
    with journal.locked():
        catalogue = _finish(journal, made, as_json, partial)
    num_sources = run_status(journal, made).num_sources
    if as_json:
        click.echo(json.dumps({"catalogue": str(catalogue), "num_sources": num_sources}))
    else:
        click.echo(f"{catalogue}: {num_sources:,} sources")


@cli.command()
@click.argument("catalogue", type=click.Path(path_type=Path))
@_json_option
def verify(catalogue: Path, as_json: bool) -> None:
    """Check every row of a catalogue: own pixel, order, uniqueness, posteriors, counts, sha256.

    \b
    Example: engine verify photoz-run-mock-survey-nside32/catalogue
    """
    result = verify_catalogue(catalogue)
    if as_json:
        report = {key: value for key, value in asdict(result).items() if key != "rows_of_brick"}
        click.echo(json.dumps({**report, "passed": result.passed}))
    else:
        for failure in result.failures:
            click.echo(f"FAILED {failure}")
        for note in result.notes:
            click.echo(f"note: {note}")
        verdict = "passed" if result.passed else f"{len(result.failures)} failures"
        click.echo(
            f"{catalogue}: {result.num_leaves} leaves, {result.num_rows:,} rows, "
            f"{', '.join(result.checks)}: {verdict}"
        )
    if not result.passed:
        sys.exit(EXIT_CHECK_FAILED)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--fields",
    "num_fields",
    type=int,
    default=3,
    show_default=True,
    help="Patches of sky; each is seen by the four bricks around one brick corner.",
)
@click.option(
    "--image-size",
    "image_size_px",
    type=int,
    default=1400,
    show_default=True,
    help="Side of the optical images, pixels; 3600 is a whole brick.",
)
@click.option(
    "--density",
    "density_per_deg2",
    type=float,
    default=60_000.0,
    show_default=True,
    help="Sources per square degree; DR10 has 124,000.",
)
@_workers_option
@_json_option
def mock(
    folder: Path,
    seed: int,
    num_fields: int,
    image_size_px: int,
    density_per_deg2: float,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write a mock survey with known redshifts in the release's own file layout.

    \b
    Example: engine mock my-survey --seed 7 --fields 2
    """
    try:
        config = MockConfig(
            seed=seed,
            num_fields=num_fields,
            image_size_px=image_size_px,
            density_per_deg2=density_per_deg2,
        )
    except ValueError as error:
        raise UserError(f"mock: {error}") from None
    _make_mock(folder, config, as_json, workers)
    num_bricks = len(read_bricks(open_survey(folder)))
    if as_json:
        click.echo(json.dumps({"survey": str(folder), "num_bricks": num_bricks}))
    else:
        click.echo(f"{folder}: {num_bricks} bricks; try: engine run --survey {folder}")


def _list_surveys(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo("\n".join(survey_lines()))
        ctx.exit()


@cli.command()
@click.option(
    "--survey", type=click.Path(path_type=Path), required=True, help="DR10-layout folder."
)
@click.option(
    "--survey-table",
    "tables",
    metavar="NAME=FILE",
    multiple=True,
    required=True,
    help="A spectroscopic survey and its table (FITS, CSV, Parquet); can be repeated.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Truth table to write (FITS)."
)
@click.option(
    "--radius",
    "radius_arcsec",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=1.0,
    show_default=True,
    help="A source is at most this far from its spectrum, arcsec.",
)
@click.option(
    "--match",
    "method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="By RELEASE, BRICKID, OBJID (or TARGETID), by position, or auto: by identifiers where "
    "they name a source of this survey, else by position.",
)
@click.option(
    "--class",
    "classes",
    type=click.Choice(ELG_CLASSES, case_sensitive=False),
    multiple=True,
    help="Keep only this class of emission-line galaxies; can be repeated.  [default: all]",
)
@click.option(
    "--list-surveys",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_surveys,
    help="Show the names, cuts and columns of the known surveys, and exit.",
)
@_json_option
def truth(
    survey: Path,
    tables: tuple[str, ...],
    output: Path,
    radius_arcsec: float,
    method: str,
    classes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a truth table: spectroscopic redshifts of the survey's sources.

    Applies each survey's quality cuts, matches spectra with sources and says what was removed.
    Of several spectra of one source stays that of the survey listed first (--list-surveys), then
    the one with the smallest redshift error, then the nearest.

    \b
    Example: engine truth --survey dr10 --survey-table sdss=specObj-dr17.fits --output truth.fits
    """
    config = TruthConfig(
        tuple(parse_survey_table(text) for text in tables), radius_arcsec, method, classes
    )
    if any(table.path.resolve() == output.resolve() for table in config.tables):
        raise UserError(f"--output {output}: is one of the tables to read; choose another")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; name a file, for example truth.fits")
    check_folder("--output", output.parent)
    layout = open_survey(survey)
    bricks = select_bricks(read_bricks(layout))
    with Progress("bricks", len(bricks), "bricks", quiet=as_json) as progress:
        table = make_truth_table(layout, bricks, config, progress.advance)
    write_truth_table(output, table, config)
    report = table.report
    if as_json:
        content = {"truth": str(output), "num_kept": report.num_kept, **asdict(report)}
        click.echo(json.dumps({**content, "radius_arcsec": radius_arcsec, "match": method}))
    else:
        for line in report_lines(report):
            click.echo(line)
        click.echo(f"{output}: {report.num_kept:,} sources with known redshift")
    if report.quarantined:
        for reason in report.quarantined.values():
            click.echo(f"engine: quarantined: {reason}", err=True)
        sys.exit(EXIT_QUARANTINED)


@cli.command()
@click.option(
    "--survey",
    type=click.Path(path_type=Path),
    required=True,
    help="DR10-layout folder whose sources have known redshifts.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="FITS table with RELEASE, BRICKID, OBJID, Z, SPECTYPE.  [default: <survey>/truth.fits]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder for the weights."
)
@click.option(
    "--network", type=click.Choice(["compact", "wei2025"]), default="compact", show_default=True
)
@click.option(
    "--modality",
    type=click.Choice(["both", "photometry", "images"]),
    default="both",
    show_default=True,
    help="What the network sees.",
)
@click.option(
    "--parts",
    type=click.Choice(["two", "one"]),
    help="wei2025: optical and infrared networks, or one for all channels.  [default: two]",
)
@click.option(
    "--head",
    type=click.Choice(["classification", "regression"]),
    help="wei2025: bins of redshift, or one number.  [default: classification]",
)
@click.option(
    "--pretrained",
    type=click.Path(path_type=Path),
    multiple=True,
    help="wei2025: weights of an image-only or photometry-only network to start from.",
)
@click.option(
    "--balance",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="0: every source counts alike; 1: every redshift does.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--bfloat16", is_flag=True, help="Train in bfloat16 where the CPU has AMX.")
@_json_option
def train(
    survey: Path,
    truth: Path | None,
    output: Path,
    network: str,
    modality: str,
    parts: str | None,
    head: str | None,
    pretrained: tuple[Path, ...],
    balance: float,
    epochs: int,
    seed: int,
    bfloat16: bool,
    as_json: bool,
) -> None:
    """Fit a network on sources with known redshifts; stars are left out.

    Rows are split by sky into 80 % training, 10 % validation (choice of epoch, calibration) and
    10 % that nothing is fitted on. OUTPUT.training holds the log (log.csv) and the state after
    every epoch: a run that was killed goes on from there when the same command is repeated.

    \b
    Example: engine train --survey mock-survey --output my-weights --epochs 5
    """
    check_folder("--output", output)
    progress_folder = output.with_name(f"{output.name}.training")
    check_folder("--output", progress_folder)
    state = progress_folder / "state"
    layout = open_survey(survey)
    known = read_truth(truth if truth is not None else layout.truth_table)
    config = TrainConfig(
        seed=seed,
        epochs=epochs,
        balance=balance,
        precision="bfloat16" if bfloat16 else "float32",
    )
    network_config = _network_config(network, modality, parts, head)
    start_from = [load_weights(folder) for folder in pretrained]
    size = StampSize(network_config.optical_px, network_config.wise_px)
    bricks = select_bricks(read_bricks(layout))
    with Progress("bricks", len(bricks), "bricks", quiet=as_json) as progress:
        collected = collect_training_rows(
            layout, bricks, known, size, lambda _brick, rows: progress.advance()
        )
    _say(
        as_json,
        f"{collected.num_matched:,} of {collected.num_truth:,} known redshifts matched; "
        f"{len(collected.quarantined)} bricks quarantined",
    )
    if state.exists():
        _say(as_json, f"going on from {state}")

    def on_epoch(log: EpochLog) -> None:
        write_epoch(progress_folder / "log.csv", log)
        if not as_json:
            click.echo(str(log), err=True)

    try:
        weights = fit_network(
            collected.rows,
            config,
            network_config,
            on_epoch,
            checkpoint=state,
            pretrained=start_from,
        )
    except ValueError as error:  # Too few rows or patches of sky, or parts that do not fit.
        raise UserError(f"train on {collected.num_matched:,} rows: {error}") from None
    weights.save(output)
    state.unlink(missing_ok=True)
    validation = weights.provenance["validation"]
    if as_json:
        click.echo(json.dumps({"weights": str(output), "digest": weights.digest, **validation}))
    else:
        click.echo(
            f"{output}: digest {weights.digest[:12]}; validation sigma_NMAD "
            f"{validation['sigma_nmad']:.4f}, eta {100 * validation['eta_0.15']:.1f} %"
        )
    if collected.quarantined:
        for reason in collected.quarantined.values():
            click.echo(f"engine: quarantined: {reason}", err=True)
        sys.exit(EXIT_QUARANTINED)


cli.add_command(table)


cli.add_command(evaluate_command)
cli.add_command(importance_command)


def _network_config(
    network: str, modality: str, parts: str | None, head: str | None
) -> NetworkConfig:
    chosen: Any = {"compact": CompactConfig, "wei2025": Wei2025Config}[network]
    extra = {name: value for name, value in (("parts", parts), ("head", head)) if value is not None}
    if extra and network != "wei2025":
        raise UserError(f"--{next(iter(extra))} is for --network wei2025, not for {network}")
    config: NetworkConfig = chosen(modality=modality, **extra)
    return config


def _make_mock(folder: Path, config: MockConfig, quiet: bool, workers: int | None) -> None:
    """Write the mock survey, with progress; one that is there already is kept as it is."""
    check_folder("mock survey", folder)
    num_workers = len(os.sched_getaffinity(0)) if workers is None else max(workers, 1)
    is_there = (folder / "mock.json").exists()
    with Progress("mock survey", config.num_bricks, "bricks", quiet=quiet or is_there) as progress:
        try:
            write_mock_survey(
                folder,
                config,
                num_workers=num_workers,
                progress=lambda done, _total: progress.set_done(done),
            )
        except FileExistsError as error:
            raise UserError(f"{error}") from None


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        click.echo(text)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: the user's mistakes end in one line and exit code 2, bugs in a traceback."""
    try:
        cli.main(args=arguments, prog_name="engine", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; what is done is kept, repeat the command to go on", 130)
    except (UserError, SurveyError, WeightsError, CheckpointError, ProfileError) as error:
        _fail(str(error), EXIT_USER_ERROR)
    except BrickError as error:
        _fail(str(error), EXIT_QUARANTINED)
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        where = error.filename or "the output"
        _fail(
            f"{where}: {os.strerror(error.errno)}; finished partitions are kept, "
            "mend it and repeat the command",
            EXIT_USER_ERROR,
        )


def _fail(message: str, code: int) -> None:
    click.echo(f"engine: {' '.join(message.split())}", err=True)
    sys.exit(code)
