"""Survey + known redshifts -> a folder of training arrays, brick by brick, after a kill too.

A brick is done when its Zarr group is there, which appears by one rename; the manifest, written
last, says that all are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.arrays.manifest import (
    MANIFEST_FILE,
    Manifest,
    group_path,
    read_manifest,
    refuse_other_arrays,
    write_manifest,
)
from engine.config import UserError
from engine.file_states import FileStates, describe_change, survey_file_states
from engine.fit import build_known_rows, no_overlap_text, targetid_of
from engine.known import Known, SourceIndex
from engine.lock import LOCK_FILE, hold_lock
from model.dataset import targetid_digest
from partitions.bricks import Brick, BrickError, SurveyLayout
from partitions.build import brick_attributes
from partitions.schema import StampSize
from partitions.store import StoreError, read_attributes, write_arrays


@dataclass(frozen=True, eq=False)
class ArraysBuild:
    """The work on one folder of training arrays."""

    folder: Path
    layout: SurveyLayout
    known: Known
    index: SourceIndex
    planned: tuple[Brick, ...]
    """The bricks that have a known redshift."""
    done: frozenset[str]
    """Names of those that an earlier attempt finished."""
    manifest: Manifest
    """Not complete yet."""

    def run(self, on_brick: Callable[[], None] | None = None) -> Manifest:
        """Build what is not done; finished bricks are kept, quarantined ones are tried again.

        Parameters
        ----------
        on_brick
            Called after every brick that was not done.

        Raises
        ------
        UserError
            If survey and truth table share no source, or the survey changed since a brick was
            built.
        """
        codes = np.searchsorted(self.manifest.classes, self.known.labels).astype(np.int32)
        facts: dict[str, Any] = {}
        quarantined: dict[str, str] = {}
        for brick in self.planned:
            if brick.name in self.done:
                facts[brick.name] = self._facts_of_finished(brick)
                continue
            try:
                facts[brick.name] = self._build(brick, codes)
            except BrickError as error:
                quarantined[brick.name] = str(error)
            if on_brick is not None:
                on_brick()
        manifest = self._completed(facts, quarantined)
        if not manifest.num_rows:
            raise UserError(no_overlap_text(self.layout, len(self.known.truth), quarantined))
        write_manifest(self.folder, manifest)
        return manifest

    def _build(self, brick: Brick, codes: npt.NDArray[np.int32]) -> dict[str, Any]:
        """Write the group of one brick; returns its attributes."""
        before = survey_file_states(self.layout, brick.name)
        try:
            arrays, counts = build_known_rows(
                self.layout, brick, self.manifest.stamp_size, self.index
            )
        finally:
            # A file that vanishes would pass for a band that the survey never had.
            self._refuse_changed(brick, before, "the survey changed while it was read")
        targetid = targetid_of(arrays)
        rows = self.index.rows_of(targetid)
        arrays |= {"z_spec": self.known.truth.z[rows], "class_code": codes[rows]}
        attributes = {
            **brick_attributes(brick, counts),
            "files": before.as_dict(),
            "truth_digest": self.known.digest,
            "class_column": self.known.class_column,
            "classes": list(self.manifest.classes),
            "targetid_digest": targetid_digest(targetid),
        }
        write_arrays(group_path(self.folder, brick.name), arrays, attributes)
        return attributes

    def _facts_of_finished(self, brick: Brick) -> dict[str, Any]:
        """The attributes of a group that an earlier attempt wrote."""
        path = group_path(self.folder, brick.name)
        try:
            attributes = read_attributes(path)
            files = FileStates.of(
                {kind: (int(size), int(time)) for kind, (size, time) in attributes["files"].items()}
            )
        except (StoreError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: damaged ({error}); remove it and repeat the command"
            ) from None
        self._refuse_changed(brick, files, f"{path}: the survey changed since it was built")
        return attributes

    def _refuse_changed(self, brick: Brick, before: FileStates, what: str) -> None:
        now = survey_file_states(self.layout, brick.name)
        if now != before:
            raise UserError(
                f"{what}: {self.layout.folder}, brick {brick.name} "
                f"{describe_change(before, now)}; choose another --output"
            )

    def _completed(self, facts: dict[str, Any], quarantined: dict[str, str]) -> Manifest:
        """The manifest with what came of every brick and of every row of the truth table."""
        num_rows = {name: int(found["counts"]["num_sources"]) for name, found in facts.items()}
        brickids, counts = np.unique(self.known.truth.brickid, return_counts=True)
        num_known = dict(zip(brickids.tolist(), counts.tolist(), strict=True))
        in_survey = sum(num_known[brick.brickid] for brick in self.planned)
        in_bad = sum(
            num_known[brick.brickid] for brick in self.planned if brick.name in quarantined
        )
        unmatched = {
            "not_in_survey": len(self.known.truth) - in_survey,
            "no_such_source": in_survey - in_bad - sum(num_rows.values()),
            "brick_quarantined": in_bad,
        }
        return replace(
            self.manifest,
            complete=True,
            num_rows=sum(num_rows.values()),
            bricks=num_rows,
            quarantined=quarantined,
            dropped=self.manifest.dropped | unmatched,
            num_tiles=sum(found["counts"]["num_tiles"] for found in facts.values()),
            num_tiles_decoded=sum(found["counts"]["num_tiles_decoded"] for found in facts.values()),
        )


@contextmanager
def training_arrays_build(
    layout: SurveyLayout,
    bricks: Sequence[Brick],
    known: Known,
    truth_path: Path,
    stamp_size: StampSize,
    folder: Path,
) -> Iterator[ArraysBuild]:
    """Hold a folder for the rows of every source with a known redshift, one Zarr group a brick.

    Raises
    ------
    UserError
        If the folder holds something else or cannot be written, or no brick has a known redshift.
    """
    index = SourceIndex.of(known.truth)
    planned = tuple(brick for brick in bricks if brick.brickid in index.brickids)
    if not planned:
        raise UserError(no_overlap_text(layout, len(known.truth), {}))
    geometry = json.dumps([asdict(brick) for brick in planned], sort_keys=True)
    manifest = Manifest(
        survey=str(layout.folder.resolve()),
        bricks_digest=hashlib.sha256(geometry.encode()).hexdigest(),
        truth=str(truth_path.resolve()),
        truth_digest=known.digest,
        class_column=known.class_column,
        classes=tuple(np.unique(known.labels).tolist()),
        stamp_size=stamp_size,
        engine_version=version("photoz-engine"),
        num_truth_rows=len(known.truth) + sum(known.dropped.values()),
        dropped=dict(known.dropped),
    )
    _refuse_strangers(folder)
    with hold_lock(folder, "folder of arrays"):
        _begin(folder, manifest)
        done = {brick.name for brick in planned if group_path(folder, brick.name).exists()}
        yield ArraysBuild(folder, layout, known, index, planned, frozenset(done), manifest)


def _refuse_strangers(folder: Path) -> None:
    """A folder without a manifest may hold what a killed first attempt leaves, nothing else."""
    if not folder.is_dir() or (folder / MANIFEST_FILE).exists():
        return
    for entry in sorted(folder.iterdir()):
        if entry.name != LOCK_FILE and not entry.name.startswith("wip-"):
            raise UserError(
                f"--output {folder}: not empty and no training arrays (it holds {entry.name!r}, "
                f"but no {MANIFEST_FILE}); choose another"
            )


def _begin(folder: Path, manifest: Manifest) -> None:
    """Sweep what a killed attempt left, and see that the arrays there are of the same work."""
    for litter in (*folder.glob("wip-*"), *folder.glob("*/wip-*")):
        if litter.is_dir():
            shutil.rmtree(litter)
        else:
            litter.unlink()
    if (folder / MANIFEST_FILE).exists():
        refuse_other_arrays(read_manifest(folder), manifest, folder)
    else:
        write_manifest(folder, manifest)
