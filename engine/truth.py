"""Spectroscopic tables + a survey folder -> a truth table that `engine train` can read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.atomic import write_atomic
from engine.config import UserError
from engine.targets import decode_targetid
from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.dr10 import catalogue_rows, read_file_checksums, read_tractor
from partitions.truth.match import IDENTIFIERS, Pairs, Sources, SpectrumFinder, reasons_of, resolve
from partitions.truth.positions import chord_to_arcsec, unit_vectors
from partitions.truth.spectra import Spectra, SpectraOfTable, read_spectra
from partitions.truth.surveys import SpectroscopicSurvey, find_survey, survey_table
from partitions.truth.truth_table import truth_to_fits

# Drops named in an error message about an empty result.
_MAX_NAMED = 3


@dataclass(frozen=True)
class TableRequest:
    """One spectroscopic table and the survey it is of."""

    survey: SpectroscopicSurvey
    path: Path


@dataclass(frozen=True)
class TruthConfig:
    """What the user asks for."""

    tables: tuple[TableRequest, ...]
    radius_arcsec: float = 1.0
    """A spectrum further than this from every source has none."""
    method: str = "auto"
    """`auto`, `position` or `identifiers`, as in partitions.truth.match."""
    classes: tuple[str, ...] = ()
    """Only spectra of these ELG classes; all if empty."""


@dataclass(frozen=True)
class TableReport:
    """What became of the rows of one table: num_rows = num_kept + all drops."""

    survey: str
    file: str
    sha256: str
    num_rows: int
    num_kept: int
    drops: dict[str, int]
    """Reason -> rows, in the order of the checks."""
    cuts_left_out: tuple[str, ...]
    """Optional cuts whose column the file does not have."""


@dataclass(frozen=True)
class TruthReport:
    """What became of all rows."""

    tables: tuple[TableReport, ...]
    num_bricks: int
    num_bricks_read: int
    """Bricks near a spectrum; the others are not opened."""
    num_sources_read: int
    """Primary sources, not DUP, in the bricks read."""
    quarantined: dict[str, str]
    """Brick -> why its table could not be read."""

    @property
    def num_kept(self) -> int:
        """Sources with a redshift."""
        return sum(table.num_kept for table in self.tables)


@dataclass(frozen=True)
class TruthTable:
    """The rows of a truth table, and how they came about."""

    spectra: Spectra
    """The spectrum of each row."""
    pairs: Pairs
    """The source of each row."""
    report: TruthReport


def parse_survey_table(text: str) -> TableRequest:
    """`NAME=FILE`.

    Raises
    ------
    UserError, SurveyError
        If there is no `=`, or no such survey.
    """
    name, separator, file = text.partition("=")
    if not separator or not file:
        raise UserError(
            f"--survey-table {text!r}: expected NAME=FILE, for example sdss=specObj-dr17.fits"
        )
    return TableRequest(find_survey(name), Path(file))


def make_truth_table(
    layout: SurveyLayout,
    bricks: Sequence[Brick],
    config: TruthConfig,
    on_brick: Callable[[], None] | None = None,
) -> TruthTable:
    """Read the tables, match their spectra with the sources of the bricks, count every drop.

    Memory grows with the spectra, not with the survey: bricks are read one at a time, and only
    those that have a spectrum near.

    Raises
    ------
    SurveyError
        If a table cannot be used.
    UserError
        If the tables and the survey do not overlap, or nothing is left.
    """
    read = [read_spectra(table.path, table.survey, config.classes) for table in config.tables]
    spectra = _with_decoded_targetid(Spectra.concatenate([table.spectra for table in read]))
    if not len(spectra):
        raise UserError(_nothing_left(_reports(config, read, np.empty(0, "U1"))))
    finder = SpectrumFinder(spectra, config.radius_arcsec, config.method)
    parts: list[Pairs] = []
    quarantined: dict[str, str] = {}
    num_bricks_read = num_sources_read = 0
    for brick in bricks:
        near, named = finder.candidates(brick)
        if len(near) or len(named):
            num_bricks_read += 1
            try:
                sources = _read_sources(layout, brick)
            except BrickError as error:
                quarantined[brick.name] = str(error)
            else:
                num_sources_read += len(sources)
                parts.append(finder.pair(near, named, sources))
        if on_brick is not None:
            on_brick()
    placed = spectra.select(spectra.has_position)
    if not num_bricks_read and len(placed) and config.method != IDENTIFIERS:
        raise UserError(_no_overlap(layout, bricks, placed))
    matches = resolve(spectra, Pairs.concatenate(parts), config.radius_arcsec, config.method)
    reports = _reports(config, read, matches.reason)
    if not len(matches.pairs):
        raise UserError(_nothing_left(reports, quarantined))
    report = TruthReport(reports, len(bricks), num_bricks_read, num_sources_read, quarantined)
    return TruthTable(spectra.select(matches.pairs.spectrum), matches.pairs, report)


def _with_decoded_targetid(spectra: Spectra) -> Spectra:
    """RELEASE, BRICKID, OBJID from the TARGETID where the table has no columns of them."""
    decoded = decode_targetid(spectra.targetid)
    own = (spectra.release, spectra.brickid, spectra.objid)
    known = spectra.has_identifiers
    release, brickid, objid = (
        np.where(known, mine, other) for mine, other in zip(own, decoded, strict=True)
    )
    return replace(spectra, release=release, brickid=brickid, objid=objid)


def _read_sources(layout: SurveyLayout, brick: Brick) -> Sources:
    table = read_tractor(layout, brick, read_file_checksums(layout, brick))
    table = table.select(catalogue_rows(table))
    return Sources(
        table.release.astype(np.int64),
        table.brickid.astype(np.int64),
        table.objid.astype(np.int64),
        table.ra_deg,
        table.dec_deg,
    )


def _reports(
    config: TruthConfig, read: list[SpectraOfTable], reason: np.ndarray
) -> tuple[TableReport, ...]:
    """Rows kept and dropped of each table; `reason` is of all spectra, in the tables' order."""
    reports = []
    ends = np.cumsum([len(table.spectra) for table in read])
    for request, table, end in zip(config.tables, read, ends.tolist(), strict=True):
        own = reason[end - len(table.spectra) : end]
        matching = {name: int(np.count_nonzero(own == name)) for name in reasons_of(config.method)}
        reports.append(
            TableReport(
                survey=request.survey.key,
                file=str(request.path),
                sha256=_sha256(request.path),
                num_rows=table.num_rows,
                num_kept=int(np.count_nonzero(own == "")),
                drops=table.drops | matching,
                cuts_left_out=table.cuts_left_out,
            )
        )
    return tuple(reports)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_overlap(layout: SurveyLayout, bricks: Sequence[Brick], placed: Spectra) -> str:
    """Both places, the nearest ones, and how far apart they are."""
    vectors = unit_vectors(placed.ra_deg, placed.dec_deg)
    centres = unit_vectors(
        np.array([brick.ra_deg for brick in bricks]), np.array([brick.dec_deg for brick in bricks])
    )
    # One brick is near enough for a message, and all of them are too many.
    nearest = int(np.argmin(np.linalg.norm(vectors - centres[0], axis=-1)))
    closest = int(np.argmin(np.linalg.norm(centres - vectors[nearest], axis=-1)))
    brick = bricks[closest]
    chord = np.linalg.norm(centres[closest : closest + 1] - vectors[nearest], axis=-1)
    return (
        f"survey {layout.folder}: no overlap with the {len(placed):,} spectra; a spectrum at "
        f"RA {placed.ra_deg[nearest]:.4f}, Dec {placed.dec_deg[nearest]:.4f} is "
        f"{chord_to_arcsec(chord)[0] / 3600:.2f} deg from the centre of brick {brick.name} "
        f"(RA {brick.ra_deg:.4f}, Dec {brick.dec_deg:.4f}); name tables of this part of the sky"
    )


def _nothing_left(reports: Sequence[TableReport], quarantined: dict[str, str] | None = None) -> str:
    num_rows = sum(report.num_rows for report in reports)
    totals: dict[str, int] = {}
    for report in reports:
        for reason, count in report.drops.items():
            totals[reason] = totals.get(reason, 0) + count
    largest = sorted(totals.items(), key=lambda item: -item[1])[:_MAX_NAMED]
    causes = ", ".join(f"{count:,} {reason}" for reason, count in largest if count)
    bricks = f"; {len(quarantined)} bricks could not be read" if quarantined else ""
    return (
        f"truth table: none of {num_rows:,} rows is left ({causes}){bricks}; "
        "check the name of the survey, the radius and the classes"
    )


def write_truth_table(path: Path, table: TruthTable, config: TruthConfig) -> None:
    """Write the truth table and where it came from; a reader sees the old file or the new one."""
    write_atomic(
        path, truth_to_fits(_columns(table), _cards(table.report, config), _drops(table.report))
    )


def _columns(table: TruthTable) -> dict[str, np.ndarray]:
    spectra, pairs = table.spectra, table.pairs
    keys = np.array(list(survey_table().surveys))
    return {
        "RELEASE": pairs.release.astype("i2"),
        "BRICKID": pairs.brickid.astype("i4"),
        "OBJID": pairs.objid.astype("i4"),
        "Z": spectra.z,
        "SPECTYPE": spectra.spectype,
        "RA": pairs.ra_deg,
        "DEC": pairs.dec_deg,
        "Z_ERR": spectra.z_err.astype("f4"),
        "SURVEY": keys[spectra.priority],
        "SURVEY_ID": spectra.survey_id,
        "ELG_CLASS": spectra.elg_class,
        "SEPARATION_ARCSEC": pairs.separation_arcsec.astype("f4"),
        "TARGETID": spectra.targetid,
    }


def _cards(report: TruthReport, config: TruthConfig) -> dict[str, tuple[Any, str]]:
    cards: dict[str, tuple[Any, str]] = {
        "RADIUS": (config.radius_arcsec, "matching radius, arcsec"),
        "MATCH": (config.method, "auto, position or identifiers"),
        "CLASSES": (" ".join(config.classes) or "all", "ELG classes kept"),
        "NBRICKS": (report.num_bricks, "bricks of the survey"),
        "NREAD": (report.num_bricks_read, "bricks near a spectrum"),
        "NQUAR": (len(report.quarantined), "bricks that could not be read"),
        "NTABLES": (len(report.tables), "spectroscopic tables"),
    }
    for number, made in enumerate(report.tables, start=1):
        cards |= {
            f"SURV{number}": (made.survey, "survey"),
            f"FILE{number}": (made.file, ""),
            f"SHA{number}": (made.sha256, ""),
            f"ROWS{number}": (made.num_rows, "rows read"),
            f"KEPT{number}": (made.num_kept, "rows kept"),
        }
    return cards


def _drops(report: TruthReport) -> dict[str, np.ndarray]:
    rows = [
        (number, made.survey, reason, count)
        for number, made in enumerate(report.tables, start=1)
        for reason, count in made.drops.items()
    ]
    numbers, surveys, reasons, counts = zip(*rows, strict=True)
    return {
        "TABLE": np.array(numbers, dtype="i2"),
        "SURVEY": np.array(surveys),
        "REASON": np.array(reasons),
        "ROWS": np.array(counts, dtype="i8"),
    }


def report_lines(report: TruthReport) -> list[str]:
    """What each cut removed, table by table, for a person."""
    lines = []
    for made in report.tables:
        counts = {"rows read": made.num_rows} | made.drops | {"kept": made.num_kept}
        width = max(len(f"{count:,}") for count in counts.values())
        lines.append(f"\n{made.survey}  {made.file}")
        for reason, count in counts.items():
            sign = "-" if reason in made.drops else " "
            lines.append(f"  {sign} {count:{width},}  {reason}")
        if made.cuts_left_out:
            lines.append(f"    no such column, so not asked: {'; '.join(made.cuts_left_out)}")
    lines.append(
        f"\nbricks  {report.num_bricks_read:,} of {report.num_bricks:,} have spectra near "
        f"({len(report.quarantined)} quarantined); {report.num_sources_read:,} sources read"
    )
    return lines


def survey_lines() -> list[str]:
    """The spectroscopic surveys, in order of priority: key, criterion, reference, columns."""
    lines = []
    for survey in survey_table().surveys.values():
        roles = ("ra", "dec", "z", "cz_kms", "z_err", "class", "subclass", "targetid")
        names = [f"{role} {'|'.join(survey.names[role])}" for role in roles if role in survey.names]
        cuts = [f"{cut}{' (if there)' if cut.optional else ''}" for cut in survey.cuts]
        lines += [
            f"{survey.key}  ({survey.name}) {survey.criterion}",
            f"    cuts       {'; '.join(cuts) or 'none'}",
            f"    columns    {', '.join(names)}",
            f"    sure?      {survey.columns_checked}",
            f"    reference  {survey.reference}",
        ]
    return lines
