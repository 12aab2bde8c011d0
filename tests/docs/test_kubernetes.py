"""What docs/kubernetes.md shows is taken by Kubernetes and by the engine, and says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import yaml

from deploy.kubernetes import submit_manifests, worker_cluster_manifest
from deploy.profiles import read_profile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


def _block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_page_fits_together(tmp_path: Path) -> None:
    resources = list(yaml.safe_load_all(_block("yaml")))
    for resource in resources:
        kubernetes_validate.validate(resource, "1.32", strict=True)
    names = {(item["kind"], item["metadata"]["name"]): item for item in resources}
    (tmp_path / "my-cluster.toml").write_text(_block("toml"))
    profile = read_profile(tmp_path / "my-cluster.toml")
    settings = profile.kubernetes
    assert ("Namespace", settings.namespace) in names
    runs = names["PersistentVolumeClaim", settings.run_claim]
    assert runs["spec"]["accessModes"] == ["ReadWriteMany"]
    assert ("PersistentVolumeClaim", settings.survey_claim) in names
    assert f"-t {settings.image} " in PAGE
    assert f"--survey {settings.survey_path}/" in PAGE
    assert f"--output {settings.run_path}/" in PAGE

    worker_cluster_manifest(profile, "cosmos")
    manifests = submit_manifests(profile, "cosmos", [], _block("toml"))
    shown = re.search(r"^\| ServiceAccount.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert shown
    assert {item["kind"] for item in manifests} == {
        kind.strip()
        for row in shown[0].strip().splitlines()
        for kind in row.split("|")[1].split(",")
    }
    job = manifests[-1]["spec"]
    assert job["backoffLimit"] == 6
    assert "six times at most" in PAGE
    grace_s = job["template"]["spec"]["terminationGracePeriodSeconds"]
    assert f"has {grace_s} s to drain" in PAGE
    assert job["ttlSecondsAfterFinished"] == 24 * 3600
    rules = job["podFailurePolicy"]["rules"]
    assert rules[1]["onExitCodes"]["values"] == [3]
    assert "exit code 3 and rule index 1" in PAGE


def test_files_that_the_page_names_exist() -> None:
    for path in set(re.findall(r"deploy/[\w./-]*\w", PAGE)):
        assert (ROOT / path).is_file(), path
