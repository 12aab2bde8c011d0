"""`engine status`: how far a run is and how it goes, from its directory alone, on any host."""

from __future__ import annotations

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

from engine.activity import FINISHED, RunActivity
from engine.activity_display import activity_lines, log_line, worker_lines
from engine.commands.options import EXIT_QUARANTINED, json_option
from engine.config import UserError
from engine.prometheus import metrics_text, write_metrics
from engine.summary import RunStatus
from engine.terminal import show_status
from engine.watching import RunWatcher

_EVERY_S = 5.0


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--watch",
    is_flag=True,
    help="Look again and again, until the run is finished; Ctrl-C ends the looking, not the run.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Between two looks of --watch.  [default: 5]",
)
@click.option("--workers", "show_workers", is_flag=True, help="List the processes of the run.")
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the numbers for Prometheus's textfile collector (a .prom file).",
)
@json_option
def status(
    run_folder: Path,
    watch: bool,
    every: float | None,
    show_workers: bool,
    prometheus: Path | None,
    as_json: bool,
) -> None:
    """Show how a run goes, how far it is, what was quarantined, and where the time went.

    Reads the run directory and writes nothing there: it works on any host that sees it. --watch
    redraws on a terminal and adds a line at a time elsewhere. It ends with 0 when the run is
    finished, with 3 if bricks were quarantined; a run that has stopped may be started again, so
    it is watched on.

    \b
    Examples:
      engine status photoz-run-mock-survey-nside32
      engine status cosmos --watch --workers
      engine status cosmos --watch --json --every 60 --prometheus /var/lib/node_exporter/cosmos.prom
    """
    if every is not None and not watch:
        raise UserError(f"--every {every:g}: there is one look only; add --watch")
    if prometheus is not None and prometheus.resolve().is_relative_to(run_folder.resolve()):
        raise UserError(
            f"--prometheus {prometheus}: it lies in the run directory {run_folder}, where status "
            "writes nothing; choose another"
        )
    watcher = RunWatcher(run_folder)

    def look() -> tuple[RunStatus | None, RunActivity]:
        found, activity = watcher.look()
        if prometheus is not None:
            write_metrics(prometheus, metrics_text(activity, str(run_folder.resolve())))
        return found, activity

    def show(found: RunStatus | None, activity: RunActivity) -> None:
        if as_json:
            click.echo(json.dumps(_report(found, activity)))
        else:
            _show_once(found, activity, show_workers)

    if not watch:
        show(*look())
        return
    if as_json:
        draw: Callable[[RunStatus | None, RunActivity], None] = show
    elif sys.stdout.isatty():
        draw = _Redraw(run_folder, show_workers)
    else:

        def draw(_found: RunStatus | None, activity: RunActivity) -> None:
            click.echo(log_line(activity))
            for line in worker_lines(activity.workers) if show_workers else ():
                click.echo(f"  {line}")

    try:
        found = _watch(look, draw, _EVERY_S if every is None else every)
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            click.echo()
        return
    except BrokenPipeError:  # Whoever read has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if found.quarantined:
        sys.exit(EXIT_QUARANTINED)


def _watch(
    look: Callable[[], tuple[RunStatus | None, RunActivity]],
    draw: Callable[[RunStatus | None, RunActivity], None],
    every_s: float,
) -> RunStatus:
    """Look and draw until the run is finished; returns what came of it."""
    while True:
        found, activity = look()
        draw(found, activity)
        if found is not None and activity.phase == FINISHED:
            return found
        time.sleep(every_s)


def _report(found: RunStatus | None, activity: RunActivity) -> dict[str, Any]:
    return {**(asdict(found) if found is not None else {}), "activity": asdict(activity)}


def _show_once(found: RunStatus | None, activity: RunActivity, show_workers: bool) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    for line in activity_lines(activity, width, sys.stdout.encoding):
        click.echo(line)
    if show_workers:
        click.echo()
        for line in worker_lines(activity.workers):
            click.echo(line)
    if found is not None:
        click.echo()
        show_status(found)


class _Redraw:
    """Draws over the last drawing; the whole story comes below the last one."""

    def __init__(self, run_folder: Path, show_workers: bool) -> None:
        self._run_folder, self._show_workers = run_folder, show_workers
        self._is_first = True

    def __call__(self, found: RunStatus | None, activity: RunActivity) -> None:
        size = shutil.get_terminal_size()
        at = time.strftime("%H:%M:%S UTC", time.gmtime(activity.at))
        lines = [f"{self._run_folder}  {at}  (Ctrl-C ends the looking, not the run)", ""]
        lines += activity_lines(activity, size.columns, sys.stdout.encoding)
        if self._show_workers:
            lines += ["", *worker_lines(activity.workers)]
        if len(lines) >= size.lines:
            num_hidden = len(lines) - (size.lines - 2)
            lines = [*lines[: size.lines - 2], f"... and {num_hidden} lines more"]
        if self._is_first:
            click.clear()
            self._is_first = False
        # Home; each line cleared to its end, then all below: no flicker between two drawings.
        click.echo("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", nl=False)
        if found is not None and activity.phase == FINISHED:
            click.echo()
            show_status(found)
