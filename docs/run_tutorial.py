"""Run the commands of docs/tutorial.md and paste what they print below them.

    python docs/run_tutorial.py

Needs the extras `plot` and `qp`. The page shows the folder it ran in as /home/you/tutorial.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).with_name("tutorial.md")
SHOWN_FOLDER = "/home/you/tutorial"
BLOCK = re.compile(r"```console\n\$ (?P<command>.+)\n(?P<output>(?:.*\n)*?)```")


def steps(page: str) -> list[tuple[str, str]]:
    """(command, output shown) of every console block, in order."""
    return [(block["command"], block["output"]) for block in BLOCK.finditer(page)]


def with_output(page: str, run: Callable[[str], str]) -> str:
    """The page with what `run(command)` returns below every command."""
    return BLOCK.sub(
        lambda block: f"```console\n$ {block['command']}\n{run(block['command'])}```", page
    )


def _run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"$ {command}\n{done.stdout}")
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}; the page is as it was")
    return done.stdout.replace(str(folder), SHOWN_FOLDER)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch).resolve()
        PAGE.write_text(with_output(PAGE.read_text(), lambda command: _run(command, here)))
