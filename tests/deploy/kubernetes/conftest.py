"""Profiles of which manifests are made, and the schema of Dask's operator."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.profiles import Kubernetes, MachineProfile

# The operator whose schema and code the manifests were written for.
_OPERATOR = "dask-kubernetes==2026.3.0"
_SCHEMA = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"

_CPU = MachineProfile(
    kind="kubernetes",
    workers=3,
    memory_limit="4GB",
    kubernetes=Kubernetes(
        image="registry.example.org/photoz-engine:0.1.0", survey_claim="dr10", run_claim="runs"
    ),
)
_GPU = replace(
    _CPU,
    workers=8,
    threads=12,
    memory_limit="48GiB",
    gpus_per_worker=1,
    decode_processes=11,
    environment={"PHOTOZ_NOTE": "it's $(HOME): 5 $ a day", "NUMBER": "1e3"},
    kubernetes=replace(
        _CPU.kubernetes,
        namespace="surveys",
        node_selector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
        tls_secret="photoz-tls",
    ),
)


@pytest.fixture
def cpu_profile() -> MachineProfile:
    """Three workers on one core each."""
    return _CPU


@pytest.fixture
def gpu_profile() -> MachineProfile:
    """Eight workers with a GPU each, decode processes, TLS and a choice of nodes."""
    return _GPU


@pytest.fixture(params=[_CPU, _GPU], ids=["cpu", "gpu"])
def profile(request: pytest.FixtureRequest) -> MachineProfile:
    """Either of them."""
    found: MachineProfile = request.param
    return found


@pytest.fixture(scope="session")
def dask_cluster_schema(pytestconfig: pytest.Config) -> jsonschema.Draft202012Validator:
    """The DaskCluster schema of Dask's operator, out of its wheel without the 260 MB around it.

    Names that the schema does not know are errors, where an API server would drop them silently.
    """
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir(_OPERATOR.replace("==", "-"))
    if not list(folder.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--timeout", "15", "--retries", "1", "--dest"]
        fetched = subprocess.run(
            [*pip, str(folder), _OPERATOR], capture_output=True, text=True, timeout=120, check=False
        )
        if fetched.returncode:
            pytest.skip(f"{_OPERATOR} cannot be downloaded: {fetched.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(Path(wheel)) as archive:
        definition = yaml.safe_load(archive.read(_SCHEMA))
    (version,) = definition["spec"]["versions"]
    assert version["name"] == "v1"
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    # Every resource has these; a definition need not repeat them.
    schema["properties"] |= {
        "apiVersion": {"const": "kubernetes.dask.org/v1"},
        "kind": {"const": "DaskCluster"},
        "metadata": {"type": "object", "required": ["name"]},
    }
    _forbid_unknown(schema)
    return jsonschema.Draft202012Validator(schema)


def _forbid_unknown(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _forbid_unknown(item)
    if isinstance(schema, dict):
        for item in schema.values():
            _forbid_unknown(item)
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
        if isinstance(schema.get("properties"), dict) and not open_ended and "type" in schema:
            schema.setdefault("additionalProperties", False)
