"""The driver of a run: a Job that runs `engine run`, and all that it needs beside it.

References
----------
Pod failure policy: https://kubernetes.io/docs/tasks/job/pod-failure-policy/
What KubeCluster calls: dask_kubernetes 2026.3.0, operator/kubecluster/kubecluster.py
"""

from __future__ import annotations

from collections.abc import Sequence

from deploy.kubernetes.names import check_kubernetes, check_name, memory_quantity
from deploy.kubernetes.pods import (
    SCRATCH_PATH,
    Json,
    add_data,
    add_tls,
    container,
    environment,
    home,
    labels,
    literal,
    pod,
    resources,
    tls_settings,
    writable_folders,
)
from deploy.profiles import MachineProfile, ProfileError
from deploy.settings import as_environment

PROFILE_PATH = "/etc/photoz/profile.toml"
# The driver is told this long before it is killed: it drains and deletes its workers.
_DRAIN_S = 120
# Ends that are nobody's order (a crash, out of memory, a run that stalled) are tried again so
# often, with pauses that Kubernetes doubles up to six minutes.
_NUM_RETRIES = 6
# A Job that ended, and a cluster that its driver could not delete, go after a day. What is worth
# keeping is in the run directory.
_KEEP_JOB_S = 24 * 3600
_USER_ERROR, _QUARANTINED, _DRAINED = 2, 3, 128 + 15


def submit_manifests(
    profile: MachineProfile, name: str, engine_arguments: Sequence[str], profile_text: str
) -> list[Json]:
    """Everything that one run needs, in the order in which it is applied.

    Parameters
    ----------
    profile, profile_text
        The machine profile, and its TOML text, which the driver reads again.
    name
        A good name (`resource_name`) of the Job, its profile and its cluster.
    engine_arguments
        Options of `engine run` other than the profile; paths are those inside the pods.

    Raises
    ------
    ProfileError
        If the name, the profile or an argument cannot be used.
    """
    check_name(name)
    check_kubernetes(profile)
    for text in (*engine_arguments, profile_text):
        if "\0" in text or not _is_unicode(text):
            raise ProfileError(f"{text!r}: a manifest is UTF-8 text; use names that are")
    return [
        *access_manifests(profile),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(profile, f"{name}-profile", name),
            "data": {PROFILE_PATH.rpartition("/")[2]: profile_text},
        },
        _network_policy(profile, name),
        _job(profile, name, engine_arguments),
    ]


def access_manifests(profile: MachineProfile) -> list[Json]:
    """The driver's account and its rights, which all runs of a namespace share.

    They are what KubeCluster calls from inside the cluster: no pod is made, no secret is read.

    Raises
    ------
    ProfileError
        If the profile cannot be used.
    """
    check_kubernetes(profile)
    account = profile.kubernetes.service_account
    metadata = _metadata(profile, account)
    group = "rbac.authorization.k8s.io"
    rules = [
        ("kubernetes.dask.org", ["daskclusters"], ["create", "delete", "get", "list"]),
        # It watches them start.
        ("kubernetes.dask.org", ["daskworkergroups"], ["list"]),
        ("", ["pods", "services"], ["get", "list"]),
        # It shows why a scheduler did not start.
        ("", ["pods/log"], ["get"]),
    ]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": metadata["namespace"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {"apiGroups": [api_group], "resources": names, "verbs": verbs}
                for api_group, names, verbs in rules
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
            "subjects": [subject],
        },
    ]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # A file name that is no UTF-8 comes as lone surrogates.
        return False
    return True


def _metadata(profile: MachineProfile, name: str, run: str = "") -> Json:
    return {
        "name": name,
        "namespace": profile.kubernetes.namespace,
        "labels": labels(run) if run else {"app.kubernetes.io/name": "photoz-engine"},
    }


def _network_policy(profile: MachineProfile, name: str) -> Json:
    """Only pods of this run reach its pods: whoever reaches a Dask scheduler runs code on it."""
    own = {"podSelector": {"matchLabels": labels(name)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(profile, name, name),
        "spec": {**own, "policyTypes": ["Ingress"], "ingress": [{"from": [own]}]},
    }


def _job(profile: MachineProfile, name: str, engine_arguments: Sequence[str]) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(profile, name, name),
        "spec": {
            "backoffLimit": _NUM_RETRIES,
            "ttlSecondsAfterFinished": _KEEP_JOB_S,
            # One driver at a time, also while a lost one may still be writing.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": {"labels": labels(name)},
                "spec": _driver_pod(profile, name, engine_arguments),
            },
        },
    }


def _failure_rules() -> list[Json]:
    """What follows the end of a driver's pod; the first rule that fits decides.

    A Job knows success (0) and failure. The user's mistake would be the same again, and a run
    that is done with bricks in quarantine has nothing left to do: both end the Job, as Failed.
    A driver that was evicted, or drained on SIGTERM, starts again without being counted.
    """

    def on_exit(code: int, action: str) -> Json:
        codes = {"containerName": "engine", "operator": "In", "values": [code]}
        return {"action": action, "onExitCodes": codes}

    disruption = {"type": "DisruptionTarget", "status": "True"}
    return [
        on_exit(_USER_ERROR, "FailJob"),
        on_exit(_QUARANTINED, "FailJob"),
        {"action": "Ignore", "onPodConditions": [disruption]},
        on_exit(_DRAINED, "Ignore"),
    ]


def _driver_pod(profile: MachineProfile, name: str, engine_arguments: Sequence[str]) -> Json:
    mounts = writable_folders(SCRATCH_PATH, "1Gi")
    add_data(mounts, profile)
    add_tls(mounts, profile)
    profile_folder, _, _ = PROFILE_PATH.rpartition("/")
    mounts.add("profile", profile_folder, {"configMap": {"name": f"{name}-profile"}}, readOnly=True)
    arguments = ["run", "--profile", PROFILE_PATH, *(literal(text) for text in engine_arguments)]
    variables = environment(
        home(SCRATCH_PATH)
        | as_environment(tls_settings(profile, "client"))
        | {"PHOTOZ_CLUSTER_NAME": name}
    )
    uid_label = "metadata.labels['batch.kubernetes.io/controller-uid']"
    job_uid = {"name": "PHOTOZ_JOB_UID", "valueFrom": {"fieldRef": {"fieldPath": uid_label}}}
    main = container(
        profile,
        "engine",
        "engine",
        arguments,
        # Where a relative --output is kept.
        workingDir=profile.kubernetes.run_path,
        env=[*variables, job_uid],
        resources=resources(memory_quantity(profile.kubernetes.driver_memory), 1),
    )
    return pod(
        mounts,
        main,
        # A pod failure policy allows no other; the Job makes a new pod instead.
        restartPolicy="Never",
        serviceAccountName=profile.kubernetes.service_account,
        terminationGracePeriodSeconds=_DRAIN_S,
    )
