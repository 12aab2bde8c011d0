"""A run on Kubernetes: what to apply, as plain dicts; nothing here talks to a cluster."""

from deploy.kubernetes.driver import access_manifests, submit_manifests
from deploy.kubernetes.names import resource_name
from deploy.kubernetes.text import to_yaml
from deploy.kubernetes.workers import scheduler_address, worker_cluster_manifest

__all__ = [
    "access_manifests",
    "resource_name",
    "scheduler_address",
    "submit_manifests",
    "to_yaml",
    "worker_cluster_manifest",
]
