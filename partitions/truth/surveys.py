"""The spectroscopic surveys that are known by name; what they are is in data/surveys.toml."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from partitions.bricks import SurveyError
from partitions.truth.cuts import Cut

_NAME_FIELDS = (
    *("id", "targetid", "ra", "dec", "z", "z_err", "cz_kms", "cz_err_kms"),
    *("class", "subclass"),
)


@dataclass(frozen=True)
class SpectroscopicSurvey:
    """One survey: the columns of its public table and the cuts on them."""

    key: str
    """What the user calls it, for example `desi-sv3`."""
    name: str
    """What its authors call it."""
    priority: int
    """Place in the table of surveys: of two spectra of one source the lower one wins."""
    criterion: str
    """The cuts in words."""
    reference: str
    """Paper and file."""
    columns_checked: str
    """How sure the column names are."""
    names: dict[str, tuple[str, ...]]
    """Role (`ra`, `z_err`, `class`, ...) -> accepted column names, best first."""
    cuts: tuple[Cut, ...]
    missing_z: tuple[float, ...] = ()
    """Values of the redshift column that mean that there is none."""
    star_below_z: float = 0.0
    """Redshifts below this are stars."""


@dataclass(frozen=True)
class SurveyTable:
    """All of data/surveys.toml."""

    surveys: dict[str, SpectroscopicSurvey]
    """By key, in order of priority."""
    identifiers: dict[str, tuple[str, ...]]
    """`release`, `brickid`, `objid` -> accepted column names, for a table of any survey."""
    spectypes: dict[str, tuple[str, ...]]
    """STAR and QSO -> what class columns say of them."""


@cache
def survey_table() -> SurveyTable:
    """The packaged table of surveys."""
    path = resources.files("partitions.truth") / "data" / "surveys.toml"
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    surveys = {
        entry["key"]: _survey(entry, priority) for priority, entry in enumerate(content["survey"])
    }
    return SurveyTable(surveys, _tuples(content["identifiers"]), _tuples(content["spectypes"]))


def _survey(entry: dict[str, Any], priority: int) -> SpectroscopicSurvey:
    return SpectroscopicSurvey(
        key=entry["key"],
        name=entry["name"],
        priority=priority,
        criterion=entry["criterion"],
        reference=entry["reference"],
        columns_checked=entry["columns"],
        names={role: tuple(entry[role]) for role in _NAME_FIELDS if role in entry},
        cuts=tuple(Cut.from_entry(cut) for cut in entry["cuts"]),
        missing_z=tuple(entry.get("missing_z", ())),
        star_below_z=entry.get("star_below_z", 0.0),
    )


def _tuples(section: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(names) for key, names in section.items()}


def find_survey(name: str) -> SpectroscopicSurvey:
    """The survey of that key or name; case, spaces, hyphens and underscores do not matter.

    Raises
    ------
    SurveyError
        If there is none; names the nearest and lists all.
    """
    surveys = survey_table().surveys
    by_word = {_word(survey.name): survey for survey in surveys.values()}
    by_word |= {_word(key): survey for key, survey in surveys.items()}
    found = by_word.get(_word(name))
    if found is not None:
        return found
    near = difflib.get_close_matches(_word(name), by_word, n=1, cutoff=0.5)
    hint = f"did you mean {by_word[near[0]].key!r}? " if near else ""
    raise SurveyError(
        f"spectroscopic survey {name!r}: not known; {hint}known are {', '.join(surveys)}"
    )


def _word(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
