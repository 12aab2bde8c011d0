"""Manifests to a Kubernetes cluster, by kubectl."""

from __future__ import annotations

import subprocess

from deploy.profiles import ProfileError

_TIMEOUT_S = 120


def apply_manifests(text: str) -> str:
    """`kubectl apply`; returns what it said.

    Raises
    ------
    ProfileError
        If kubectl is not there, does not answer, or refuses, in its words.
    """
    command = ["kubectl", "apply", "-f", "-"]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except FileNotFoundError:
        raise ProfileError(
            "kubectl: not found; install it, or write the manifests with --dry-run and apply them "
            "where it is"
        ) from None
    except subprocess.TimeoutExpired:
        raise ProfileError(f"kubectl apply: no answer within {_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        raise ProfileError(f"kubectl apply failed: {'; '.join(lines)}") from None
    return done.stdout.rstrip()
