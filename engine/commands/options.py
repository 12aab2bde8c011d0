"""What commands share: exit codes, options, and saying something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_QUARANTINED = 3

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes; 0 works in this process.  [default: one per CPU; 0 for a small job]",
)


def say(quiet: bool, text: str) -> None:
    """Print a line unless told to be quiet."""
    if not quiet:
        click.echo(text)
