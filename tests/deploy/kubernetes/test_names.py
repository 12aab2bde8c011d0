"""Names and sizes: those that Kubernetes takes, and errors that say what it would take."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest
from dask.utils import parse_bytes
from hypothesis import given
from hypothesis import strategies as st

from deploy.kubernetes import resource_name, submit_manifests, worker_cluster_manifest
from deploy.kubernetes.names import memory_quantity
from deploy.profiles import MachineProfile, ProfileError

# A service's name: RFC 1035, as `kubectl create service` words it.
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_FACTORS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@given(text=st.text(max_size=90) | st.text("ab-._/9A", max_size=90))
def test_any_text_gives_a_name(text: str) -> None:
    name = resource_name(text)
    assert _DNS_LABEL.fullmatch(f"{name}-scheduler")
    assert len(f"{name}-scheduler") <= 63
    assert resource_name(name) == name


def test_names_stay_apart() -> None:
    texts = ["cosmos", "Cosmos", "cos_mos", "cos.mos", "cos-mos", "2cosmos", "", "-", "c" * 60]
    texts += ["c" * 61, "é", "è"]
    assert len({resource_name(text) for text in texts}) == len(texts)
    assert resource_name("cosmos") == "cosmos"
    assert resource_name("runs/Cosmos_2026").startswith("runs-cosmos-2026-")


@pytest.mark.parametrize("name", ["Cosmos", "cos_mos", "1cosmos", "-a", "a-", "", "a.b", "c" * 54])
def test_a_bad_name_is_refused_with_a_good_one(cpu_profile: MachineProfile, name: str) -> None:
    for make in (
        lambda: submit_manifests(cpu_profile, name, [], ""),
        lambda: worker_cluster_manifest(cpu_profile, name),
    ):
        with pytest.raises(ProfileError, match=re.escape(repr(resource_name(name)))):
            make()


@given(
    number=st.integers(1, 10**6) | st.decimals("0.1", 999, places=1),
    unit=st.sampled_from([*(f"{p}{i}B" for p in "kMGT" for i in ("", "i")), "B"]),
    space=st.sampled_from(["", " "]),
)
def test_memory_is_as_much_as_dask_means(number: int | Decimal, unit: str, space: str) -> None:
    text = f"{number}{space}{unit}"
    match = re.fullmatch(r"([\d.]+)([A-Za-z]*)", memory_quantity(text))
    assert match
    assert int(Decimal(match[1]) * _FACTORS[match[2]]) == pytest.approx(parse_bytes(text), abs=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": ""}, "kubernetes.image=''"),
        ({"run_claim": ""}, "name a ReadWriteMany claim"),
        ({"run_claim": "my_runs"}, "kubernetes.run_claim='my_runs'"),
        ({"survey_claim": "DR10"}, "kubernetes.survey_claim='DR10'"),
        ({"namespace": ""}, "kubernetes.namespace=''"),
        ({"tls_secret": "a/b"}, "kubernetes.tls_secret='a/b'"),
        ({"scratch_size": "20GB"}, 'expected a quantity such as "20Gi"'),
        ({"image_pull_policy": "always"}, "known: Always, IfNotPresent, Never"),
        ({"run_path": "runs"}, "expected an absolute path"),
        ({"survey_path": "/a/../b"}, "expected an absolute path"),
        ({"run_path": "/survey/"}, "survey and runs are both at /survey/"),
        ({"run_path": "/scratch"}, "scratch and runs are both at /scratch"),
    ],
)
def test_settings_of_which_no_pod_can_be_made(
    cpu_profile: MachineProfile, changes: dict[str, str], words: str
) -> None:
    profile = replace(cpu_profile, kubernetes=replace(cpu_profile.kubernetes, **changes))
    with pytest.raises(ProfileError, match=re.escape(words)):
        worker_cluster_manifest(profile, "cosmos")
    with pytest.raises(ProfileError, match=re.escape(words)):
        submit_manifests(profile, "cosmos", [], "")


def test_memory_must_be_given(cpu_profile: MachineProfile) -> None:
    with pytest.raises(ProfileError, match="'auto'"):
        worker_cluster_manifest(replace(cpu_profile, memory_limit="auto"), "cosmos")
