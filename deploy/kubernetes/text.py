"""Manifests as YAML text that every parser reads alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

# Words, paths and the like, in which YAML 1.1 and 1.2 see text and nothing else.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_NO_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_LINES = re.compile(r"[ -~\n]*\n[ -~\n]*")


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML brings no types.
    """PyYAML leaves `1e3` without quotes, which YAML 1.2, and so kubectl, reads as a number: here
    whatever is not plainly a word is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"'
    if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXT:
        style = ""
    elif _LINES.fullmatch(text):
        style = "|"  # A profile stays readable; PyYAML quotes it where a block would lose a blank.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(manifests: Sequence[dict[str, Any]]) -> str:
    """The manifests as one YAML stream, for `kubectl apply -f -`.

    Any text comes back unchanged, whatever it looks like; texts hold no lone surrogates.
    """
    text = yaml.dump_all(
        manifests, Dumper=_Dumper, explicit_start=True, sort_keys=False, width=4096
    )
    return str(text)
