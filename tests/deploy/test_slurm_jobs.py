"""Workers in jobs of a real Slurm: they work, come back, and talk TLS."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.cluster import open_cluster
from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError, Slurm
from deploy.slurm_queue import queued_jobs, worker_job_name

pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")


def wait_until(holds: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := holds()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return value


def slurm_profile(num_workers: int, **slurm: Any) -> MachineProfile:
    slurm = {"interface": "lo", "walltime": "00:30:00", **slurm}
    return MachineProfile(
        kind="slurm",
        workers=num_workers,
        memory_limit="1GB",
        environment={"PHOTOZ_HOSTILE": HOSTILE},
        slurm=Slurm(**slurm),
    )


HOSTILE = "it's $(touch /tmp/photoz-never) `x`; \"&|"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path that a shell would take apart."""
    folder = tmp_path_factory.mktemp("run") / "a b; touch $(never) 'x'"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def cluster(slurm_conf: Path, run_folder: Path) -> Iterator[OpenCluster]:
    """Two workers in two jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(slurm_conf))
        before = signal.getsignal(signal.SIGINT)
        with open_cluster(slurm_profile(2), 2, run_folder) as opened:
            assert signal.getsignal(signal.SIGINT) is before
            wait_until(lambda: opened.num_live() == 2)
            yield opened
        wait_until(lambda: not queued_jobs(worker_job_name(run_folder)))


def worker_pids(cluster: OpenCluster) -> set[int]:
    return set(cluster.client.run(os.getpid, on_error="ignore").values())


def jobs_of(cluster: OpenCluster) -> dict[str, int]:
    """Job id -> pid of its worker."""
    seen = cluster.client.run(lambda: (os.environ["SLURM_JOB_ID"], os.getpid()))
    return dict(seen.values())


def test_two_jobs_do_the_work(cluster: OpenCluster, run_folder: Path) -> None:
    jobs = jobs_of(cluster)
    assert set(jobs) == set(queued_jobs(worker_job_name(run_folder)))
    assert len(jobs) == 2

    def where(_: int) -> str:
        time.sleep(0.05)
        return os.environ["SLURM_JOB_ID"]

    done = cluster.client.gather(cluster.client.map(where, range(40), pure=False))
    assert set(done) == set(jobs)
    info = cluster.client.scheduler_info(n_workers=-1)
    assert {worker["nthreads"] for worker in info["workers"].values()} == {1}
    assert "2 of 2 workers are there" in cluster.describe()
    assert "2 running" in cluster.describe()
    logs = sorted(path.name for path in (run_folder / "slurm-logs").iterdir())
    assert logs == sorted(f"worker-{job}.log" for job in jobs)


def test_environment_arrives_unchanged(cluster: OpenCluster) -> None:
    seen = cluster.client.run(lambda: os.environ["PHOTOZ_HOSTILE"])
    assert set(seen.values()) == {HOSTILE}
    assert not Path("/tmp/photoz-never").exists()


def test_scheduler_and_workers_talk_tls(cluster: OpenCluster, run_folder: Path) -> None:
    info = cluster.client.scheduler_info(n_workers=-1)
    addresses = [info["address"], *info["workers"]]
    assert all(address.startswith("tls://") for address in addresses)
    assert all(worker["nanny"].startswith("tls://") for worker in info["workers"].values())
    (private,) = (run_folder / "wip").glob("wip-tls-*")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in private.iterdir()} == {0o600}
    # A stranger, who has no certificate, is sent away.
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    port = int(info["address"].rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        stranger.wrap_socket(plain) as wrapped,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        wrapped.recv(1)


def test_pages_are_on_loopback_only(cluster: OpenCluster) -> None:
    hosts = cluster.client.run(lambda dask_worker: dask_worker.http_server.address)
    assert set(hosts.values()) == {"127.0.0.1"}
    scheduler = cluster.client.cluster.scheduler
    assert scheduler.http_server.address == "127.0.0.1"


def test_killed_worker_comes_back_in_its_job(cluster: OpenCluster) -> None:
    before = jobs_of(cluster)
    job, pid = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in worker_pids(cluster) and cluster.num_live() == 2)
    after = jobs_of(cluster)
    assert set(after) == set(before)
    assert after[job] != pid
    assert cluster.replace_lost() == []


def test_cancelled_job_is_replaced(cluster: OpenCluster, run_folder: Path) -> None:
    before = set(jobs_of(cluster))
    gone = min(before)
    subprocess.run(["scancel", gone], check=True)
    lines = wait_until(cluster.replace_lost)
    assert f"worker jobs gone from the queue: {gone};" in lines[0]
    wait_until(lambda: cluster.num_live() == 2)
    after = set(jobs_of(cluster))
    assert gone not in after
    assert len(after) == 2
    assert cluster.replace_lost() == []
    assert cluster.client.submit(lambda: 7, pure=False).result(timeout=30) == 7


def test_cancelled_pending_job_is_replaced(
    slurm: Path, tmp_path: Path, cluster: OpenCluster
) -> None:
    """More jobs than the node holds: the last waits, is cancelled, and is submitted again."""
    profile = slurm_profile(2, workers_per_job=1)
    profile = MachineProfile(**{**profile.__dict__, "threads": 5})
    with open_cluster(profile, 2, tmp_path) as opened:
        name = worker_job_name(tmp_path)

        def pending() -> list[str]:
            return [job for job, seen in queued_jobs(name).items() if seen.state == "PENDING"]

        (job,) = wait_until(lambda: len(pending()) == 1 and pending())
        wait_until(lambda: opened.num_live() == 1)
        assert opened.waiting_for() is None
        subprocess.run(["scancel", job], check=True)
        (line,) = wait_until(opened.replace_lost)
        assert f"gone from the queue: {job};" in line
        (new,) = wait_until(pending)
        assert int(new) > int(job)
        assert "1 pending, 1 running" in opened.describe()
    wait_until(lambda: not queued_jobs(name))


def test_two_workers_a_job_and_one_gpu_each(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPUs are names only: nothing here uses them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    profile = slurm_profile(2, workers_per_job=2)
    profile = MachineProfile(**{**profile.__dict__, "gpus_per_worker": 1})
    with open_cluster(profile, 2, tmp_path) as opened:
        wait_until(lambda: opened.num_live() == 2)
        seen = opened.client.run(
            lambda: (os.environ["SLURM_JOB_ID"], os.environ["CUDA_VISIBLE_DEVICES"])
        )
        jobs, gpus = zip(*seen.values(), strict=True)
        assert len(set(jobs)) == 1
        assert sorted(gpus) == ["3", "5"]


def test_what_slurm_refuses_is_said_in_its_words(slurm: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ProfileError, match=r"sbatch failed: .*[Ii]nvalid partition"),
        open_cluster(slurm_profile(1, queue="nowhere"), 1, tmp_path),
    ):
        pass
    assert not list((tmp_path / "wip").iterdir())


def test_jobs_that_end_at_once_are_not_submitted_for_ever(slurm: Path, tmp_path: Path) -> None:
    profile = slurm_profile(1, prologue=("echo no module named cuda >&2; exit 1",))

    def replace_until_refused(opened: OpenCluster) -> None:
        for _ in range(100):
            opened.replace_lost()
            time.sleep(0.5)

    with (
        open_cluster(profile, 1, tmp_path) as opened,
        pytest.raises(ProfileError, match=r"4 worker jobs in a row ended and no worker") as raised,
    ):
        replace_until_refused(opened)
    logs = list((tmp_path / "slurm-logs").glob("worker-*.log"))
    assert str(tmp_path / "slurm-logs") in str(raised.value)
    assert len(logs) == 4
    assert "no module named cuda" in logs[0].read_text()


def test_a_driver_that_was_killed_leaves_no_jobs(slurm: Path, tmp_path: Path) -> None:
    name = worker_job_name(tmp_path)
    script = tmp_path / "left.sh"
    script.write_text("#!/bin/bash\nsleep 600\n")
    subprocess.run(
        ["sbatch", f"--job-name={name}", "--mem=10M", "left.sh"], cwd=tmp_path, check=True
    )
    (left,) = queued_jobs(name)
    with open_cluster(slurm_profile(1), 1, tmp_path) as opened:
        wait_until(lambda: opened.num_live() == 1)
        assert left not in queued_jobs(name)
