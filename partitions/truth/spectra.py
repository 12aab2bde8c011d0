"""One spectroscopic table -> the spectra whose redshift can be trusted, every drop counted."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from partitions.bricks import SurveyError
from partitions.truth.cuts import to_float, to_text
from partitions.truth.positions import cds_to_degrees, is_on_sky, to_degrees
from partitions.truth.surveys import SpectroscopicSurvey, survey_table
from partitions.truth.tables import TableFile, open_table

SPEED_OF_LIGHT_KMS = 299_792.458

ELG_CLASSES = ("STARFORMING", "STARBURST", "AGN", "BROADLINE")
"""Kinds of emission-line galaxies, as the SDSS pipeline calls them (SUBCLASS)."""

NO_REDSHIFT = "no finite redshift"
STAR = "star"
NOT_POSITIVE = "redshift <= 0"
OTHER_CLASS = "none of the chosen classes"

_CDS_COLUMNS = ("RAh", "RAm", "RAs", "DE-", "DEd", "DEm", "DEs")


@dataclass(frozen=True)
class Spectra:
    """S spectra with trusted redshifts."""

    priority: npt.NDArray[np.int64]
    """Place of the survey in the table of surveys; the lower one wins."""
    row: npt.NDArray[np.int64]
    """Row in the file, from 0."""
    survey_id: npt.NDArray[np.str_]
    """The survey's own identifier, as text; empty if it has none."""
    ra_deg: npt.NDArray[np.float64]
    """ICRS; NaN, as Dec, where the row has no position on the sky."""
    dec_deg: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    """Above 0."""
    z_err: npt.NDArray[np.float64]
    """NaN if it is not known."""
    spectype: npt.NDArray[np.str_]
    """GALAXY or QSO."""
    elg_class: npt.NDArray[np.str_]
    """Those of ELG_CLASSES that the survey names, with blanks between; empty if none."""
    release: npt.NDArray[np.int64]
    """RELEASE, BRICKID, OBJID of the source in the Legacy Surveys; -1 if they are not known."""
    brickid: npt.NDArray[np.int64]
    objid: npt.NDArray[np.int64]
    targetid: npt.NDArray[np.int64]
    """TARGETID of the row; -1 if it has none."""

    def __len__(self) -> int:
        return len(self.z)

    @property
    def has_position(self) -> npt.NDArray[np.bool_]:
        """(S,) whether the position is known."""
        return np.isfinite(self.ra_deg)

    @property
    def has_identifiers(self) -> npt.NDArray[np.bool_]:
        """(S,) whether RELEASE, BRICKID and OBJID are known."""
        return np.asarray((self.release >= 0) & (self.brickid >= 0) & (self.objid >= 0))

    def select(self, rows: npt.NDArray[Any]) -> Spectra:
        """The spectra of these numbers, or where the mask is true."""
        return Spectra(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Spectra]) -> Spectra:
        """All spectra of several tables, in order."""
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )


@dataclass(frozen=True)
class SpectraOfTable:
    """What was read from one table."""

    spectra: Spectra
    num_rows: int
    drops: dict[str, int]
    """Reason -> rows, in the order of the checks; a row counts for the first that it fails."""
    cuts_left_out: tuple[str, ...]
    """Optional cuts whose column the file does not have."""


class _Drops:
    """Which rows are left, and why the others went."""

    def __init__(self, num_rows: int) -> None:
        self.keep = np.ones(num_rows, dtype=np.bool_)
        self.counts: dict[str, int] = {}

    def drop(self, reason: str, bad: npt.NDArray[np.bool_]) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + int(np.count_nonzero(self.keep & bad))
        self.keep &= ~bad


def read_spectra(
    path: Path, survey: SpectroscopicSurvey, classes: Collection[str] = ()
) -> SpectraOfTable:
    """Read a table of a survey, apply the survey's cuts, drop stars and rows without a redshift.

    Parameters
    ----------
    classes
        Keep only spectra of these ELG_CLASSES; all if empty.

    Raises
    ------
    SurveyError
        If the file is no table, lacks a needed column, or has no rows.
    """
    table = open_table(path)
    roles = _find_columns(table, survey)
    cut_columns = [_first_present(table, cut.columns) for cut in survey.cuts]
    for cut, name in zip(survey.cuts, cut_columns, strict=True):
        if name is None and not cut.optional:
            raise _missing(table, survey, f"the cut {cut}", cut.columns)
    columns = table.read([*roles.values(), *(name for name in cut_columns if name is not None)])
    num_rows = len(next(iter(columns.values())))
    if not num_rows:
        raise SurveyError(f"table {path}: has no rows")

    cuts = _Drops(num_rows)
    left_out = []
    for cut, name in zip(survey.cuts, cut_columns, strict=True):
        if name is None:
            left_out.append(str(cut))
        else:
            cuts.drop(str(cut), ~cut.passes(columns[name]))
    rows = np.flatnonzero(cuts.keep)
    spectra = _convert({role: columns[name][rows] for role, name in roles.items()}, rows, survey)
    drops = _Drops(len(rows))
    drops.drop(NO_REDSHIFT, ~np.isfinite(spectra.z))
    is_slow = (spectra.z > 0) & (spectra.z < survey.star_below_z)
    drops.drop(STAR, (spectra.spectype == "STAR") | is_slow)
    drops.drop(NOT_POSITIVE, ~(spectra.z > 0))
    if classes:
        drops.drop(OTHER_CLASS, ~_is_of_class(spectra.elg_class, classes))
    return SpectraOfTable(
        spectra.select(drops.keep), num_rows, cuts.counts | drops.counts, tuple(left_out)
    )


def _find_columns(table: TableFile, survey: SpectroscopicSurvey) -> dict[str, str]:
    """Role -> column of the file; the CDS columns of a position are their own roles."""
    names = {role: _first_present(table, wanted) for role, wanted in survey.names.items()}
    found = {role: name for role, name in names.items() if name is not None}
    if "z" not in found and "cz_kms" not in found:
        wanted = survey.names["z"] + survey.names.get("cz_kms", ())
        raise _missing(table, survey, "the redshift", wanted)
    if "z" in found:  # Not both: cz is the same number, in other units.
        found = {role: name for role, name in found.items() if not role.startswith("cz_")}
    wanted_identifiers = survey_table().identifiers
    identifiers = {
        role: name
        for role, accepted in wanted_identifiers.items()
        if (name := _first_present(table, accepted)) is not None
    }
    if len(identifiers) == len(wanted_identifiers):
        found |= identifiers
    if {"ra", "dec"} <= found.keys():
        return found
    found.pop("ra", None)
    found.pop("dec", None)
    cds = {name: _first_present(table, (name,)) for name in _CDS_COLUMNS}
    if all(cds.values()):
        return found | {role: name for role, name in cds.items() if name is not None}
    if "release" not in found and "targetid" not in found:
        wanted = survey.names["ra"] + survey.names["dec"]
        raise _missing(table, survey, "the position", wanted)
    return found


def _first_present(table: TableFile, accepted: Sequence[str]) -> str | None:
    """The file's own spelling of the first accepted name that it has."""
    spellings = {name.upper(): name for name in reversed(table.columns)}
    for name in accepted:
        if name in table.columns:
            return name
        if name.upper() in spellings:
            return spellings[name.upper()]
    return None


def _missing(
    table: TableFile, survey: SpectroscopicSurvey, what: str, accepted: Sequence[str]
) -> SurveyError:
    spellings = {name.upper(): name for name in table.columns}
    near = [
        spellings[word]
        for name in accepted
        for word in difflib.get_close_matches(name.upper(), spellings, n=3, cutoff=0.5)
    ]
    nearest = ", ".join(dict.fromkeys(near)) or ", ".join(table.columns[:8])
    return SurveyError(
        f"table {table.path}: no column for {what} of {survey.name}; looked for "
        f"{', '.join(accepted)}; the nearest of its {len(table.columns)} columns: {nearest}; "
        "rename one, or name another survey (`generic` takes any table)"
    )


def _convert(
    columns: dict[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64], survey: SpectroscopicSurvey
) -> Spectra:
    """Columns by role, and which rows of the file they are -> spectra."""
    num_rows = len(rows)
    ra_deg, dec_deg = _positions(columns, num_rows)
    z, z_err = _redshifts(columns, num_rows, survey)
    empty = np.full(num_rows, "", dtype="U1")
    own_class = to_text(columns.get("class", empty))
    subclass = to_text(columns.get("subclass", empty))
    none = np.full(num_rows, -1, dtype=np.int64)
    identifiers = {
        role: _to_identifier(columns[role]) if role in columns else none
        for role in ("release", "brickid", "objid", "targetid")
    }
    return Spectra(
        priority=np.full(num_rows, survey.priority, dtype=np.int64),
        row=rows,
        survey_id=_to_label(columns.get("id", empty)),
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        z=z,
        z_err=z_err,
        spectype=_spectypes(own_class),
        elg_class=_elg_classes(own_class, subclass),
        **identifiers,
    )


def _positions(
    columns: dict[str, npt.NDArray[Any]], num_rows: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if "ra" in columns:
        ra_deg = to_degrees(columns["ra"], hours=True)
        dec_deg = to_degrees(columns["dec"], hours=False)
    elif "RAh" in columns:
        ra_deg, dec_deg = cds_to_degrees({name: columns[name] for name in _CDS_COLUMNS})
    else:
        ra_deg = dec_deg = np.full(num_rows, np.nan)
    known = is_on_sky(ra_deg, dec_deg)
    return np.where(known, ra_deg, np.nan), np.where(known, dec_deg, np.nan)


def _redshifts(
    columns: dict[str, npt.NDArray[Any]], num_rows: int, survey: SpectroscopicSurvey
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    unit = 1.0 if "z" in columns else SPEED_OF_LIGHT_KMS
    raw = to_float(columns["z" if "z" in columns else "cz_kms"])
    raw_err = to_float(columns.get("z_err", columns.get("cz_err_kms", np.full(num_rows, np.nan))))
    # float32 columns hold 9.9999 only nearly.
    missing = np.zeros(num_rows, dtype=np.bool_)
    for value in survey.missing_z:
        missing |= np.isclose(raw, value, rtol=0, atol=1e-6)
    z = np.where(missing, np.nan, raw / unit)
    # Zero and negative errors are fill values (0 at 6dFGS, -9999 at LAMOST).
    return z, np.where(raw_err > 0, raw_err / unit, np.nan)


def _to_identifier(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    numbers = to_float(values)
    return np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)


def _to_label(values: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    return np.char.strip(values.astype(str))


def _spectypes(own_class: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    spectype = np.full(len(own_class), "GALAXY", dtype="U6")
    for name, words in survey_table().spectypes.items():
        spectype[np.isin(own_class, words)] = name
    return spectype


def _elg_classes(
    own_class: npt.NDArray[np.str_], subclass: npt.NDArray[np.str_]
) -> npt.NDArray[np.str_]:
    """Few texts occur, so each is looked at once: `STARBURST BROADLINE` names two classes."""
    texts = np.char.add(np.char.add(own_class, " "), subclass)
    unique, inverse = np.unique(texts, return_inverse=True)
    named = [" ".join(name for name in ELG_CLASSES if name in text.split()) for text in unique]
    return np.array(named, dtype=str)[inverse]


def _is_of_class(
    elg_class: npt.NDArray[np.str_], classes: Collection[str]
) -> npt.NDArray[np.bool_]:
    unique, inverse = np.unique(elg_class, return_inverse=True)
    chosen = [bool(set(text.split()) & set(classes)) for text in unique.tolist()]
    return np.array(chosen, dtype=np.bool_)[inverse]
