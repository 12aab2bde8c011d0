"""docs/cluster.md shows commands that exist, and the profiles that come with the package."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from deploy.profiles import shipped_profiles
from engine.cli import cli

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()


def test_the_list_of_profiles_is_what_is_printed(engine: Callable[..., str]) -> None:
    assert f"$ engine profiles\n{engine('profiles')}```" in PAGE


def command_lines() -> list[str]:
    lines = re.findall(r"^\$ (engine .*)$", PAGE, re.MULTILINE)
    return [line.split(">")[0].split("#")[0].strip() for line in lines]


@pytest.mark.parametrize("line", command_lines())
def test_commands_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    command = cli.commands[words[0]]
    context = click.Context(command)
    command.parse_args(context, words[1:])  # Raises for an option that does not exist.
    named = context.params.get("profile_name") or context.params.get("name")
    assert named in (None, "mine.toml", *shipped_profiles())
