"""The Dask cluster of a run: a scheduler and workers, as the resource of Dask's operator.

References
----------
DaskCluster, kubernetes.dask.org/v1: https://kubernetes.dask.org/en/latest/operator_resources.html
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.kubernetes.names import check_kubernetes, check_name, memory_quantity
from deploy.kubernetes.pods import (
    SCRATCH_PATH,
    Json,
    add_data,
    add_tls,
    container,
    environment,
    health_routes,
    home,
    labels,
    node_choice,
    pod,
    resources,
    tls_arguments,
    tls_settings,
    writable_folders,
)
from deploy.profiles import MachineProfile
from deploy.settings import as_environment

_COMM_PORT = 8786
_HTTP_PORT = 8787
# A scheduler holds receipts and 3 kB a task, but imports the engine to read what it is sent.
_SCHEDULER_MEMORY = "2Gi"
# A worker whose scheduler is gone for this long ends; its pod starts it again.
_DEATH_TIMEOUT_S = 120


def scheduler_address(profile: MachineProfile, name: str) -> str:
    """Where driver and workers of the run `name` find its scheduler."""
    protocol = "tls" if profile.kubernetes.tls_secret else "tcp"
    host = f"{name}-scheduler.{profile.kubernetes.namespace}.svc"
    return f"{protocol}://{host}:{_COMM_PORT}"


def worker_cluster_manifest(
    profile: MachineProfile,
    name: str,
    *,
    job_uid: str = "",
    dask_settings: Mapping[str, object] | None = None,
) -> Json:
    """The DaskCluster of the run `name`.

    Parameters
    ----------
    profile
        Of kind `kubernetes`; `workers` pods of one worker each.
    name
        A good name (`resource_name`); also that of the run's Job.
    job_uid
        UID of the run's Job (in its pod: the variable PHOTOZ_JOB_UID). The cluster is deleted
        with that Job then, so that no GPU is held by a driver that died for good.
    dask_settings
        For scheduler and workers, as `dask.config.set` takes them.

    Raises
    ------
    ProfileError
        If the name or the profile cannot be used.
    """
    check_name(name)
    check_kubernetes(profile)
    settings = dict(dask_settings or {})
    metadata: Json = {
        "name": name,
        "namespace": profile.kubernetes.namespace,
        "labels": labels(name),
    }
    if job_uid:
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": metadata,
        "spec": {
            "scheduler": {
                "spec": _scheduler_pod(profile, settings),
                "service": _scheduler_service(name),
            },
            "worker": {
                "replicas": profile.workers,
                "spec": _worker_pod(profile, name, settings),
            },
        },
    }


def _scheduler_pod(profile: MachineProfile, settings: dict[str, object]) -> Json:
    mounts = writable_folders(SCRATCH_PATH, "1Gi")
    add_tls(mounts, profile)
    settings = {**settings, **tls_settings(profile, "scheduler")}
    if not profile.dashboard.address:
        settings |= health_routes()
    arguments = [
        *("scheduler", "--host", "0.0.0.0", "--port", str(_COMM_PORT)),
        *("--dashboard-address", f":{_HTTP_PORT}"),
        "--dashboard" if profile.dashboard.address else "--no-dashboard",
        *tls_arguments(profile),
    ]
    # As dask-kubernetes' own: /health is there without the dashboard too.
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    main = container(
        profile,
        "scheduler",
        "dask",
        arguments,
        env=environment(home(SCRATCH_PATH) | as_environment(settings)),
        resources=resources(_SCHEDULER_MEMORY, 1),
        ports=[
            {"name": "tcp-comm", "containerPort": _COMM_PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": _HTTP_PORT, "protocol": "TCP"},
        ],
        readinessProbe={**health, "periodSeconds": 5, "timeoutSeconds": 10},
        livenessProbe={**health, "initialDelaySeconds": 15, "periodSeconds": 20},
    )
    return pod(mounts, main, automountServiceAccountToken=False)


def _scheduler_service(name: str) -> Json:
    # KubeCluster and the operator look for both ports by these names.
    ports = [("tcp-comm", _COMM_PORT), ("http-dashboard", _HTTP_PORT)]
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": port_name, "protocol": "TCP", "port": port, "targetPort": port_name}
            for port_name, port in ports
        ],
    }


def _worker_pod(profile: MachineProfile, name: str, settings: dict[str, object]) -> Json:
    """One pod is one worker; with GPUs it has one, which is the first that it sees."""
    scratch = profile.local_directory or SCRATCH_PATH
    memory = memory_quantity(profile.memory_limit)
    mounts = writable_folders(scratch, profile.kubernetes.scratch_size)
    add_data(mounts, profile)
    add_tls(mounts, profile)
    if profile.decode_processes:
        # Decoded bricks pass through shared memory, of which a container has 64 MB by itself.
        # What is in it counts as the pod's memory.
        memory_folder = {"emptyDir": {"medium": "Memory", "sizeLimit": memory}}
        mounts.add("shared-memory", "/dev/shm", memory_folder)
    arguments = [
        *("worker", "--nworkers", "1", "--nthreads", "1", "--no-dashboard"),
        *("--memory-limit", profile.memory_limit.replace(" ", "")),
        *("--local-directory", scratch),
        *("--death-timeout", str(_DEATH_TIMEOUT_S)),
        # The operator sets it, and finds a pod by its worker's name.
        *("--name", "$(DASK_WORKER_NAME)"),
        *tls_arguments(profile),
    ]
    variables = {
        **home(scratch),
        **as_environment({**settings, **tls_settings(profile, "worker")}),
        **profile.environment,
        # The operator would set tcp://.
        "DASK_SCHEDULER_ADDRESS": scheduler_address(profile, name),
    }
    main = container(
        profile,
        "worker",
        "dask",
        arguments,
        env=environment(variables),
        resources=resources(
            memory,
            profile.threads,
            scratch=profile.kubernetes.scratch_size,
            num_gpus=profile.gpus_per_worker,
        ),
    )
    return pod(mounts, main, automountServiceAccountToken=False, **node_choice(profile))
