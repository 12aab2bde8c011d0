"""`engine submit`: a run as a job of a cluster."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from deploy.kubectl import apply_manifests
from deploy.profiles import MachineProfile, find_profile, read_profile
from deploy.slurm_queue import job_name, queued_jobs, submit_script, worker_job_name
from deploy.slurm_script import DRIVER_LOG, job_script
from engine.atomic import write_atomic
from engine.commands.options import json_option, say
from engine.commands.run_settings import run_config, survey_options
from engine.config import RunConfig, UserError, parse_region
from engine.journal import Journal
from engine.plan import RunPlan, make_plan, refuse_other_plan
from partitions.healpix import nside_to_order

_FOLDER = "submit"
_SCRIPT, _PROFILE, _BRICKS = "job.sh", "profile.toml", "bricks.txt"
# The job counts here how often it began without getting anywhere; a new submission starts anew.
_IDLE_ATTEMPTS = "idle-attempts"


@click.command()
@survey_options
@click.option(
    "--profile",
    "profile_name",
    required=True,
    metavar="NAME",
    help="Machine profile of kind slurm or kubernetes: a name (engine profiles) or a TOML file.",
)
@click.option("--keep-arrays", is_flag=True, help="Keep the Zarr arrays of every brick.")
@click.option(
    "--retry-quarantined",
    is_flag=True,
    help="Do partitions with quarantined bricks again; their files may have changed.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be submitted, and write nothing.")
@json_option
def submit(
    survey: Path | None,
    nside: int,
    region: str | None,
    bricks_file: Path | None,
    weights: Path | None,
    batch_size: int | None,
    output: Path | None,
    profile_name: str,
    keep_arrays: bool,
    retry_quarantined: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Submit a run as a job, which goes on by itself after a time limit.

    Takes the options of engine run. The plan is made first, so that a mistake shows now and not in
    the queue.

    \b
    Examples:
      engine submit --profile slurm-cpu --survey dr10 --output dr10-photoz --dry-run
      engine submit --profile my-cluster.toml --survey dr10 --output dr10-photoz
    """
    path = find_profile(profile_name)
    profile = read_profile(path)
    options = _words(
        ("--healpix-nside", nside),
        ("--region", region),
        ("--batch-size", batch_size),
    ) + (["--keep-arrays"] if keep_arrays else [])
    if profile.kind == "kubernetes":
        options += _words(
            ("--survey", survey), ("--bricks", bricks_file), ("--weights", weights)
        ) + (["--retry-quarantined"] if retry_quarantined else [])
        _check_pod_options(profile, nside, region, survey, output)
        _submit_to_kubernetes(profile, path, options, output or Path(), dry_run, as_json)
        return
    if profile.kind != "slurm":
        raise UserError(
            f"--profile {profile_name}: kind {profile.kind!r} has no queue to submit to; use "
            f"engine run --profile {profile_name}"
        )
    quiet = as_json or dry_run  # What is printed then is a script or JSON.
    config = run_config(survey, nside, region, bricks_file, weights, batch_size, output, quiet)
    plan = make_plan(config)
    folder = config.output.resolve()
    options += _words(
        ("--survey", config.survey.resolve()),
        ("--weights", weights.resolve() if weights is not None else None),
        ("--bricks", folder / _FOLDER / _BRICKS if config.brick_names is not None else None),
        ("--output", folder),
        ("--profile", folder / _FOLDER / _PROFILE),
    )
    script = job_script(profile, folder, [sys.executable, "-m", "engine", "run", *options])
    journal = Journal(folder)
    if dry_run:
        if journal.exists():
            refuse_other_plan(journal.read_plan(), plan, folder)
        _show_script(script, folder, as_json)
        return
    _refuse_queued(folder)
    _write_submission(journal, plan, config, path, script, retry_quarantined)
    job = submit_script(folder / _FOLDER / _SCRIPT)
    _show_job(job, folder, profile, as_json)


def _words(*options: tuple[str, object]) -> list[str]:
    """Options as words of a command line, without those that have no value."""
    return [word for name, value in options if value is not None for word in (name, str(value))]


def _refuse_queued(folder: Path) -> None:
    """One job of a run at a time: a second could only be refused by the first one's lock."""
    for job, queued in queued_jobs(job_name(folder)).items():
        raise UserError(
            f"{folder}: job {job} of this run is {queued.state.lower()} already; wait for it, or "
            f"cancel it: {_cancel_line(folder)}"
        )


def _write_submission(
    journal: Journal,
    plan: RunPlan,
    config: RunConfig,
    profile_path: Path,
    script: str,
    retry_quarantined: bool,
) -> None:
    """What the job needs, in RUN/submit: it must not depend on files that are edited meanwhile."""
    with journal.locked():
        # Here and not in the job, which may begin more than once.
        journal.begin(plan, retry_quarantined)
        folder = journal.folder / _FOLDER
        folder.mkdir(exist_ok=True)
        names = config.brick_names
        files = {
            _SCRIPT: script.encode(errors="surrogateescape"),
            _PROFILE: profile_path.read_bytes(),
            **({_BRICKS: "".join(f"{name}\n" for name in names).encode()} if names else {}),
        }
        for name, data in files.items():
            write_atomic(folder / name, data, journal.wip_folder)
        (folder / _IDLE_ATTEMPTS).unlink(missing_ok=True)


def _show_script(script: str, folder: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"job_name": job_name(folder), "script": script}))
    else:
        click.echo(script, nl=False)


def _job_names(folder: Path) -> str:
    return f"{job_name(folder)},{worker_job_name(folder)}"


def _cancel_line(folder: Path) -> str:
    return f"scancel --me --name={_job_names(folder)}"


def _show_job(job: str, folder: Path, profile: MachineProfile, as_json: bool) -> None:
    log = folder / _FOLDER / DRIVER_LOG
    watch = [
        f"engine status {shlex.quote(str(folder))} --watch",
        f"squeue --me --name={_job_names(folder)}",
        f"tail -f {shlex.quote(str(log))}",
    ]
    if as_json:
        report = {"job_id": job, "job_name": job_name(folder), "log": str(log), "watch": watch}
        click.echo(json.dumps({**report, "cancel": _cancel_line(folder)}))
        return
    resumes = {
        "requeue": "it is requeued at its time limit",
        "chain": "a successor goes on at its time limit",
        "none": "submit it again after its time limit",
    }
    click.echo(f"job        {job}, {job_name(folder)}; {resumes[profile.slurm.resume]}")
    click.echo(f"script     {folder / _FOLDER / _SCRIPT}")
    click.echo(f"log        {log}")
    click.echo("\nWatch\n" + "\n".join(f"  {line}" for line in watch))
    click.echo(f"\nCancel\n  {_cancel_line(folder)}")


def _check_pod_options(
    profile: MachineProfile,
    nside: int,
    region: str | None,
    survey: Path | None,
    output: Path | None,
) -> None:
    """What can be known here of paths that only exist in a pod."""
    try:
        nside_to_order(nside)
    except ValueError as error:
        raise UserError(f"--healpix-nside: {error}") from None
    if region is not None:
        parse_region(region)
    for option, path, root in (
        ("--survey", survey, profile.kubernetes.survey_path),
        ("--output", output, profile.kubernetes.run_path),
    ):
        if path is None or not path.is_relative_to(root):
            raise UserError(
                f"{option} {path}: in a pod, expected a path below {root}, where the claim is "
                "mounted"
            )


def _submit_to_kubernetes(
    profile: MachineProfile,
    profile_path: Path,
    options: list[str],
    output: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    from deploy.kubernetes import submit_manifests, to_yaml  # type: ignore[import-untyped,import-not-found] # noqa: PLC0415

    name = job_name(output)
    arguments = [*options, "--output", str(output)]
    text = to_yaml(submit_manifests(profile, name, arguments, profile_path.read_text()))
    if dry_run:
        click.echo(text, nl=False)
        return
    say(as_json, apply_manifests(text))
    namespace = profile.kubernetes.namespace
    watch = f"kubectl --namespace {namespace} logs --follow job/{name}"
    cancel = f"kubectl --namespace {namespace} delete job/{name} daskcluster/{name}"
    if as_json:
        click.echo(json.dumps({"job_name": name, "watch": [watch], "cancel": cancel}))
    else:
        click.echo(f"\nWatch\n  {watch}\n\nCancel\n  {cancel}")
