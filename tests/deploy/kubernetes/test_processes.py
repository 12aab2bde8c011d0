"""The programs of the manifests are run as the pods would: same arguments, same environment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Security
from distributed.comm import connect

from deploy.kubernetes import submit_manifests, worker_cluster_manifest
from deploy.kubernetes.pods import TLS_PATH
from deploy.profiles import MachineProfile

Json = dict[str, Any]
# Not those of Dask, so that a setting that does not arrive is seen.
SETTINGS = {
    "distributed.worker.memory.target": False,
    "distributed.scheduler.allowed-failures": 7,
    "distributed.scheduler.no-workers-timeout": "11m",
    "distributed.logging": {"distributed": "warning"},
}


def _write_certificates(folder: Path) -> None:
    """What `kubectl create secret generic --from-file` would hold."""
    folder.mkdir()
    security = Security.temporary()
    (folder / "ca.crt").write_text(str(security.tls_ca_file))
    (folder / "tls.crt").write_text(str(security.tls_client_cert))
    (folder / "tls.key").write_text(str(security.tls_client_key))


def _environment(container: Json, folder: Path) -> dict[str, str]:
    """The container's variables; the secret's folder is `folder`."""
    values = {item["name"]: item["value"] for item in container["env"] if "value" in item}
    return {
        name: value.replace("$$", "$").replace(TLS_PATH, str(folder / "tls"))
        for name, value in values.items()
    }


@contextmanager
def _process(container: Json, folder: Path, *more: str, **variables: str) -> Iterator[None]:
    """Run a container's program here; `more` arguments and variables come last and win."""
    (program,) = container["command"]
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    environment = {**inherited, **_environment(container, folder), **variables}
    environment |= {"HOME": str(folder), "TMPDIR": str(folder)}
    arguments = [text.replace(TLS_PATH, str(folder / "tls")) for text in container["args"]]
    arguments = [
        environment["DASK_WORKER_NAME"] if text == "$(DASK_WORKER_NAME)" else text
        for text in arguments
    ]
    command = [str(Path(sys.executable).parent / program), *arguments, *more]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _scheduler_identity(folder: Path) -> Json:
    file = folder / "scheduler.json"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    identity: Json = json.loads(file.read_text())
    return identity


def _http_status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_scheduler_and_worker_start(profile: MachineProfile, tmp_path: Path) -> None:
    # Dask lowers a limit above the machine's memory.
    profile = replace(profile, local_directory=str(tmp_path), memory_limit="1.5GB")
    cluster = worker_cluster_manifest(profile, "cosmos", dask_settings=SETTINGS)["spec"]
    *_, job = submit_manifests(profile, "cosmos", [], "")
    (scheduler,) = cluster["scheduler"]["spec"]["containers"]
    (worker,) = cluster["worker"]["spec"]["containers"]
    (driver,) = job["spec"]["template"]["spec"]["containers"]
    is_tls = bool(profile.kubernetes.tls_secret)
    if is_tls:
        _write_certificates(tmp_path / "tls")
    # Only where the processes listen is another place than in pods.
    here = ("--host", "127.0.0.1")
    ports = ("--port", "0", "--dashboard-address", "127.0.0.1:0")
    with ExitStack() as stack:
        file = ("--scheduler-file", str(tmp_path / "scheduler.json"))
        stack.enter_context(_process(scheduler, tmp_path, *here, *ports, *file))
        identity = _scheduler_identity(tmp_path)
        address = identity["address"]
        assert address.startswith("tls://" if is_tls else "tcp://")
        port = identity["services"]["dashboard"]
        assert _http_status(port, scheduler["readinessProbe"]["httpGet"]["path"]) == 200
        assert _http_status(port, "/info/main/workers.html") == 404
        names = {"DASK_WORKER_NAME": "cosmos-default-worker-1", "DASK_SCHEDULER_ADDRESS": address}
        stack.enter_context(_process(worker, tmp_path, *here, **names))
        settings = dask.config.collect_env(env=_environment(driver, tmp_path))
        stack.enter_context(dask.config.set(dask.config.merge(dask.config.config, settings)))
        client = stack.enter_context(Client(address))
        client.wait_for_workers(1, timeout=60)
        (found,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert found["name"] == "cosmos-default-worker-1"
        assert found["nthreads"] == 1
        assert found["memory_limit"] == dask.utils.parse_bytes(profile.memory_limit)
        assert Path(found["local_directory"]).is_relative_to(tmp_path)
        for name, value in profile.environment.items():
            assert client.submit(os.getenv, name).result(60) == value
        for key, value in SETTINGS.items():
            assert client.run_on_scheduler(dask.config.get, key) == value
            assert client.submit(dask.config.get, key).result(60) == value


def test_without_certificates_nobody_gets_in(gpu_profile: MachineProfile, tmp_path: Path) -> None:
    _write_certificates(tmp_path / "tls")
    cluster = worker_cluster_manifest(gpu_profile, "cosmos")["spec"]
    (scheduler,) = cluster["scheduler"]["spec"]["containers"]
    more = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    file = ("--scheduler-file", str(tmp_path / "scheduler.json"))
    with _process(scheduler, tmp_path, *more, *file):
        address = _scheduler_identity(tmp_path)["address"]
        own = Security(
            tls_ca_file=str(tmp_path / "tls" / "ca.crt"),
            tls_client_cert=str(tmp_path / "tls" / "tls.crt"),
            tls_client_key=str(tmp_path / "tls" / "tls.key"),
        )
        assert _knock(address, own)
        assert not _knock(address, Security.temporary())
        assert not _knock(address.replace("tls://", "tcp://"), Security())


def _knock(address: str, security: Security) -> bool:
    """Whether a scheduler shakes hands."""

    async def knock() -> None:
        comm = await connect(address, timeout=2, **security.get_connection_args("client"))
        await comm.close()

    try:
        asyncio.run(knock())
    except OSError:
        return False
    return True
