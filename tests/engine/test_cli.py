"""Every command has help with an example, in the order of the data flow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.cli import cli

COMMANDS = (
    *("run", "plan", "submit", "profiles", "build", "status", "finish", "verify", "report"),
    *("query", "targets", "export", "mock", "truth", "train", "table", "evaluate", "importance"),
)


def test_commands_in_the_order_of_the_data() -> None:
    assert tuple(cli.commands) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_json(engine: Callable[..., str], command: str) -> None:
    text = engine(command, "--help")
    assert f"engine {command}" in text.split("Example")[1]
    assert "--json" in text


def test_an_unknown_option_is_exit_code_2(engine: Callable[..., str]) -> None:
    assert "No such option" in engine("run", "--nsides", 32, expect=2)
