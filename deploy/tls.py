"""Certificates between driver, scheduler and workers.

Whoever can connect to a scheduler can run code on its workers, so on a network that others use
every side must show a certificate signed by the same authority.
"""

from __future__ import annotations

import os
from pathlib import Path

from distributed import Security

from deploy.profiles import ProfileError, Tls


def write_temporary_tls(folder: Path) -> Tls:
    """Write a self-signed certificate and its key, for the life of one cluster.

    Parameters
    ----------
    folder
        A folder that only the user can read and every host of the cluster sees.

    Raises
    ------
    ProfileError
        If `cryptography` is not installed.
    """
    try:
        made = Security.temporary()
    except ImportError:
        raise ProfileError(
            "workers on other hosts talk TLS, which needs the package cryptography: "
            "pip install 'photoz-engine[slurm]'"
        ) from None
    _write_private(folder / "cert.pem", made.tls_scheduler_cert)
    _write_private(folder / "key.pem", made.tls_scheduler_key)
    cert = str(folder / "cert.pem")
    return Tls(ca_file=cert, cert_file=cert, key_file=str(folder / "key.pem"))


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def tls_settings(tls: Tls) -> dict[str, str]:
    """Dask's settings for these files, the same for every role."""
    prefix = "distributed.comm.tls"
    return {f"{prefix}.ca-file": tls.ca_file} | {
        f"{prefix}.{role}.{kind}": path
        for role in ("client", "scheduler", "worker")
        for kind, path in (("cert", tls.cert_file), ("key", tls.key_file))
    }


def security_of(tls: Tls) -> Security | None:
    """What Dask asks for; None for plain TCP.

    Raises
    ------
    ProfileError
        If a file is missing.
    """
    if not tls.ca_file:
        return None
    for name in ("ca_file", "cert_file", "key_file"):
        if not Path(getattr(tls, name)).is_file():
            raise ProfileError(f"tls.{name}={getattr(tls, name)!r}: is no file")
    roles = ("client", "scheduler", "worker")
    return Security(
        require_encryption=True,
        tls_ca_file=tls.ca_file,
        **{f"tls_{role}_cert": tls.cert_file for role in roles},
        **{f"tls_{role}_key": tls.key_file for role in roles},
    )
