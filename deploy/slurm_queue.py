"""What Slurm is asked on the command line: submit, list, cancel."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.profiles import ProfileError

_TIMEOUT_S = 60


@dataclass(frozen=True)
class QueuedJob:
    """A job that has not ended."""

    state: str
    """For example `PENDING` or `RUNNING`."""
    reason: str
    """Why it is pending, in Slurm's word."""


def job_name(run_folder: Path) -> str:
    """The name of the jobs of one run: readable, and unlike that of every other run folder.

    At most 48 lower-case letters, digits and dashes, which Kubernetes also takes (RFC 1123). Links
    are not followed: a pod and the host that submits it see different ones.
    """
    folder = Path(os.path.abspath(run_folder))
    words = re.sub(r"[^a-z0-9]+", "-", folder.name.lower())
    stem = words.removeprefix("photoz")[:32].strip("-") or "run"
    digest = hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:8]
    return f"photoz-{stem}-{digest}"


def worker_job_name(run_folder: Path) -> str:
    """The name of the jobs that hold its workers."""
    return f"{job_name(run_folder)}-w"


def queued_jobs(name: str) -> dict[str, QueuedJob]:
    """Job id -> the user's jobs of this name that Slurm still has.

    Raises
    ------
    ProfileError
        If Slurm does not answer.
    """
    text = call_slurm("squeue", "--me", f"--name={name}", "--noheader", "--format=%i|%T|%r")
    rows = (line.strip().split("|", 2) for line in text.splitlines() if line.strip())
    return {job: QueuedJob(state, reason) for job, state, reason in rows}


def submit_script(script: Path) -> str:
    """Submit a script from its own folder; returns the job id.

    Raises
    ------
    ProfileError
        If Slurm refuses it, in Slurm's words.
    """
    text = call_slurm("sbatch", "--parsable", script.name, folder=script.parent)
    return text.strip().split(";")[0]


def cancel_jobs(name: str) -> None:
    """Cancel the user's jobs of this name."""
    call_slurm("scancel", "--me", f"--name={name}")


def call_slurm(command: str, *arguments: str, folder: Path | None = None) -> str:
    """Run one of Slurm's commands, without a shell; returns what it printed.

    Raises
    ------
    ProfileError
        If it is not there, does not answer, or fails.
    """
    try:
        done = subprocess.run(
            [command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=True,
        )
    except FileNotFoundError:
        raise ProfileError(
            f"{command}: not found; Slurm's commands are on the login nodes of a cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise ProfileError(f"{command}: Slurm did not answer within {_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        raise ProfileError(refusal([command, *arguments], error.stderr)) from None
    return done.stdout


def refusal(command: Sequence[str], stderr: str) -> str:
    """What a command of Slurm's said as it failed, in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f"{command[0]} failed: {'; '.join(lines) or 'without a word'}"
