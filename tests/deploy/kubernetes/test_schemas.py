"""Manifests against the schemas of Kubernetes and of Dask's operator, and that these refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes import submit_manifests, to_yaml, worker_cluster_manifest
from deploy.profiles import MachineProfile

# The oldest Kubernetes that is promised, and the newest whose schemas are at hand.
VERSIONS = ("1.32", "1.36")
ARGUMENTS = ["--survey", "/survey/dr10", "--output", "/runs/cosmos"]
KINDS = "ServiceAccount Role RoleBinding ConfigMap NetworkPolicy Job".split()


def _submitted(profile: MachineProfile) -> dict[str, dict[str, Any]]:
    """What is applied for a run, as a reader of its text sees it, by kind."""
    text = to_yaml(submit_manifests(profile, "cosmos", ARGUMENTS, 'kind = "kubernetes"\n'))
    manifests = list(yaml.safe_load_all(text))
    assert [manifest["kind"] for manifest in manifests] == KINDS
    return {manifest["kind"]: manifest for manifest in manifests}


def _cluster(profile: MachineProfile) -> dict[str, Any]:
    manifest = worker_cluster_manifest(profile, "cosmos", job_uid="0f3c")
    (read,) = yaml.safe_load_all(to_yaml([manifest]))
    cluster: dict[str, Any] = read
    return cluster


def _deployment(cluster: dict[str, Any], part: str) -> dict[str, Any]:
    """What the operator makes of a part of the cluster."""
    labels = {"dask.org/component": part}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"cosmos-{part}", "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": cluster["spec"][part]["spec"]},
        },
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_what_is_submitted(profile: MachineProfile, version: str) -> None:
    for manifest in _submitted(profile).values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_pods_of_the_cluster(profile: MachineProfile, version: str) -> None:
    cluster = _cluster(profile)
    for part in ("scheduler", "worker"):
        kubernetes_validate.validate(_deployment(cluster, part), version, strict=True)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "cosmos-scheduler"},
        "spec": cluster["spec"]["scheduler"]["service"],
    }
    kubernetes_validate.validate(service, version, strict=True)


def test_the_operator_takes_the_cluster(
    profile: MachineProfile, dask_cluster_schema: jsonschema.Draft202012Validator
) -> None:
    dask_cluster_schema.validate(_cluster(profile))


def _misspell_backoff(job: dict[str, Any]) -> None:
    job["spec"]["backofLimit"] = job["spec"].pop("backoffLimit")


def _forget_the_action(job: dict[str, Any]) -> None:
    del job["spec"]["podFailurePolicy"]["rules"][0]["action"]


def _write_a_number(job: dict[str, Any]) -> None:
    job["spec"]["template"]["spec"]["containers"][0]["args"][0] = 5


@pytest.mark.parametrize("damage", [_misspell_backoff, _forget_the_action, _write_a_number])
def test_a_broken_job_is_refused(
    profile: MachineProfile, damage: Callable[[dict[str, Any]], None]
) -> None:
    job = _submitted(profile)["Job"]
    damage(job)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("spec", "scheduler"), "'scheduler' is a required property"),
        (("spec", "scheduler", "service"), "'service' is a required property"),
        (("spec", "worker", "spec", "containers", 0, "name"), "'name' is a required property"),
    ],
)
def test_a_broken_cluster_is_refused(
    profile: MachineProfile,
    dask_cluster_schema: jsonschema.Draft202012Validator,
    path: tuple[str | int, ...],
    message: str,
) -> None:
    cluster = _cluster(profile)
    missing = copy.deepcopy(cluster)
    inner: Any = missing
    for step in path[:-1]:
        inner = inner[step]
    value = inner.pop(path[-1])
    with pytest.raises(jsonschema.ValidationError, match=message):
        dask_cluster_schema.validate(missing)
    inner[f"{path[-1]}z"] = value  # Misspelt, and so both missing and unknown.
    errors = dask_cluster_schema.iter_errors(missing)
    assert any("unexpected" in error.message for error in errors)
