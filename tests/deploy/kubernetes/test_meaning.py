"""What manifests say beyond their form: who may do what, and what follows which exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deploy.kubernetes import (
    access_manifests,
    scheduler_address,
    submit_manifests,
    worker_cluster_manifest,
)
from deploy.profiles import MachineProfile
from engine.commands.options import EXIT_QUARANTINED, EXIT_USER_ERROR

Json = dict[str, Any]


def _job(profile: MachineProfile) -> Json:
    *_, job = submit_manifests(profile, "cosmos", ["--survey", "/survey/dr10"], "")
    return job


def _pods(profile: MachineProfile) -> dict[str, Json]:
    cluster = worker_cluster_manifest(profile, "cosmos")["spec"]
    return {
        "driver": _job(profile)["spec"]["template"]["spec"],
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
    }


def _main(pod: Json) -> Json:
    (container,) = pod["containers"]
    found: Json = container
    return found


def _variables(pod: Json) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in _main(pod)["env"]}


def test_pods_are_locked_down(profile: MachineProfile) -> None:
    for role, pod in _pods(profile).items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert _main(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        # Only the driver speaks to the API.
        assert pod.get("automountServiceAccountToken", True) == (role == "driver")
        assert ("serviceAccountName" in pod) == (role == "driver")
        # Home and temporary files are where something can be written.
        mounts = {mount["mountPath"]: mount for mount in _main(pod)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for name in ("HOME", "TMPDIR"):
            assert "emptyDir" in volumes[mounts[_variables(pod)[name]]["name"]]
        assert "/tmp" in mounts
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        if role != "scheduler":
            assert mounts["/survey"]["readOnly"] is True
            assert volumes["survey"]["persistentVolumeClaim"]["readOnly"] is True
            assert "readOnly" not in mounts["/runs"]


def test_a_worker_gets_what_the_profile_says(gpu_profile: MachineProfile) -> None:
    spec = worker_cluster_manifest(gpu_profile, "cosmos")["spec"]["worker"]
    assert spec["replicas"] == 8
    pod = spec["spec"]
    wanted = {"memory": "48Gi", "cpu": "12", "nvidia.com/gpu": "1"}
    assert _main(pod)["resources"]["limits"] == wanted
    assert _main(pod)["resources"]["requests"] == {**wanted, "ephemeral-storage": "20Gi"}
    arguments = _main(pod)["args"]
    assert arguments[arguments.index("--memory-limit") + 1] == "48GiB"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    (toleration,) = pod["tolerations"]
    assert toleration["key"] == "nvidia.com/gpu"
    # 11 processes hand bricks over in shared memory, of which a container has 64 MB by itself.
    assert "/dev/shm" in {mount["mountPath"] for mount in _main(pod)["volumeMounts"]}


def test_a_cpu_worker_asks_for_no_gpu(cpu_profile: MachineProfile) -> None:
    profile = replace(cpu_profile, local_directory="/tmp")
    for pod in _pods(profile).values():
        assert "nvidia" not in str(pod)
        assert "tls" not in str(pod)
        assert "/dev/shm" not in str(pod)
    worker = _pods(profile)["worker"]
    assert _variables(worker)["TMPDIR"] == "/tmp"
    assert _main(worker)["args"][_main(worker)["args"].index("--local-directory") + 1] == "/tmp"


def test_the_operator_and_kubecluster_find_what_they_look_for(profile: MachineProfile) -> None:
    cluster = worker_cluster_manifest(profile, "cosmos")
    service = cluster["spec"]["scheduler"]["service"]
    ports = {port["name"]: port["port"] for port in service["ports"]}
    assert ports == {"tcp-comm": 8786, "http-dashboard": 8787}
    worker = _main(cluster["spec"]["worker"]["spec"])
    # The operator adds DASK_WORKER_NAME to `env`, and tcp://... unless an address is there.
    assert "$(DASK_WORKER_NAME)" in worker["args"]
    address = _variables(cluster["spec"]["worker"]["spec"])["DASK_SCHEDULER_ADDRESS"]
    assert address == scheduler_address(profile, "cosmos")
    protocol = "tls" if profile.kubernetes.tls_secret else "tcp"
    assert address == f"{protocol}://cosmos-scheduler.{profile.kubernetes.namespace}.svc:8786"


def test_a_cluster_goes_with_its_job(cpu_profile: MachineProfile) -> None:
    assert "ownerReferences" not in worker_cluster_manifest(cpu_profile, "cosmos")["metadata"]
    cluster = worker_cluster_manifest(cpu_profile, "cosmos", job_uid="0f3c")
    (owner,) = cluster["metadata"]["ownerReferences"]
    job = _job(cpu_profile)
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", job["metadata"]["name"], "0f3c")
    assert owner["apiVersion"] == job["apiVersion"]
    assert cluster["metadata"]["namespace"] == job["metadata"]["namespace"]


def _what_follows(job: Json, code: int, disrupted: bool = False) -> str:
    """The action on a driver's end, as the Job controller finds it: the first rule that fits."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if disrupted and {"DisruptionTarget"} & {
            condition["type"] for condition in rule.get("onPodConditions", [])
        }:
            return str(rule["action"])
        if code in rule.get("onExitCodes", {}).get("values", []):
            return str(rule["action"])
    return "Count"


def test_what_follows_the_end_of_a_driver(profile: MachineProfile) -> None:
    job = _job(profile)
    assert _what_follows(job, EXIT_USER_ERROR) == "FailJob"
    assert _what_follows(job, EXIT_QUARANTINED) == "FailJob"
    assert _what_follows(job, 143) == "Ignore"  # Drained: starts again.
    assert _what_follows(job, 137, disrupted=True) == "Ignore"  # Evicted, or its node went.
    for code in (1, 4, 137):  # A bug, a stalled run, out of memory: again, but not for ever.
        assert _what_follows(job, code) == "Count"
    assert 1 <= job["spec"]["backoffLimit"] <= 10
    assert "activeDeadlineSeconds" not in job["spec"]
    # A pod failure policy is refused with any other.
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60
    names = {
        rule.get("onExitCodes", {}).get("containerName", "engine")
        for rule in job["spec"]["podFailurePolicy"]["rules"]
    }
    assert names == {_main(job["spec"]["template"]["spec"])["name"]}


def test_the_driver_has_few_rights(gpu_profile: MachineProfile) -> None:
    account, role, binding = access_manifests(gpu_profile)
    rights = {
        (name, verb)
        for rule in role["rules"]
        for name in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {item for item in rights if item[1] not in ("get", "list")} == {
        ("daskclusters", "create"),
        ("daskclusters", "delete"),
    }
    assert not {name for name, _ in rights} & {"secrets", "*", "configmaps", "deployments"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert subject["name"] == account["metadata"]["name"] == "photoz-engine"
    assert subject["namespace"] == "surveys"
    assert _pods(gpu_profile)["driver"]["serviceAccountName"] == subject["name"]


@pytest.mark.parametrize("address", ["", "127.0.0.1:8787"])
def test_the_dashboard_is_there_when_asked(cpu_profile: MachineProfile, address: str) -> None:
    dashboard = replace(cpu_profile.dashboard, address=address)
    scheduler = _pods(replace(cpu_profile, dashboard=dashboard))["scheduler"]
    assert ("--dashboard" in _main(scheduler)["args"]) == bool(address)
    routes = "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"
    assert (routes in _variables(scheduler)) == (not address)


def test_only_pods_of_the_run_reach_its_pods(profile: MachineProfile) -> None:
    *_, policy, job = submit_manifests(profile, "cosmos", [], "")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    # The operator gives the labels of a cluster to its pods.
    cluster = worker_cluster_manifest(profile, "cosmos")
    assert labels.items() <= cluster["metadata"]["labels"].items()
    assert labels["app.kubernetes.io/instance"] == "cosmos"
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": labels}}]}]
