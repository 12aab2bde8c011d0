"""How good weights are on known redshifts: collect the rows, choose the unseen ones, judge them.

Shapes: N rows, B bands, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.arrays.manifest import Manifest
from engine.arrays.read import read_training_rows
from engine.config import UserError
from engine.fit import collect_training_rows
from engine.known import Known, SourceIndex
from model.dataset import Split, TrainingSet, targetid_digest
from model.evaluation import (
    Importance,
    Scores,
    crps_loss,
    permutation_importance,
    sigma_nmad_loss,
    slices_by_label,
    slices_by_missing_band,
    slices_by_value,
    source_slices,
)
from model.predict import Predictor
from model.train import TrainConfig, split_rows
from model.weights import Weights
from partitions.bricks import Brick, SurveyLayout
from partitions.photometry import FEATURE_NAMES
from partitions.schema import BANDS

Part = Literal["test", "validation", "all"]

BINS: dict[str, tuple[float, ...]] = {
    "r": (-np.inf, 18, 19, 20, 20.5, 21, 21.5, 22, 22.5, 23, 23.5, np.inf),
    "z_spec": (0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0, 2.5, np.inf),
}
"""Edges of the bins of dereddened r magnitude (AB) and of spectroscopic redshift."""

# Rows predicted between two reports of progress; a multiple of the network's batch.
_BLOCK_ROWS = 4096


# --- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Survey rows with known redshifts."""

    rows: TrainingSet
    """N rows: arrays, redshifts, positions."""
    targetid: npt.NDArray[np.int64]
    """(N,) DESI TARGETID."""
    labels: npt.NDArray[np.str_]
    """(N,) class of each row."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: npt.NDArray[np.int64]) -> Sample:
        """Some rows, in the given order."""
        return Sample(self.rows.take(rows), self.targetid[rows], self.labels[rows])

    @property
    def r_mag(self) -> npt.NDArray[np.float64]:
        """(N,) dereddened asinh magnitude, AB; NaN where r is missing."""
        mag = self.rows.arrays["features"][:, FEATURE_NAMES.index("MAG_R")]
        return np.asarray(mag, np.float64)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(N, B) whether a band has a flux."""
        return np.asarray(self.rows.arrays["flux_ivar"] > 0)


def collect_sample(
    layout: SurveyLayout,
    bricks: list[Brick],
    known: Known,
    weights: Weights,
    on_brick: Callable[[Brick, int], None] | None = None,
) -> tuple[Sample, dict[str, str]]:
    """Rows of a survey with known redshifts, and the bricks that could not be used.

    Raises
    ------
    UserError
        If no row has a known redshift, or none has a band that the weights read.
    """
    collected = collect_training_rows(layout, bricks, known.truth, weights.stamp_size, on_brick)
    rows = SourceIndex.of(known.truth).rows_of(collected.targetid)
    sample = Sample(collected.rows, collected.targetid, known.labels[rows])
    check_readable(sample, weights, f"survey {layout.folder}")
    return sample, collected.quarantined


def sample_of_arrays(
    folder: Path,
    manifest: Manifest,
    weights: Weights,
    on_brick: Callable[[], None] | None = None,
) -> tuple[Sample, dict[str, str]]:
    """The same of a folder of training arrays.

    Raises
    ------
    UserError
        If the arrays cannot be used, or no row has a band that the weights read.
    """
    collected, labels = read_training_rows(folder, manifest, weights.stamp_size, on_brick)
    sample = Sample(collected.rows, collected.targetid, labels)
    check_readable(sample, weights, f"arrays {folder}")
    return sample, collected.quarantined


def check_readable(sample: Sample, weights: Weights, where: str) -> None:
    """Raise if no row has any band that the weights read.

    Raises
    ------
    UserError
        Naming `where` the rows come from.
    """
    columns = [BANDS.index(band) for band in weights.bands]
    if not sample.present[:, columns].any():
        raise UserError(
            f"{where}: none of its {len(sample):,} rows with known redshift has "
            f"a band that the weights read ({', '.join(weights.bands)}); use other weights"
        )


@dataclass(frozen=True)
class Choice:
    """Rows to judge, and why these."""

    rows: npt.NDArray[np.int64]
    """Row numbers."""
    part: Part
    """Which part of the sample they are."""
    reason: str
    """One sentence for the reader."""


def choose_rows(weights: Weights, sample: Sample, wanted: Part | None) -> Choice:
    """The test part of the split by sky that the weights were trained with, or what is wanted.

    The split is a function of sky positions and a seed. The weights hold a digest of the TARGETIDs
    of each of its parts: where the same split gives parts of the same digests here, these are the
    rows of the training for certain. Older weights hold only the size of each part; then equal
    sizes must do.

    Raises
    ------
    UserError
        If the wanted part does not exist or is empty.
    """
    everything = np.arange(len(sample))
    split, problem = _split_of_training(weights, sample.rows)
    trained = dict(weights.provenance.get("rows", {}))
    num_trained = sum(trained.values())
    same, by = _same_parts(weights, sample, split)
    if wanted is None:
        wanted = "test" if "test" in same else "all"
    if wanted == "all":
        if "train" in same:
            reason = f"with {trained['train']:,} that the weights were fitted on: too good ({by})"
        elif trained:
            reason = (
                f"the weights are of another sample, of {num_trained:,} rows ({by}); "
                "where the two share sky, this is too good"
            )
        else:
            reason = "the weights do not say what they were trained on"
        return Choice(everything, wanted, reason)
    if split is None:
        raise UserError(f"--rows {wanted}: {problem}; use --rows all")
    rows = getattr(split, wanted)
    if not len(rows):
        raise UserError(
            f"--rows {wanted}: none of the {len(sample):,} rows with known redshift is in that "
            "part of the weights' split by sky; use --rows all"
        )
    if wanted in same:
        reason = f"of the split by sky that the weights were trained with ({by})"
    else:
        reason = (
            f"of the weights' split recipe on other rows than theirs ({num_trained:,} rows; {by}); "
            "they may have been fitted on some of these"
        )
    return Choice(rows, wanted, reason)


def _same_parts(weights: Weights, sample: Sample, split: Split | None) -> tuple[set[str], str]:
    """The parts of the split here that are the weights' own, and what says so.

    Where the rows that were fitted on are known, so are those that were not: the test part is then
    unseen even if a source was added to it or lost.
    """
    digests = weights.provenance.get("targetid_digest", {})
    trained = weights.provenance.get("rows", {})
    if not digests:
        by = "by the numbers of rows only: the weights hold no digest of TARGETIDs"
        here = {} if split is None else {name: len(getattr(split, name)) for name in trained}
        return set(trained) if here == trained else set(), by
    same = {
        part
        for part, digest in digests.items()
        if split is not None and targetid_digest(sample.targetid[getattr(split, part)]) == digest
    }
    if {"train", "validation"} <= same:
        same.add("test")
    return same, "by the digest of their TARGETIDs"


def _split_of_training(weights: Weights, rows: TrainingSet) -> tuple[Split | None, str]:
    """The split with the settings of the weights' training, or why there is none."""
    config = weights.provenance.get("train_config", {})
    if not {"seed", "fractions"} <= set(config) or "rows" not in weights.provenance:
        return None, "the weights do not say how they were trained"
    settings = TrainConfig(seed=config["seed"], fractions=tuple(config["fractions"]))
    try:
        return split_rows(rows, settings), ""
    except ValueError as error:  # Too few patches of sky.
        return None, str(error)


# --- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What the network says of N rows, and how good it is."""

    summary: dict[str, npt.NDArray[Any]]
    """Point estimates and intervals, (N,) each."""
    scores: Scores
    """Of the posteriors; dz is that of the medians."""


def judge(
    predictor: Predictor, rows: TrainingSet, on_rows: Callable[[int], None] | None = None
) -> Judged:
    """Predict every row and score its posterior; memory holds one block of posteriors."""
    summaries, columns = [], []
    for start in range(0, len(rows), _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, len(rows))
        arrays = {name: values[start:stop] for name, values in rows.arrays.items()}
        predicted = predictor.predict(arrays, with_pdf=True)
        assert predicted.pdf is not None
        scores = Scores.of_pdf(
            predicted.pdf,
            predictor.weights.grid,
            rows.z_true[start:stop],
            predicted.summary["median"],
        )
        summaries.append(predicted.summary)
        columns.append(scores.columns)
        if on_rows is not None:
            on_rows(stop - start)
    return Judged(_concatenate(summaries), Scores(_concatenate(columns)))


def _concatenate(parts: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


Sections = dict[str, dict[str, npt.NDArray[np.bool_]]]
"""Heading -> slices."""


def make_sections(
    r_mag: npt.ArrayLike,
    z_spec: npt.ArrayLike,
    labels: npt.ArrayLike,
    present_NB: npt.NDArray[np.bool_] | None = None,
    source_type: npt.ArrayLike | None = None,
) -> Sections:
    """The parts of N rows that are reported, by heading; parts without rows are left out.

    The whole and either side of r = 21.5; bins of r and z_spec; class; TYPE and missing bands
    where they are known.
    """
    sections: dict[str, dict[str, npt.NDArray[np.bool_]]] = {
        "all": source_slices(r_mag),
        "r": slices_by_value("r", r_mag, BINS["r"]),
        "z_spec": slices_by_value("z_spec", z_spec, BINS["z_spec"]),
        "class": slices_by_label("class", labels),
        "TYPE": {} if source_type is None else slices_by_label("TYPE", source_type),
        "bands": {} if present_NB is None else slices_by_missing_band(present_NB, BANDS),
    }
    return {
        heading: {name: mask for name, mask in slices.items() if mask.any()}
        for heading, slices in sections.items()
    }


def all_slices(sections: Sections) -> dict[str, npt.NDArray[np.bool_]]:
    """The slices of every section, each once."""
    return {name: mask for slices in sections.values() for name, mask in slices.items()}


# --- importance ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureImportance:
    """What the network loses when one feature is shuffled among the rows."""

    rank: int
    """From 1, by the increase of the CRPS."""
    feature: str
    """Name in FEATURE_NAMES."""
    crps_increase: float
    """Mean increase of the mean CRPS."""
    crps_error: float
    """Standard deviation over the repeats; NaN for one repeat."""
    sigma_nmad_increase: float
    """Mean increase of sigma_NMAD."""
    sigma_nmad_error: float
    """Standard deviation over the repeats; NaN for one repeat."""
    source_rank: int
    """Its place in the source's own ranking (Wei et al. 2025): the order of FEATURE_NAMES."""


def feature_importance(
    predictor: Predictor,
    rows: TrainingSet,
    num_repeats: int,
    on_prediction: Callable[[], None] | None = None,
) -> list[FeatureImportance]:
    """Permutation importance of the 86 features, most important first; images stay as they are.

    Raises
    ------
    UserError
        If the network reads images only.
    """
    if predictor.weights.network_config.modality == "images":
        raise UserError("importance: these weights read images only, none of the 86 features")
    crps_of = crps_loss(predictor.weights.grid, rows.z_true)
    predictions: list[tuple[npt.NDArray[np.float32], float]] = []

    def predict(features_NF: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], float]:
        found = predictor.predict({**rows.arrays, "features": features_NF}, with_pdf=True)
        assert found.pdf is not None
        predictions.append((found.summary["median"], crps_of(found.pdf)))
        if on_prediction is not None:
            on_prediction()
        return predictions[-1]

    groups = {name: [column] for column, name in enumerate(FEATURE_NAMES)}
    features = rows.arrays["features"]
    by_crps = permutation_importance(predict, features, lambda p: p[1], groups, num_repeats)
    # The same seed shuffles alike: the predictions are there already.
    earlier = iter(predictions)
    nmad_of = sigma_nmad_loss(rows.z_true)
    by_nmad = permutation_importance(
        lambda _: next(earlier), features, lambda p: nmad_of(p[0]), groups, num_repeats
    )
    nmad: dict[str, Importance] = {item.name: item for item in by_nmad}
    return [
        FeatureImportance(
            rank,
            item.name,
            item.increase,
            item.error,
            nmad[item.name].increase,
            nmad[item.name].error,
            FEATURE_NAMES.index(item.name) + 1,
        )
        for rank, item in enumerate(by_crps, start=1)
    ]
