"""What the pods of a run have in common: one container, locked down, and its volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.profiles import MachineProfile, ProfileError

# The user of deploy/containers/Dockerfile, which owns nothing outside its writable folders.
USER_ID = 10001
TLS_PATH = "/etc/photoz-tls"
SCRATCH_PATH = "/scratch"
_TLS_FILES = {
    "ca_file": f"{TLS_PATH}/ca.crt",
    "cert": f"{TLS_PATH}/tls.crt",
    "key": f"{TLS_PATH}/tls.key",
}

Json = dict[str, Any]


@dataclass
class Mounts:
    """Volumes of a pod and where its container sees them."""

    volumes: list[Json] = field(default_factory=list)
    mounts: list[Json] = field(default_factory=list)

    def add(self, name: str, path: str, source: Json, **options: Any) -> None:
        """Mount `source`, a volume without its name, at `path`.

        Raises
        ------
        ProfileError
            If something else is mounted there: Kubernetes refuses the pod.
        """
        for mount in self.mounts:
            if mount["mountPath"].rstrip("/") == path.rstrip("/"):
                raise ProfileError(
                    f"machine profile: {mount['name']} and {name} are both at {path}; "
                    "give one of them another path"
                )
        self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": path, **options})


def literal(text: str) -> str:
    """`text` so that it arrives as it is: Kubernetes fills in `$(NAME)` and reads `$$` as `$`."""
    return text.replace("$", "$$")


def environment(variables: Mapping[str, str]) -> list[Json]:
    """Environment variables whose values arrive as they are."""
    return [{"name": name, "value": literal(value)} for name, value in variables.items()]


def writable_folders(scratch_path: str, scratch_size: str) -> Mounts:
    """Scratch and /tmp; all else of the root file system is read-only."""
    folders = Mounts()
    folders.add("scratch", scratch_path, {"emptyDir": {"sizeLimit": scratch_size}})
    if scratch_path.rstrip("/") != "/tmp":
        folders.add("tmp", "/tmp", {"emptyDir": {"sizeLimit": "1Gi"}})
    return folders


def add_data(mounts: Mounts, profile: MachineProfile) -> None:
    """The survey, to be read, and run directories."""
    settings = profile.kubernetes
    if settings.survey_claim:
        claim = {"claimName": settings.survey_claim, "readOnly": True}
        source = {"persistentVolumeClaim": claim}
        mounts.add("survey", settings.survey_path, source, readOnly=True)
    claim = {"claimName": settings.run_claim}
    mounts.add("runs", settings.run_path, {"persistentVolumeClaim": claim})


def add_tls(mounts: Mounts, profile: MachineProfile) -> None:
    """The certificates, if there are any; readable by the pod's group and nobody else."""
    secret = profile.kubernetes.tls_secret
    if secret:
        source = {"secret": {"secretName": secret, "defaultMode": 0o440}}
        mounts.add("tls", TLS_PATH, source, readOnly=True)


def tls_arguments(profile: MachineProfile) -> list[str]:
    """What `dask scheduler` and `dask worker` are told about the certificates."""
    if not profile.kubernetes.tls_secret:
        return []
    files = _TLS_FILES
    return [
        *("--protocol", "tls"),
        *("--tls-ca-file", files["ca_file"]),
        *("--tls-cert", files["cert"], "--tls-key", files["key"]),
    ]


def tls_settings(profile: MachineProfile, role: str) -> dict[str, object]:
    """Dask settings with which `Security()` finds the certificates of a role, for example
    `client`, and with which nothing speaks plain TCP."""
    if not profile.kubernetes.tls_secret:
        return {}
    return {
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": _TLS_FILES["ca_file"],
        f"distributed.comm.tls.{role}.cert": _TLS_FILES["cert"],
        f"distributed.comm.tls.{role}.key": _TLS_FILES["key"],
    }


def resources(memory: str, num_cores: int, *, scratch: str = "", num_gpus: int = 0) -> Json:
    """Requests and limits. Memory and cores are the same in both, so that a pod is among the last
    that a node under pressure evicts."""
    same: Json = {"memory": memory, "cpu": str(num_cores)}
    if num_gpus:
        same["nvidia.com/gpu"] = str(num_gpus)
    return {
        "requests": {**same, "ephemeral-storage": scratch} if scratch else dict(same),
        "limits": same,
    }


def container(
    profile: MachineProfile, name: str, command: str, arguments: Sequence[str], **more: Any
) -> Json:
    """A container that runs one program with an argument list: no shell reads it."""
    return {
        "name": name,
        "image": profile.kubernetes.image,
        "imagePullPolicy": profile.kubernetes.image_pull_policy,
        "command": [command],
        # KubeCluster reads `args` of a cluster that it connects to again, so they are apart.
        "args": list(arguments),
        **more,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def pod(mounts: Mounts, main: Json, **more: Any) -> Json:
    """A pod of one container, of an ordinary user."""
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            # Else every start of a pod walks through all run directories.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Else a service called dask-scheduler sets DASK_SCHEDULER_PORT, which Dask takes for a
        # setting of its own.
        "enableServiceLinks": False,
        **more,
        "containers": [{**main, "volumeMounts": mounts.mounts}],
        "volumes": mounts.volumes,
    }


def home(scratch_path: str) -> dict[str, str]:
    """Where libraries may write: HOME and temporary files lie in the scratch folder."""
    return {"HOME": scratch_path, "TMPDIR": scratch_path, "PYTHONUNBUFFERED": "1"}


def labels(name: str) -> dict[str, str]:
    """Labels of everything that belongs to one run."""
    return {"app.kubernetes.io/name": "photoz-engine", "app.kubernetes.io/instance": name}


def node_choice(profile: MachineProfile) -> Json:
    """On which nodes workers may be."""
    choice: Json = {}
    if profile.kubernetes.node_selector:
        choice["nodeSelector"] = dict(profile.kubernetes.node_selector)
    if profile.gpus_per_worker:
        # GPU nodes are commonly tainted, so that nothing else fills them.
        taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        choice["tolerations"] = [taint]
    return choice


def health_routes() -> dict[str, object]:
    """Dask settings with which a scheduler's HTTP port answers `/health` and nothing else."""
    return {"distributed.scheduler.http.routes": ["distributed.http.health"]}
