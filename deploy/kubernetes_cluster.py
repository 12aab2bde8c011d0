"""Workers as pods, by the Dask operator of a Kubernetes cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from distributed import Client

from deploy.kubernetes import worker_cluster_manifest
from deploy.opened import OpenCluster
from deploy.profiles import MachineProfile, ProfileError
from deploy.settings import DASK_SETTINGS


@contextmanager
def open_kubernetes(profile: MachineProfile, num_workers: int, name: str) -> Iterator[OpenCluster]:
    """Create a DaskCluster resource and use its workers; it is deleted on leaving.

    The operator starts a pod anew that dies or whose node is lost.

    Raises
    ------
    ProfileError
        If dask-kubernetes is not installed, no cluster or operator answers, or TLS is asked for.
    """
    if profile.kubernetes.tls_secret:
        raise ProfileError(
            f"kubernetes.tls_secret={profile.kubernetes.tls_secret!r}: dask-kubernetes connects to "
            "its scheduler without certificates; leave it empty, and keep other pods out with a "
            "NetworkPolicy"
        )
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise ProfileError(
            f"kind 'kubernetes' needs dask-kubernetes, which cannot be loaded ({error}): "
            "pip install 'photoz-engine[kubernetes]'"
        ) from None
    # The driver's Job says what it is called, and that its workers go when it does.
    name = os.environ.get("PHOTOZ_CLUSTER_NAME", name)
    manifest = worker_cluster_manifest(
        replace(profile, workers=num_workers),
        name,
        job_uid=os.environ.get("PHOTOZ_JOB_UID", ""),
        dask_settings=DASK_SETTINGS,
    )
    try:
        cluster = KubeCluster(
            custom_cluster_spec=manifest, namespace=profile.kubernetes.namespace, quiet=True
        )
    except Exception as error:  # What kr8s, httpx and the operator raise has no common class.
        lines = str(error).splitlines() or [type(error).__name__]
        raise ProfileError(
            f"namespace {profile.kubernetes.namespace!r}: no Dask cluster came up ({lines[0]}); is "
            "this a pod or a machine with a kubeconfig, and is the Dask operator installed?"
        ) from error
    with cluster, Client(cluster) as client:
        url = cluster.dashboard_link if profile.dashboard.address else None
        yield OpenCluster(client, num_workers, url)
