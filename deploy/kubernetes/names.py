"""Names and sizes as Kubernetes spells them."""

from __future__ import annotations

import hashlib
import re

from deploy.profiles import MachineProfile, ProfileError

# The scheduler's service is NAME-scheduler, and a service's name is a label of 63 characters that
# begins with a letter (RFC 1035; a plain RFC 1123 label may begin with a digit).
MAX_NAME_LENGTH = 63 - len("-scheduler")
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) *(?:([kMGT]i?)?B)")
_QUANTITY = re.compile(r"\d+(\.\d+)?(k|[MGTP]|[KMGTP]i)?")


def resource_name(text: str) -> str:
    """A name for a run's resources, made from any text, for example of the run's folder.

    A text that is a good name already is kept. Another one is cut down to what is allowed and
    gets eight digits of its sha256, so that no two runs share a name.
    """
    if _LABEL.fullmatch(text) and len(text) <= MAX_NAME_LENGTH:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-0123456789")
    kept = kept[: MAX_NAME_LENGTH - len(digest) - 1].rstrip("-") or "run"
    return f"{kept}-{digest}"


def check_name(name: str) -> None:
    """Refuse a name that resources of a run cannot have.

    Raises
    ------
    ProfileError
        With a name that would do.
    """
    if not _LABEL.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise ProfileError(
            f"name {name!r}: expected at most {MAX_NAME_LENGTH} of a-z, 0-9 and '-', the first a "
            f"letter, the last no '-'; for example {resource_name(name)!r}"
        )


def memory_quantity(size: str) -> str:
    """`8GB` -> `8G`, `8 GiB` -> `8Gi`: the same bytes as Dask's, as Kubernetes writes them.

    Raises
    ------
    ProfileError
        If it is no size.
    """
    match = _SIZE.fullmatch(size)
    if match is None:
        raise ProfileError(f'memory {size!r}: expected a size such as "8GB" or "8GiB"')
    number, unit = match[1], match[2] or ""
    return number + ("Ki" if unit == "ki" else unit)


def check_kubernetes(profile: MachineProfile) -> None:
    """Refuse settings of which no pod can be made.

    Raises
    ------
    ProfileError
        Naming the key, the value and what is expected.
    """
    settings = profile.kubernetes

    def refuse(key: str, value: str, expected: str) -> None:
        raise ProfileError(f"machine profile: kubernetes.{key}={value!r}; {expected}")

    if not settings.image:
        refuse("image", "", "expected the image that driver, scheduler and workers run")
    if not settings.run_claim:
        refuse("run_claim", "", "driver and workers share the run: name a ReadWriteMany claim")
    for key in ("namespace", "service_account", "survey_claim", "run_claim", "tls_secret"):
        name = getattr(settings, key)
        may_be_empty = key in ("survey_claim", "tls_secret")
        if not (may_be_empty and not name) and not _OBJECT_NAME.fullmatch(name):
            refuse(key, name, "expected a-z, 0-9, '-' and '.', first and last a letter or digit")
    if not _QUANTITY.fullmatch(settings.scratch_size):
        refuse("scratch_size", settings.scratch_size, 'expected a quantity such as "20Gi"')
    if settings.image_pull_policy not in ("Always", "IfNotPresent", "Never"):
        known = "known: Always, IfNotPresent, Never"
        refuse("image_pull_policy", settings.image_pull_policy, known)
    for key in ("survey_path", "run_path"):
        path = getattr(settings, key)
        if not path.startswith("/") or path == "/" or ":" in path or ".." in path.split("/"):
            refuse(key, path, "expected an absolute path without ':' or '..'")
