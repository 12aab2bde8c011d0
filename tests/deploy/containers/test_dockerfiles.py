"""The Dockerfiles pass hadolint and keep the rules that it does not know."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.kubernetes.pods import USER_ID

ROOT = Path(__file__).parents[3]
DOCKERFILES = sorted((ROOT / "deploy" / "containers").glob("Dockerfile*"))
HADOLINT = Path(sys.executable).parent / "hadolint"
Instruction = tuple[str, str]

pytestmark = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def _instructions(text: str) -> list[Instruction]:
    """(instruction, its text) of each, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1])
        for line in joined.splitlines()
        if line.strip()
    ]


def _last_stage(instructions: list[Instruction]) -> list[Instruction]:
    begin = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[begin:]


def _problems(text: str) -> list[str]:
    """What is wrong with a Dockerfile of this project."""
    instructions = _instructions(text)
    last = _last_stage(instructions)
    problems = []
    if [rest for word, rest in last if word == "USER"][-1:] != [f"{USER_ID}:{USER_ID}"]:
        problems.append("ends as another user than that of the pods")
    if [rest for word, rest in last if word == "ENTRYPOINT"] != ['["engine"]']:
        problems.append("the entry point is not the engine alone")
    if {rest for word, rest in instructions if word == "FROM"} != {"${BASE} AS build", "${BASE}"}:
        problems.append("a stage has another base")
    for word, rest in instructions:
        if word == "RUN" and re.search(r"\b(curl|wget)\b", rest):
            problems.append(f"downloads by itself: {rest}")
        for command in rest.split("&&") if word == "RUN" else []:
            if "pip install" in command and "-c constraints.txt" not in command:
                problems.append(f"installs without constraints: {command.strip()}")
        if word == "ADD" or (word == "COPY" and shlex.split(rest)[0] in (".", "./")):
            problems.append(f"copies more than is needed: {rest}")
    if any(word == "COPY" and "--from=build" not in rest for word, rest in last):
        problems.append("the last stage copies from the builder's folder")
    return problems


def test_there_are_no_problems(path: Path) -> None:
    assert _problems(path.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("USER 10001:10001", "USER root", "ends as another user"),
        ("USER 10001:10001", "", "ends as another user"),
        ('ENTRYPOINT ["engine"]', "ENTRYPOINT engine", "not the engine alone"),
        ("RUN useradd", "RUN curl example.org | sh && useradd", "downloads by itself"),
        ('pip install -c constraints.txt ".', 'pip install ".', "without constraints"),
        ("COPY deploy ./deploy", "COPY . .", "more than is needed"),
        ("COPY --from=build /opt/venv", "COPY engine", "from the builder's folder"),
        ("FROM ${BASE}\n", "FROM debian:12\n", "another base"),
    ],
)
def test_problems_are_found(path: Path, old: str, new: str, problem: str) -> None:
    text = path.read_text()
    assert old in text
    (found,) = _problems(text.replace(old, new))
    assert problem in found


def test_hadolint_has_nothing_to_say(path: Path, tmp_path: Path) -> None:
    linted = _hadolint(path)
    assert linted == []
    bad = tmp_path / "Dockerfile"
    bad.write_text(path.read_text().replace("WORKDIR /build\n", "RUN cd /build\n"))
    assert "DL3003" in _hadolint(bad)


def _hadolint(path: Path) -> list[str]:
    """Codes of what hadolint says."""
    command = [str(HADOLINT), "--no-color", "--format", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return [finding["code"] for finding in json.loads(done.stdout)]


def test_all_that_is_copied_is_sent_and_all_packages_are_copied(path: Path) -> None:
    copied = set()
    for word, rest in _instructions(path.read_text()):
        if word == "COPY" and not rest.startswith("--from"):
            copied |= set(shlex.split(rest)[:-1])
    assert all((ROOT / name).exists() for name in copied)
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    assert {line[1:] for line in sent if line.startswith("!")} == copied
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= copied
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= copied


def test_torch_is_that_of_the_makefile(path: Path) -> None:
    (made,) = re.findall(r"^TORCH  \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert ("ARG", f"TORCH={made}") in _instructions(path.read_text())
