"""A real Slurm of one node in a folder of its own, for the tests that need one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

_CONF = """\
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,default_queue_depth=100
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SlurmdTimeout=60
InactiveLimit=0
KillWait=5
MinJobAge=60
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={num_cpus} RealMemory={memory_mib} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def run_slurm(folder: Path, num_cpus: int = 8) -> Iterator[Path]:
    """Start it and wait until its node is idle; yields slurm.conf, for SLURM_CONF."""
    for name in ("munge", "state", "spool", "log"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    munge = folder / "munge"
    munge.chmod(0o711)
    key = munge / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 // 2**20
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(
            host=host,
            folder=folder,
            ports=_free_ports(2),
            num_cpus=num_cpus,
            memory_mib=memory_mib,
        )
    )
    environment = os.environ | {"SLURM_CONF": str(conf)}

    def call(*command: object) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    try:
        call(
            *("munged", "--force", f"--key-file={key}", f"--socket={munge}/socket"),
            *(f"--pid-file={munge}/munged.pid", f"--log-file={folder}/log/munged.log"),
            f"--seed-file={munge}/seed",
        )
        call("slurmctld", "-f", conf)
        call("slurmd", "-f", conf, "-N", host)
        _wait_idle(call, folder)
        yield conf
    finally:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            call("scancel", "--me")
            call("scontrol", "shutdown")
        _stop(folder)


def _wait_idle(call: Callable[..., str], folder: Path) -> None:
    for _ in range(60):
        with suppress(AssertionError):
            if call("sinfo", "-h", "-o", "%T").strip() == "idle":
                return
        time.sleep(0.5)
    raise AssertionError(f"Slurm did not start: {(folder / 'log/slurmctld.log').read_text()}")


def _stop(folder: Path) -> None:
    """Each daemon by its pid file; waits until it is gone."""
    pids = []
    for name in ("slurmd.pid", "slurmctld.pid", "munge/munged.pid"):
        with suppress(OSError, ValueError):
            pids.append(int((folder / name).read_text()))
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(pid, 0)
                time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm is not installed (no {', '.join(missing)})")
    if os.geteuid() != 0:
        pytest.skip("this Slurm runs as root")
    with run_slurm(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture
def slurm(slurm_conf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands, and what calls them, talk to it."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_conf))
    return slurm_conf
