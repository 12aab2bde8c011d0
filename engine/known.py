"""Known redshifts that can be used: read from a truth table, counted, found by TARGETID."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.config import UserError
from engine.targets import encode_targetid
from partitions.truth import Truth, read_truth
from partitions.truth.tables import open_table

CLASS_COLUMNS = ("ELG_CLASS", "CLASS", "SPECTYPE")
"""Columns of a truth table that may hold classes; the first that says anything is taken."""

NO_CLASS = "none"

DROP_WORDS = {
    "stars": "stars",
    "not_finite": "without a finite redshift",
    "not_positive": "with a redshift of zero or less",
    "repeated": "of a source that has a row already",
}
"""Why a row of a truth table is left out: reason -> words."""


@dataclass(frozen=True)
class SourceIndex:
    """The galaxies and quasars of a truth table by TARGETID, each source once. K sources."""

    targetid: npt.NDArray[np.int64]
    """(K,) DESI TARGETID, increasing."""
    row: npt.NDArray[np.int64]
    """(K,) row of the truth table: the first of its source."""
    brickids: frozenset[int]
    """BRICKIDs of the bricks that have any."""

    @classmethod
    def of(cls, truth: Truth) -> SourceIndex:
        """Index a truth table.

        Raises
        ------
        UserError
            If an identifier is impossible.
        """
        usable = np.flatnonzero(truth.extragalactic)
        brickid = truth.brickid[usable]
        try:
            own = encode_targetid(truth.release[usable], brickid, truth.objid[usable])
        except ValueError as error:
            raise UserError(f"truth table: {error}") from None
        targetid, first = np.unique(own, return_index=True)
        return cls(targetid, usable[first], frozenset(np.unique(brickid).tolist()))

    def rows_of(self, targetid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(N,) row of the truth table of each TARGETID, -1 where it has none."""
        if not len(self.targetid):
            return np.full(len(targetid), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.targetid, targetid), len(self.targetid) - 1)
        return np.where(self.targetid[place] == targetid, self.row[place], -1)


@dataclass(frozen=True)
class Known:
    """Galaxies and quasars with a usable redshift, and what the truth table has besides."""

    truth: Truth
    """M rows, each of another source."""
    targetid: npt.NDArray[np.int64]
    """(M,) DESI TARGETID."""
    labels: npt.NDArray[np.str_]
    """(M,) class of each row; NO_CLASS where the table names none."""
    class_column: str
    """Where the classes come from."""
    dropped: dict[str, int]
    """Rows of the table left out: reason of DROP_WORDS -> number."""
    digest: str
    """SHA-256 of the table's content as far as it is used here, hexadecimal."""


def read_known(path: Path) -> Known:
    """Read a truth table; rows without a usable redshift are counted and left out.

    Raises
    ------
    SurveyError
        If the table cannot be read or lacks a column.
    UserError
        If no row is left, or an identifier is impossible.
    """
    truth = read_truth(path)
    column, labels = _read_classes(path, truth)
    star, finite = truth.spectype == "STAR", np.isfinite(truth.z)
    index = SourceIndex.of(truth)
    rows = np.sort(index.row)
    dropped = {
        "stars": int(star.sum()),
        "not_finite": int((~star & ~finite).sum()),
        "not_positive": int((~star & finite & (truth.z <= 0)).sum()),
        "repeated": int(truth.extragalactic.sum()) - len(rows),
    }
    if not len(rows):
        raise UserError(
            f"truth table {path}: none of its {len(truth):,} rows is a galaxy or quasar with a "
            f"positive redshift ({dropped_text(dropped) or 'it is empty'})"
        )
    usable = Truth(
        truth.release[rows],
        truth.brickid[rows],
        truth.objid[rows],
        truth.z[rows],
        truth.spectype[rows],
    )
    targetid = encode_targetid(usable.release, usable.brickid, usable.objid)
    return Known(usable, targetid, labels[rows], column, dropped, _digest(truth, column, labels))


def dropped_text(dropped: dict[str, int]) -> str:
    """`864 stars, 2 without a finite redshift`; empty if nothing was dropped."""
    return ", ".join(f"{n:,} {DROP_WORDS[reason]}" for reason, n in dropped.items() if n)


def _read_classes(path: Path, truth: Truth) -> tuple[str, npt.NDArray[np.str_]]:
    """The column that the classes come from, and the labels (M,)."""
    table = open_table(path)
    names = {name.upper(): name for name in table.columns}
    for column in (name for name in CLASS_COLUMNS if name in names):
        values = table.read([names[column]])[names[column]]
        labels = np.char.strip(values.astype(np.str_))
        if len(labels) == len(truth) and (labels != "").any():
            return column, np.where(labels == "", NO_CLASS, labels)
    return "SPECTYPE", truth.spectype


def _digest(truth: Truth, class_column: str, labels: npt.NDArray[np.str_]) -> str:
    digest = hashlib.sha256(class_column.encode())
    for values in (truth.release, truth.brickid, truth.objid, truth.z):
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    for texts in (truth.spectype, labels):
        digest.update("\n".join(texts.tolist()).encode())
    return digest.hexdigest()
