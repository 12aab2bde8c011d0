"""Clusters on this machine and at an address; Slurm has files of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import dask
import pytest
import torch

import deploy
from deploy.cluster import open_cluster
from deploy.cuda import visible_gpus
from deploy.one_gpu import gpu_of_worker
from deploy.profiles import Dashboard, MachineProfile, ProfileError, Tls
from deploy.settings import DASK_SETTINGS, as_environment
from deploy.tls import write_temporary_tls

LOCAL = MachineProfile(workers=1, environment={"PHOTOZ_WORD": "it's $(x)"})


def test_local_workers_are_on_loopback_with_one_thread(tmp_path: Path) -> None:
    with open_cluster(LOCAL, 1, tmp_path) as cluster:
        client = cluster.client
        info = client.scheduler_info(n_workers=-1)
        assert info["address"].startswith("tcp://127.0.0.1:")
        (worker,) = info["workers"].values()
        assert (worker["nthreads"], worker["host"]) == (1, "127.0.0.1")
        seen = client.run(
            lambda dask_worker: (
                os.environ["PHOTOZ_WORD"],
                dask_worker.http_server.address,
                dask.config.get("distributed.worker.memory.spill"),
            )
        )
        assert list(seen.values()) == [("it's $(x)", "127.0.0.1", False)]
        # The death of a worker is told at once.
        assert cluster.client.cluster.scheduler.allowed_failures == 0
        assert (cluster.dashboard_url, cluster.waiting_for()) == (None, None)
        assert cluster.replace_lost() == []
        assert cluster.describe() == "1 of 1 workers are there"
    assert dask.config.get("distributed.scheduler.allowed-failures") == 3


def test_the_dashboard_is_where_the_profile_says(tmp_path: Path) -> None:
    profile = replace(LOCAL, dashboard=Dashboard("127.0.0.1:0"))
    with open_cluster(profile, 1, tmp_path) as cluster:
        assert cluster.dashboard_url is not None
        host, _, port = cluster.dashboard_url.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port.partition("/")[0])), timeout=10) as page:
            page.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            assert b"200 OK" in page.recv(100)


def test_settings_reach_dask_by_the_environment() -> None:
    environment = as_environment(DASK_SETTINGS | {"distributed.comm.tls.ca-file": "/a b/c.pem"})
    names = [*DASK_SETTINGS, "distributed.comm.tls.ca-file"]
    code = f"import dask, distributed; print([dask.config.get(name) for name in {names}])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str([*DASK_SETTINGS.values(), "/a b/c.pem"])


# --- GPUs -----------------------------------------------------------------------------------------


def test_without_an_nvidia_driver_it_is_said(tmp_path: Path) -> None:
    pynvml = pytest.importorskip("pynvml", reason="dask-cuda is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        pass
    else:
        pytest.skip("this machine has an NVIDIA driver")
    profile = MachineProfile(kind="cuda", workers=0, gpus_per_worker=1)
    with (
        pytest.raises(ProfileError, match=r"no NVIDIA driver answers here .*--profile laptop"),
        open_cluster(profile, 0, tmp_path),
    ):
        pass


def test_without_dask_cuda_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    profile = MachineProfile(kind="cuda", workers=0, gpus_per_worker=1)
    with (
        pytest.raises(ProfileError, match=r"pip install 'photoz-engine\[cuda\]'"),
        open_cluster(profile, 0, tmp_path),
    ):
        pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_one_worker_for_each_gpu(tmp_path: Path) -> None:
    gpus = visible_gpus()
    profile = MachineProfile(kind="cuda", workers=0, gpus_per_worker=1)
    with open_cluster(profile, 0, tmp_path) as cluster:
        assert cluster.num_workers == len(gpus)
        seen = cluster.client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"].split(",")[0])
        assert sorted(seen.values()) == sorted(gpus)
    with (
        pytest.raises(ProfileError, match=f"at most {len(gpus)}"),
        open_cluster(profile, len(gpus) + 1, tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "visible", "expected"),
    [
        ("photoz-x-w-3-0", "0,1,2,3", "0"),
        ("photoz-x-w-3-3", "0,1,2,3", "3"),
        ("task-5-4", "GPU-a,GPU-b", "GPU-a"),
        ("photoz-x-w-3", "7", None),
        ("photoz-x-w-3", "", None),
        ("photoz-x-w-3", None, None),
    ],
)
def test_which_gpu_a_worker_sees(name: str, visible: str | None, expected: str | None) -> None:
    assert gpu_of_worker(name, visible) == expected


# --- a scheduler that is there already ------------------------------------------------------------

_SERVE = """
import asyncio, json, sys
from distributed import Scheduler, Worker
from deploy.profiles import Tls
from deploy.tls import security_of

async def main(path, tls):
    security = security_of(tls)
    options = {"host": "127.0.0.1", "security": security, "dashboard_address": "127.0.0.1:0"}
    protocol = "tls://" if security else "tcp://"
    scheduler = Scheduler(protocol=protocol, dashboard=False, scheduler_file=path, **options)
    async with scheduler, Worker(scheduler.address, nthreads=1, dashboard=False, **options):
        print(scheduler.address, flush=True)
        await scheduler.finished()

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Tls(**json.loads(sys.argv[2]))))
"""


@pytest.fixture(params=["tcp", "tls"])
def scheduler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, Tls]]:
    """A scheduler with one worker in a process of its own: its address, its file, its keys."""
    tls = write_temporary_tls(tmp_path) if request.param == "tls" else Tls()
    (tmp_path / "serve.py").write_text(_SERVE)
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        [sys.executable, tmp_path / "serve.py", file, json.dumps(asdict(tls))],
        env=os.environ | {"PYTHONPATH": str(Path(deploy.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip(), file, tls
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_workers_of_a_scheduler_are_used_and_stay(
    scheduler: tuple[str, Path, Tls], tmp_path: Path
) -> None:
    address, file, tls = scheduler
    for where in (address, str(file)):
        profile = MachineProfile(kind="address", scheduler=where, workers=1, tls=tls)
        with open_cluster(profile, 1, tmp_path) as cluster:
            assert cluster.client.submit(lambda: 6 * 7, pure=False).result(timeout=30) == 42
            assert cluster.describe() == "1 of 1 workers are there"


def test_tls_without_certificates_is_refused(tmp_path: Path) -> None:
    profile = MachineProfile(kind="address", scheduler="tls://127.0.0.1:1")
    with (
        pytest.raises(ProfileError, match=r"\[tls\] names none"),
        open_cluster(profile, 1, tmp_path),
    ):
        pass
    tls = Tls("/no/ca.pem", "/no/cert.pem", "/no/key.pem")
    with (
        pytest.raises(ProfileError, match=r"tls.ca_file='/no/ca.pem': is no file"),
        open_cluster(replace(profile, tls=tls), 1, tmp_path),
    ):
        pass


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.address._TIMEOUT_S", 1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # Bound, and nobody listens.
        where = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        profile = MachineProfile(kind="address", scheduler=where)
        with (
            pytest.raises(ProfileError, match=f"no Dask scheduler answered at {where}"),
            open_cluster(profile, 1, tmp_path),
        ):
            pass
    for name, text in (("absent.json", None), ("other.json", "{}"), ("broken.json", "{")):
        if text is not None:
            (tmp_path / name).write_text(text)
        profile = MachineProfile(kind="address", scheduler=str(tmp_path / name))
        with (
            pytest.raises(ProfileError, match="neither an address such as"),
            open_cluster(profile, 1, tmp_path),
        ):
            pass
