"""`engine report`: one page about a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.atomic import write_atomic
from engine.commands.options import json_option
from engine.config import UserError, check_folder
from engine.progress import Progress
from engine.report.gather import count_leaves, gather_run
from engine.report.page import report_page


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    "truth_path",
    type=click.Path(path_type=Path),
    help="FITS table of known redshifts.  [default: the one beside a mock survey]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page, one file that needs no network.",
)
@json_option
def report(run_folder: Path, truth_path: Path | None, output: Path, as_json: bool) -> None:
    """Write one page about a run: sky, n(z), accuracy, flags, depth, failures, speed, provenance.

    Works on a run that is going on, too: what is not there yet is said.

    \b
    Example: engine report cosmos --truth truth.fits --output cosmos.html
    """
    if output.is_dir() or output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: name a file that ends in .html")
    check_folder("--output", output.parent)
    with Progress("leaves", count_leaves(run_folder), "leaves", quiet=as_json) as progress:
        found = gather_run(run_folder, truth_path, progress.advance)
    write_atomic(output, report_page(found).encode())
    num_rows = found.catalogue.num_rows if found.catalogue is not None else 0
    num_known = found.catalogue.known.num_objects if found.catalogue is not None else 0
    if as_json:
        facts = {"output": str(output), "num_rows": num_rows, "num_known": num_known}
        click.echo(json.dumps({**facts, "bytes": output.stat().st_size}))
        return
    click.echo(
        f"{output}: {num_rows:,} catalogue rows, {num_known:,} with known redshifts, "
        f"{found.status.num_bricks_done:,} of {found.status.num_bricks:,} bricks; "
        f"{output.stat().st_size / 1e3:,.0f} kB"
    )
