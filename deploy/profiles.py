"""Machines as data: a TOML profile says where workers run and what each may use.

A profile decides nothing about a catalogue's bytes (on CPU): those are the plan's.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

KINDS = ("local", "cuda", "slurm", "kubernetes", "address")
_FOLDER = Path(__file__).parent
_SIZE = re.compile(r"\d+(\.\d+)? *([kMGT]i?)?B")
_WALLTIME = re.compile(r"(\d+-)?\d{1,2}:\d{2}:\d{2}")
# What a word of a job script or manifest may hold: a queue, an account, a name. No blanks, no
# quotes, nothing that a shell or a scheduler's directive line reads as its own.
_WORD = re.compile(r"[A-Za-z0-9._@:/=,+\-\[\]&|*()]*")


class ProfileError(Exception):
    """A machine profile cannot be used."""


@dataclass(frozen=True)
class Limits:
    """When a brick is set aside and when a run gives up."""

    brick_minutes: float = 20.0
    """A brick that is read for longer hangs: its process is killed."""
    stall_minutes: float = 30.0
    """If nothing moves for this long, the run ends with a diagnosis."""
    deaths: int = 3
    """A brick that kills the process reading it this often is set aside."""
    drain_seconds: float = 90.0
    """When the run is told to stop, partitions in work have this long to end."""


@dataclass(frozen=True)
class Dashboard:
    """Dask's own pages."""

    address: str = ""
    """For example `127.0.0.1:8787`; empty for none. Whoever reaches it can read the run's logs."""


@dataclass(frozen=True)
class Tls:
    """Certificates between driver, scheduler and workers, PEM files. All three, or none."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class Slurm:
    """How jobs are asked for."""

    layout: str = "jobs"
    """`jobs`: a small driver job that submits worker jobs and replaces lost ones. `allocation`:
    driver and workers are the tasks of one job."""
    queue: str = ""
    """Slurm partition; empty for the site's default."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    """Node feature, for example `gpu`."""
    walltime: str = "04:00:00"
    """Time limit of a job that holds workers."""
    workers_per_job: int = 1
    interface: str = ""
    """Network interface of scheduler and workers, for example `hsn0`; empty for the host's own."""
    log_directory: str = "slurm-logs"
    """Where jobs write what they print; below the run directory unless it is absolute."""
    directives: tuple[str, ...] = ()
    """More `#SBATCH` options of a job that holds workers, for example `--gpus-per-task=1`."""
    prologue: tuple[str, ...] = ()
    """Shell lines before Python starts, such as `module load cuda`: the one place for shell."""
    driver_queue: str = ""
    """Of the driver's job; empty for `queue`."""
    driver_walltime: str = "12:00:00"
    driver_cores: int = 1
    driver_memory: str = "8GB"
    driver_directives: tuple[str, ...] = ()
    """More `#SBATCH` options of the driver's job; `qos` and `constraint` are the workers'."""
    resume: str = "requeue"
    """After a time limit: `requeue` this job, `chain` (a successor waits from the start, for sites
    without requeue), or `none`."""
    warning_seconds: int = 120
    """The driver is told this long before its time limit, to drain. 15 s before the limit, or after
    three quarters of a warning up to 60 s, the job ends it, so that there is time to requeue."""


@dataclass(frozen=True)
class Kubernetes:
    """What pods are made of."""

    namespace: str = "default"
    image: str = ""
    image_pull_policy: str = "IfNotPresent"
    service_account: str = "photoz-engine"
    """May create DaskCluster resources: `deploy.kubernetes.access_manifests`."""
    survey_claim: str = ""
    """PersistentVolumeClaim with the survey, mounted read-only at `survey_path`."""
    survey_path: str = "/survey"
    run_claim: str = ""
    """PersistentVolumeClaim for run directories, ReadWriteMany, at `run_path`."""
    run_path: str = "/runs"
    scratch_size: str = "20Gi"
    """Of each worker's emptyDir."""
    node_selector: dict[str, str] = field(default_factory=dict)
    driver_memory: str = "8GB"
    tls_secret: str = ""
    """Secret with ca.crt, tls.crt, tls.key; empty for plain TCP inside the namespace."""


@dataclass(frozen=True)
class MachineProfile:
    """Where partitions run."""

    kind: str = "local"
    """`local`, `cuda` (one worker per GPU of this machine), `slurm`, `kubernetes`, or `address`
    (a Dask scheduler that is there already)."""
    summary: str = ""
    """One line for `engine profiles`."""
    workers: int = 2
    """Worker processes; each runs one partition at a time. For `cuda` 0 is one per GPU."""
    threads: int = 1
    """CPU cores that one worker may use, its decode processes included. The network computes on
    one thread on a CPU whatever this says, because the order of a sum decides its last digits."""
    memory_limit: str = "auto"
    """Memory of one worker, for example `8GB`; `auto` shares the machine's evenly."""
    gpus_per_worker: int = 0
    """0: the network runs on the CPU; 1: on the GPU that the worker sees first."""
    decode_processes: int = 0
    """Processes of a worker that read bricks ahead of the network; 0 reads in the worker."""
    local_directory: str = ""
    """Scratch folder of the workers, best on a local disk; empty for the system's own."""
    scheduler: str = ""
    """For `address`: `tcp://host:8786` or `tls://...`, or the path of a scheduler file."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of the workers."""
    limits: Limits = Limits()
    dashboard: Dashboard = Dashboard()
    tls: Tls = Tls()
    slurm: Slurm = Slurm()
    kubernetes: Kubernetes = Kubernetes()

    @property
    def device(self) -> str:
        """Where the network computes: `cpu` or `cuda`."""
        return "cuda" if self.gpus_per_worker else "cpu"


def shipped_profiles() -> dict[str, Path]:
    """Name -> file of the profiles that come with the package."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def find_profile(name: str) -> Path:
    """The file of a profile: a path, or the name of one that comes with the package.

    Raises
    ------
    ProfileError
        If there is neither.
    """
    shipped = shipped_profiles()
    if name in shipped:
        return shipped[name]
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    near = get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(shipped)}"
    raise ProfileError(f"profile {name!r}: neither a TOML file nor a name of a profile; {hint}")


def read_profile(path: Path) -> MachineProfile:
    """Read a profile.

    Raises
    ------
    ProfileError
        If the file is missing, no TOML, or has an unknown key (the nearest known one is named) or
        a value that cannot be used.
    """
    where = f"machine profile {path}"
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{where}: cannot be read ({error})") from None
    profile: MachineProfile = _from_table(MachineProfile, data, where)
    check_profile(profile, where)
    return profile


def _from_table(kind: type, table: dict[str, Any], where: str, prefix: str = "") -> Any:
    """A dataclass from a TOML table; types are those of the defaults."""
    known = [item.name for item in fields(kind)]
    values: dict[str, Any] = {}
    default = kind()
    for key, value in table.items():
        name = prefix + key
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ProfileError(f"{where}: unknown key {name!r}{hint}")
        values[key] = _checked(value, getattr(default, key), where, name)
    return kind(**values)


def _checked(value: Any, default: Any, where: str, name: str) -> Any:
    """`value` as the type of `default`, or an error that shows what is expected."""
    if is_dataclass(default) and isinstance(value, dict):
        return _from_table(type(default), value, where, f"{name}.")
    if isinstance(default, dict) and isinstance(value, dict):
        if all(isinstance(item, str) for item in value.values()):
            return dict(value)
        raise ProfileError(f"{where}: {name}={value!r}; expected text values in quotes")
    if isinstance(default, tuple) and isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ProfileError(f"{where}: {name}={value!r}; expected a list of texts")
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        shown = f"a [{name}] table" if is_dataclass(default) else f"a value such as {default!r}"
        raise ProfileError(f"{where}: {name}={value!r}; expected {shown}")
    return value


def check_profile(profile: MachineProfile, where: str) -> None:
    """Refuse values that cannot be used, or that could reach a shell as anything but a word.

    Raises
    ------
    ProfileError
        Naming the key and both the value and what is expected.
    """

    def refuse(name: str, value: object, expected: str) -> None:
        raise ProfileError(f"{where}: {name}={value!r}; {expected}")

    if profile.kind not in KINDS:
        refuse("kind", profile.kind, f"known: {', '.join(KINDS)}")
    least_workers = 0 if profile.kind == "cuda" else 1
    for name, number, least in (
        ("workers", profile.workers, least_workers),
        ("threads", profile.threads, 1),
        ("decode_processes", profile.decode_processes, 0),
        ("limits.deaths", profile.limits.deaths, 1),
        ("slurm.workers_per_job", profile.slurm.workers_per_job, 1),
        ("slurm.driver_cores", profile.slurm.driver_cores, 1),
        ("slurm.warning_seconds", profile.slurm.warning_seconds, 10),
    ):
        if number < least:
            refuse(name, number, f"at least {least}")
    if profile.limits.drain_seconds < 0:
        refuse("limits.drain_seconds", profile.limits.drain_seconds, "at least 0")
    warning_s = profile.slurm.warning_seconds
    most_drain_s = (warning_s - 15 if warning_s > 60 else 0.75 * warning_s) - 15
    if profile.kind == "slurm" and profile.limits.drain_seconds > most_drain_s:
        refuse(
            "limits.drain_seconds",
            profile.limits.drain_seconds,
            f"at most {most_drain_s:.0f} with slurm.warning_seconds="
            f"{profile.slurm.warning_seconds}: the job must end in time to be requeued",
        )
    for name, minutes in (
        ("limits.brick_minutes", profile.limits.brick_minutes),
        ("limits.stall_minutes", profile.limits.stall_minutes),
    ):
        if not 0 < minutes < float("inf"):
            refuse(name, minutes, "expected minutes above 0")
    if profile.gpus_per_worker not in (0, 1):
        refuse("gpus_per_worker", profile.gpus_per_worker, "0 or 1: a worker uses one device")
    if profile.kind == "cuda" and not profile.gpus_per_worker:
        refuse("gpus_per_worker", profile.gpus_per_worker, "kind 'cuda' has one GPU a worker")
    if profile.local_directory and not Path(profile.local_directory).is_absolute():
        refuse("local_directory", profile.local_directory, "expected an absolute path")
    is_here = profile.kind in ("local", "cuda")
    if is_here and profile.local_directory and not Path(profile.local_directory).is_dir():
        refuse("local_directory", profile.local_directory, "is no folder")
    for name, size in (
        ("slurm.driver_memory", profile.slurm.driver_memory),
        ("kubernetes.driver_memory", profile.kubernetes.driver_memory),
    ):
        if not _SIZE.fullmatch(size):
            refuse(name, size, 'expected a size such as "8GB"')
    if profile.memory_limit != "auto" and not _SIZE.fullmatch(profile.memory_limit):
        refuse("memory_limit", profile.memory_limit, 'expected "auto" or a size such as "8GB"')
    if profile.memory_limit == "auto" and profile.kind in ("slurm", "kubernetes"):
        refuse("memory_limit", "auto", f"kind {profile.kind!r} asks for it: give a size")
    for name, time in (
        ("slurm.walltime", profile.slurm.walltime),
        ("slurm.driver_walltime", profile.slurm.driver_walltime),
    ):
        if not _WALLTIME.fullmatch(time):
            refuse(name, time, 'expected "hours:minutes:seconds" or "days-hours:minutes:seconds"')
    for name, word, choices in (
        ("slurm.layout", profile.slurm.layout, ("jobs", "allocation")),
        ("slurm.resume", profile.slurm.resume, ("requeue", "chain", "none")),
    ):
        if word not in choices:
            refuse(name, word, f"known: {', '.join(choices)}")
    for name, word in _words(profile):
        if not _WORD.fullmatch(word):
            refuse(name, word, "only letters, digits and ._@:/=,+-[]&|*() without blanks")
    for name, lines in (
        ("slurm.directives", profile.slurm.directives),
        ("slurm.driver_directives", profile.slurm.driver_directives),
    ):
        for line in lines:
            if not line.startswith("-"):
                refuse(name, line, "expected an option such as --gpus-per-task=1")
    for key, value in profile.environment.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            refuse("environment", key, "expected a name of letters, digits and _")
        if "\n" in value or "\0" in value:
            refuse(f"environment.{key}", value, "expected one line")
    for line in profile.slurm.prologue:
        if "\n" in line or "\0" in line:
            refuse("slurm.prologue", line, "expected one line each")
    tls = (profile.tls.ca_file, profile.tls.cert_file, profile.tls.key_file)
    if any(tls) and not all(tls):
        refuse("tls", tls, "give ca_file, cert_file and key_file, or none of them")
    if profile.kind == "address" and not profile.scheduler:
        refuse("scheduler", "", "kind 'address' needs tcp://host:port, tls://host:port or a file")
    if profile.kind == "kubernetes" and not profile.kubernetes.image:
        refuse("kubernetes.image", "", "expected the image that workers run")


def _words(profile: MachineProfile) -> list[tuple[str, str]]:
    """Values that go as they are into directive lines, command lines and manifests."""
    slurm, kubernetes = profile.slurm, profile.kubernetes
    return [
        ("scheduler", profile.scheduler),
        ("dashboard.address", profile.dashboard.address),
        *(
            (f"slurm.{name}", getattr(slurm, name))
            for name in ("queue", "account", "qos", "constraint", "interface", "driver_queue")
        ),
        *(("slurm.directives", text) for text in slurm.directives),
        *(("slurm.driver_directives", text) for text in slurm.driver_directives),
        *(
            (f"kubernetes.{item.name}", getattr(kubernetes, item.name))
            for item in fields(kubernetes)
            if isinstance(getattr(kubernetes, item.name), str)
        ),
    ]
