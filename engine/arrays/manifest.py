"""The manifest of a folder of training arrays: what they were made of, and what was left out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.atomic import to_json, write_atomic
from engine.config import UserError
from engine.known import DROP_WORDS
from partitions.schema import ARRAY_FORMAT_VERSION, StampSize

MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT_VERSION = 1

UNMATCHED_WORDS = {
    "not_in_survey": "in a brick that the survey does not have",
    "no_such_source": "of no catalogue source of their brick",
    "brick_quarantined": "in a quarantined brick",
}
"""Why a known redshift has no row in the arrays: reason -> words."""


@dataclass(frozen=True)
class Manifest:
    """Everything about a folder of training arrays but the arrays."""

    survey: str
    """The survey's folder."""
    bricks_digest: str
    """SHA-256 of its bricks that have a known redshift: names, identifiers, positions."""
    truth: str
    """The truth table's file."""
    truth_digest: str
    """SHA-256 of its content."""
    class_column: str
    """Its column of classes."""
    classes: tuple[str, ...]
    """What `class_code` counts."""
    stamp_size: StampSize
    """Of the stored stamps."""
    engine_version: str
    """Version of this package: another one may compute other numbers."""
    num_truth_rows: int
    """Rows of the truth table: num_rows and everything dropped."""
    dropped: dict[str, int]
    """Reason -> rows left out: DROP_WORDS, and UNMATCHED_WORDS once complete."""
    complete: bool = False
    """Whether every brick with a known redshift was built or quarantined."""
    num_rows: int = 0
    """Sources in the arrays."""
    bricks: dict[str, int] = field(default_factory=dict)
    """Brick -> its sources in the arrays, in the order of the rows."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Brick -> why its files could not be used."""
    num_tiles: int = 0
    """Compression tiles of the images that were opened."""
    num_tiles_decoded: int = 0
    """Of these, decoded."""

    @property
    def num_known(self) -> int:
        """Galaxies and quasars with a redshift in the truth table, each source once."""
        return self.num_truth_rows - sum(self.dropped[reason] for reason in DROP_WORDS)

    @property
    def dropped_by_table(self) -> dict[str, int]:
        """Reason -> rows that are no usable redshift."""
        return {reason: self.dropped[reason] for reason in DROP_WORDS}


def stamp_text(size: StampSize) -> str:
    """`64 px optical, 16 px WISE`."""
    return f"{size.optical_px} px optical, {size.wise_px} px WISE"


def group_path(folder: Path, brick_name: str) -> Path:
    """Where the Zarr group of a brick lies; folders of 1/360 of the sky, as in the release."""
    return folder / brick_name[:3] / f"{brick_name}.zarr"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole; a reader sees the old one or the new one."""
    content = {
        "format_version": MANIFEST_FORMAT_VERSION,
        "array_format_version": ARRAY_FORMAT_VERSION,
        **asdict(manifest),
    }
    write_atomic(folder / MANIFEST_FILE, to_json(content))


def read_manifest(folder: Path) -> Manifest:
    """Read it.

    Raises
    ------
    UserError
        If the folder has none, or one that cannot be used.
    """
    path = folder / MANIFEST_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        versions = content.pop("format_version"), content.pop("array_format_version")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: no training arrays there (no {MANIFEST_FILE}); make them with "
            "engine build --truth"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); make the arrays again") from None
    expected = MANIFEST_FORMAT_VERSION, ARRAY_FORMAT_VERSION
    if versions != expected:
        raise UserError(
            f"{path}: manifest and array format {versions}, this version reads {expected}; "
            "make the arrays again"
        )
    try:
        content["stamp_size"] = StampSize(**content["stamp_size"])
        content["classes"] = tuple(content["classes"])
        manifest = Manifest(**content)
        num_found = manifest.num_rows + sum(manifest.dropped.values())
        if manifest.complete and num_found != manifest.num_truth_rows:
            raise ValueError(f"{num_found} rows are not the {manifest.num_truth_rows} of the truth")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error!r}); make the arrays again") from None
    return manifest


def refuse_other_arrays(old: Manifest, new: Manifest, folder: Path) -> None:
    """Raise, with both values, if a folder holds arrays of other settings.

    Raises
    ------
    UserError
        Naming the first difference among truth table, stamp size, bricks of the survey and engine
        version. Another survey of the same bricks shows in the state of their files.
    """
    pairs = (
        ("truth table", old.truth, old.truth_digest, new.truth, new.truth_digest),
        ("stamp size", stamp_text(old.stamp_size), "", stamp_text(new.stamp_size), ""),
        ("survey", old.survey, old.bricks_digest, new.survey, new.bricks_digest),
        ("engine version", old.engine_version, "", new.engine_version, ""),
    )
    for what, before, digest_before, now, digest_now in pairs:
        # A moved survey or table is the same one.
        if (digest_before, digest_now) == ("", "") and before == now:
            continue
        if digest_before and digest_before == digest_now:
            continue
        texts = [
            f"{value} (digest {digest[:12]})" if digest else str(value)
            for value, digest in ((before, digest_before), (now, digest_now))
        ]
        raise UserError(
            f"--output {folder}: its arrays are of {what} {texts[0]}, not of {texts[1]}; "
            "use the same, or choose another --output"
        )
