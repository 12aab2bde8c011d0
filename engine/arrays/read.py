"""A folder of training arrays -> training rows and their classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.arrays.manifest import MANIFEST_FILE, Manifest, group_path, read_manifest, stamp_text
from engine.config import UserError
from engine.fit import TrainingRows, targetid_of
from model.dataset import TrainingSet, targetid_digest
from partitions.schema import StampSize
from partitions.store import StoreError, read_arrays, read_attributes


def open_training_arrays(folder: Path, stamp_size: StampSize) -> Manifest:
    """The manifest of finished arrays whose stamps are large enough.

    Raises
    ------
    UserError
        If there are none, they are not finished, or the stamps are too small.
    """
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise UserError(
            f"{folder}: its arrays are not finished ({MANIFEST_FILE} says so); repeat "
            f"engine build --survey {manifest.survey} --truth {manifest.truth} --output {folder}"
        )
    stored = manifest.stamp_size
    if stored.optical_px < stamp_size.optical_px or stored.wise_px < stamp_size.wise_px:
        raise UserError(
            f"{folder}: its stamps are of {stamp_text(stored)}, the network reads "
            f"{stamp_text(stamp_size)}; build arrays with larger stamps"
        )
    return manifest


def read_training_rows(
    folder: Path,
    manifest: Manifest,
    stamp_size: StampSize,
    on_brick: Callable[[], None] | None = None,
) -> tuple[TrainingRows, npt.NDArray[np.str_]]:
    """All rows, stamps cropped to what the network reads, and the class of each (N,).

    They are the rows that `engine.fit.collect_training_rows` collects from the survey.

    Raises
    ------
    UserError
        If a group is missing, damaged, or not the one that the manifest counts.
    """
    parts: list[TrainingSet] = []
    codes: list[npt.NDArray[np.int32]] = []
    for name, num_rows in manifest.bricks.items():
        path = group_path(folder, name)
        try:
            arrays = read_arrays(path)
            targetid = targetid_of(arrays)
            if len(targetid) != num_rows:
                raise ValueError(f"{len(targetid)} rows, the manifest says {num_rows}")
            if targetid_digest(targetid) != read_attributes(path)["targetid_digest"]:
                raise ValueError("its TARGETIDs are not those that were written")
            if num_rows:
                # What a lost chunk reads as: zero.
                if not np.all((arrays["z_spec"] > 0) & (arrays["class_code"] >= 0)):
                    raise ValueError("a redshift is not positive")
                parts.append(
                    TrainingSet.from_arrays(
                        arrays,
                        arrays["z_spec"],
                        stamp_size.optical_px,
                        stamp_size.wise_px,
                        None,
                        targetid,
                    )
                )
                codes.append(arrays["class_code"])
        except (StoreError, OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{path}: damaged ({' '.join(str(error).split())}); remove it and repeat "
                "engine build"
            ) from None
        if on_brick is not None:
            on_brick()
    rows = TrainingSet.concatenate(parts)
    assert rows.targetid is not None
    labels = np.array(manifest.classes)[np.concatenate(codes)]
    collected = TrainingRows(
        rows, rows.targetid, manifest.num_known, manifest.num_rows, manifest.quarantined
    )
    return collected, labels
