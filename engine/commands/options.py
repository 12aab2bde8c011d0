"""What commands share: exit codes, options, and saying something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from engine.config import UserError

EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_QUARANTINED = 3
EXIT_MACHINE_FAILED = 4

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
arrays_option = click.option(
    "--arrays",
    type=click.Path(path_type=Path),
    help="Folder that engine build --truth wrote, instead of a survey.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes; 0 works in this process.  [default: one per CPU; 0 for a small job]",
)
profile_option = click.option(
    "--profile",
    "profile_name",
    metavar="NAME|FILE",
    help="Machine profile: a name that `engine profiles` lists, or a TOML file.",
)


def refuse_two_sources(
    command: str, survey: Path | None, truth: Path | None, arrays: Path | None
) -> None:
    """Raise unless either a survey or a folder of training arrays was named.

    Raises
    ------
    UserError
        If both or none were, or a truth table beside arrays.
    """
    if (survey is None) == (arrays is None):
        raise UserError(f"{command}: give either --survey DIR or --arrays DIR")
    if arrays is not None and truth is not None:
        raise UserError(
            f"--truth {truth}: the arrays {arrays} hold their redshifts already; leave it out, or "
            "give --survey"
        )


def say(quiet: bool, text: str) -> None:
    """Print a line unless told to be quiet."""
    if not quiet:
        click.echo(text)
