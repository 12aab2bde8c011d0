"""Whatever a text looks like, it comes back unchanged from a manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
import yaml12
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.kubernetes import submit_manifests, to_yaml, worker_cluster_manifest
from deploy.profiles import Kubernetes, MachineProfile, ProfileError

PROFILE = MachineProfile(
    kind="kubernetes", memory_limit="4GB", kubernetes=Kubernetes(image="engine", run_claim="runs")
)
HOSTILE = [
    *("", " ", "yes", "No", "y", "null", "~", "0123", "1e3", "0x1f", "0o17", ".5", "1_000", ".inf"),
    *("a: b", "- a", "#a", "a #b", "&a", "*a", "!!python/object/apply:os.system [ls]", "%YAML 1.1"),
    *("---", "...", "--- a", "{a: b}", "[a]", "|", ">-", "?", "@a", "`ls`", "2026-11-26", "<<"),
    *("it's", 'say "hi"', "$(touch /tmp/x)", "$(HOME)", "$$(HOME)", "$", "$$", "a\\nb", "\\"),
    *(
        "a\nb",
        "\n",
        "\n\n a\n",
        "a\n ",
        "\ta",
        "a\r\nb",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x7f",
        "\x01",
    ),
    *("é", "\U0001f30c", "a\n---\nkind: Pod\n", "{{ a }}", "\ud7ff", "\uffff", " a", "a "),
]
TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
)


def _expanded(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of an argument (third_party/forked/golang/expansion/expand.go)."""
    out, rest = "", text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        out += before
        if rest.startswith("$"):
            out, rest = out + "$", rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, rest = rest[1:].partition(")")
            out += variables.get(name, f"$({name})")
        else:
            out += "$"
    return out + rest


def _read(text: str) -> list[dict[str, Any]]:
    """The manifests as PyYAML (1.1) reads them, after comparing with a YAML 1.2 parser."""
    manifests = list(yaml.safe_load_all(text))
    assert json.loads(json.dumps(yaml12.parse_yaml(text, multi=True))) == manifests
    return manifests


def _main(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    found: dict[str, Any] = container
    return found


def test_expansion_is_that_of_kubernetes() -> None:
    # Cases of Kubernetes' own expand_test.go.
    variables = {"VAR_A": "A", "VAR_B": "B", "VAR_EMPTY": ""}
    for text, expected in [
        ("$(VAR_A)_$(VAR_B)", "A_B"),
        ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"),
        ("$$$$(FOO)$(BAR)", "$$(FOO)$(BAR)"),
        ("$VAR_A", "$VAR_A"),
        ("f000-$$VAR_A", "f000-$VAR_A"),
        ("foo$(VAR_EMPTYbar", "foo$(VAR_EMPTYbar"),
        ("$$", "$"),
        ("$", "$"),
    ]:
        assert _expanded(text, variables) == expected


@given(argument=TEXTS, profile_text=TEXTS)
@example(argument="$(PHOTOZ_CLUSTER_NAME)", profile_text='kind = "kubernetes"\nworkers = 2\n')
def test_arguments_and_profiles_arrive_unchanged(argument: str, profile_text: str) -> None:
    text = to_yaml(submit_manifests(PROFILE, "cosmos", ["--survey", argument], profile_text))
    *_, profile_map, _, job = _read(text)
    assert profile_map["data"] == {"profile.toml": profile_text}
    main = _main(job["spec"]["template"]["spec"])
    variables = {item["name"]: item.get("value", "") for item in main["env"]}
    arguments = [_expanded(item, variables) for item in main["args"]]
    assert main["command"] == ["engine"]
    assert arguments == ["run", "--profile", "/etc/photoz/profile.toml", "--survey", argument]


@given(value=TEXTS)
def test_environment_arrives_unchanged(value: str) -> None:
    profile = replace(PROFILE, environment={"NOTE": value})
    (cluster,) = _read(to_yaml([worker_cluster_manifest(profile, "cosmos")]))
    variables: dict[str, str] = {}
    for item in _main(cluster["spec"]["worker"]["spec"])["env"]:
        variables[item["name"]] = _expanded(item["value"], variables)
    assert variables["NOTE"] == value


def test_each_of_these_comes_back() -> None:
    manifests = [{"key": HOSTILE, **{text: text for text in HOSTILE}}]
    assert _read(to_yaml(manifests)) == manifests


@given(key=TEXTS, value=TEXTS)
def test_any_mapping_comes_back(key: str, value: str) -> None:
    assert _read(to_yaml([{key: [value, {"n": 1, key: value}]}])) == [
        {key: [value, {"n": 1, key: value}]}
    ]


@pytest.mark.parametrize("argument", ["a\0b", b"caf\xe9".decode(errors="surrogateescape")])
def test_what_no_manifest_can_hold_is_refused(argument: str) -> None:
    with pytest.raises(ProfileError, match="UTF-8"):
        submit_manifests(PROFILE, "cosmos", ["--survey", argument], "")


def test_a_profile_stays_readable() -> None:
    profile_text = '# 8 workers\nkind = "kubernetes"\n\n[kubernetes]\nimage = "engine"\n'
    text = to_yaml(submit_manifests(PROFILE, "cosmos", [], profile_text))
    assert '  profile.toml: |\n    # 8 workers\n    kind = "kubernetes"\n\n    [kubern' in text
    assert "\nkind: Job\n" in text
