"""The job script of a run on Slurm: a few values, quoted, in front of a script that never changes.

Nothing of a path or an option reaches the shell but as a quoted word, and nothing but checked words
stands in `#SBATCH` lines: the log's name there is relative to the folder the script is submitted
from.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.profiles import MachineProfile, ProfileError, check_profile
from deploy.slurm_queue import job_name

_BODY = Path(__file__).with_name("slurm_job.sh")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

PROFILE_FILE = "profile.toml"
"""The profile that the job was written from; in the folder of the script."""
DRIVER_LOG = "driver.log"
"""What the driver prints, all attempts after each other; in the folder of the script."""
# The driver and the scheduler are tasks beside the workers.
_SERVICE_TASKS = 2


def check_run_folder(run_folder: Path) -> None:
    """Slurm reads the paths of logs as patterns, the folder that a job is submitted from included.

    Raises
    ------
    ProfileError
        If the path holds a sign that Slurm would replace.
    """
    if signs := sorted(set(str(run_folder.resolve())) & set("%\\")):
        raise ProfileError(
            f"--output {run_folder}: Slurm reads {' and '.join(signs)} in the path of a log as a "
            "pattern; choose a path without"
        )


def log_folder(profile: MachineProfile, run_folder: Path) -> Path:
    """Where worker jobs write what they print; absolute."""
    return run_folder.resolve() / profile.slurm.log_directory


def walltime_s(text: str) -> int:
    """Seconds of `hours:minutes:seconds` or `days-hours:minutes:seconds`."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def slurm_memory(size: str, num_shares: int = 1) -> str:
    """A size such as `8GB` in Slurm's unit, MiB rounded up, shared evenly."""
    match = re.fullmatch(r"([\d.]+) *([kMGT]i?)?B", size)
    if match is None:
        raise ValueError(f"{size!r} is no size such as '8GB'")
    num_bytes = float(match[1]) * (_UNITS | _BINARY_UNITS)[match[2] or ""]
    return f"{math.ceil(num_bytes / num_shares / 2**20)}M"


def job_script(profile: MachineProfile, run_folder: Path, command: Sequence[str]) -> str:
    """The script to submit from RUN/submit/, where `PROFILE_FILE` must be.

    Parameters
    ----------
    command
        The run: program and arguments, with absolute paths.

    Raises
    ------
    ProfileError
        If a value of the profile, or the run folder, cannot stand in a job script.
    """
    check_profile(profile, "machine profile")
    check_run_folder(run_folder)
    slurm = profile.slurm
    values = {
        "resume": slurm.resume,
        "layout": slurm.layout,
        "warning_s": str(slurm.warning_seconds),
        "cpus_per_task": str(profile.threads),
        "submit_folder": str(run_folder.resolve() / "submit"),
    }
    exports = profile.environment if slurm.layout == "allocation" else {}
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in _directives(profile, run_folder)),
        *slurm.prologue,
        *(f"export {key}={shlex.quote(value)}" for key, value in exports.items()),
        *(f"{key}={shlex.quote(value)}" for key, value in values.items()),
        _array("command", command),
        # What tasks do that are not the driver; `engine run` would load all that a driver needs.
        _array("serve", [sys.executable, "-m", "deploy.slurm_allocation", PROFILE_FILE]),
        "",
    ]
    return "\n".join(lines) + _BODY.read_text()


def _array(name: str, words: Sequence[str]) -> str:
    return f"{name}=({' '.join(shlex.quote(word) for word in words)})"


def _directives(profile: MachineProfile, run_folder: Path) -> list[str]:
    slurm = profile.slurm
    resources = _allocation(profile) if slurm.layout == "allocation" else _driver(profile)
    return [
        f"--job-name={job_name(run_folder)}",
        f"--output={DRIVER_LOG}",
        "--open-mode=append",
        *resources,
        *([f"--account={slurm.account}"] if slurm.account else []),
        f"--signal=B:USR1@{slurm.warning_seconds}",
        "--requeue" if slurm.resume == "requeue" else "--no-requeue",
    ]


def _driver(profile: MachineProfile) -> list[str]:
    """A small job that submits the others."""
    slurm = profile.slurm
    queue = slurm.driver_queue or slurm.queue
    return [
        *([f"--partition={queue}"] if queue else []),
        f"--time={slurm.driver_walltime}",
        "--ntasks=1",
        f"--cpus-per-task={slurm.driver_cores}",
        f"--mem={slurm_memory(slurm.driver_memory)}",
        *slurm.driver_directives,
    ]


def _allocation(profile: MachineProfile) -> list[str]:
    """One job for driver, scheduler and workers."""
    slurm = profile.slurm
    return [
        *([f"--partition={slurm.queue}"] if slurm.queue else []),
        *([f"--qos={slurm.qos}"] if slurm.qos else []),
        *([f"--constraint={slurm.constraint}"] if slurm.constraint else []),
        f"--time={slurm.walltime}",
        f"--ntasks={profile.workers + _SERVICE_TASKS}",
        f"--cpus-per-task={profile.threads}",
        f"--mem-per-cpu={slurm_memory(profile.memory_limit, profile.threads)}",
        *slurm.directives,
    ]
