"""The default weights against a random forest and against photometry alone, on unseen sources.

    engine mock training-survey --seed 2 --fields 75
    python benchmarks/accuracy.py --survey training-survey

All methods are fitted on the same training rows of one split by sky (the split of the shipped
weights) and judged on the test rows that none of them saw, and again on the demonstration survey,
another sky from another seed. Errors are bootstrap standard deviations; a comparison of two
methods is bootstrapped over the same sources ("paired").
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from machine import describe_machine

from engine.fit import collect_training_rows
from model.baselines import RandomForest
from model.dataset import TrainingSet
from model.metrics import bias, normalised_error, outlier_fraction, sigma_nmad
from model.network import CompactConfig
from model.predict import Predictor
from model.train import EpochLog, TrainConfig, split_rows, train
from model.weights import Weights, default_weights_path, load_weights
from partitions.dr10 import open_survey, read_bricks
from partitions.mock import MockConfig, write_mock_survey
from partitions.photometry import FEATURE_NAMES
from partitions.tiling import select_bricks
from partitions.truth import read_truth

RESULTS = Path(__file__).parent / "results"
NUM_BOOTSTRAP = 400
DEMO_SEED = 2026

Redshifts = npt.NDArray[np.floating[Any]]


def rows_of(survey: Path, weights: Weights) -> TrainingSet:
    """All galaxies and quasars of a survey with known redshifts."""
    layout = open_survey(survey)
    bricks = select_bricks(read_bricks(layout))
    return collect_training_rows(
        layout, bricks, read_truth(layout.truth_table), weights.stamp_size
    ).rows


def train_config(weights: Weights) -> TrainConfig:
    """The settings that the weights were trained with."""
    values = dict(weights.provenance["train_config"])
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return TrainConfig(**values)


def median_of(weights: Weights, rows: TrainingSet) -> Redshifts:
    """Posterior medians."""
    predictor = Predictor(weights, num_threads=len(os.sched_getaffinity(0)))
    return predictor.predict(rows.arrays).summary["median"]


def metrics_of(z_phot: Redshifts, z_true: Redshifts) -> dict[str, float]:
    """bias, sigma_NMAD and eta with bootstrap errors."""
    dz = normalised_error(z_phot, z_true)
    rng = np.random.default_rng(0)
    samples = [dz[rng.integers(0, len(dz), len(dz))] for _ in range(NUM_BOOTSTRAP)]
    result: dict[str, float] = {"num_sources": len(dz)}
    for name, metric in (("bias", bias), ("sigma_nmad", sigma_nmad), ("eta", outlier_fraction)):
        result[name] = metric(dz)
        result[f"{name}_error"] = float(np.std([metric(sample) for sample in samples]))
    return result


def paired_gain(ours: Redshifts, other: Redshifts, z_true: Redshifts) -> dict[str, float]:
    """How much lower our sigma_NMAD and eta are, with errors from the same resampled sources."""
    a, b = normalised_error(ours, z_true), normalised_error(other, z_true)
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, len(a), len(a)) for _ in range(NUM_BOOTSTRAP)]
    gain: dict[str, float] = {}
    for name, metric in (("sigma_nmad", sigma_nmad), ("eta", outlier_fraction)):
        differences = [metric(b[draw]) - metric(a[draw]) for draw in draws]
        gain[name] = metric(b) - metric(a)
        gain[f"{name}_error"] = float(np.std(differences))
    return gain


def judge(predictions: dict[str, Redshifts], rows: TrainingSet) -> dict[str, Any]:
    """All methods on one set of rows, whole and on either side of r = 21.5."""
    magnitude_r = rows.arrays["features"][:, FEATURE_NAMES.index("MAG_R")]
    parts = {
        "all": np.ones(len(rows), dtype=bool),
        "r < 21.5": magnitude_r < 21.5,
        "r > 21.5": magnitude_r >= 21.5,
    }
    report: dict[str, Any] = {}
    for part, chosen in parts.items():
        z_true = rows.z_true[chosen]
        table = {name: metrics_of(z[chosen], z_true) for name, z in predictions.items()}
        ours = predictions["image + photometry"][chosen]
        gains = {
            name: paired_gain(ours, z[chosen], z_true)
            for name, z in predictions.items()
            if name != "image + photometry"
        }
        report[part] = {"methods": table, "gain_of_image_and_photometry_over": gains}
    return report


@click.command()
@click.option("--survey", type=click.Path(path_type=Path), required=True)
@click.option("--weights", "weights_path", type=click.Path(path_type=Path))
@click.option("--trees", default=200, show_default=True)
@click.option("--images-alone", is_flag=True, help="Also train on images alone (as long again).")
def main(survey: Path, weights_path: Path | None, trees: int, images_alone: bool) -> None:
    """Fit the rivals, predict, compare, record."""
    weights = load_weights(weights_path or default_weights_path())
    config = train_config(weights)
    print("collecting rows ...", flush=True)
    rows = rows_of(survey, weights)
    split = split_rows(rows, config)
    used = weights.provenance["rows"]
    found = {
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
    }
    if found != used:
        raise SystemExit(f"{survey}: splits into {found}, the weights were trained on {used}")
    with tempfile.TemporaryDirectory(prefix="photoz-accuracy-") as folder:
        write_mock_survey(Path(folder) / "demo", MockConfig.demo(seed=DEMO_SEED))
        demo = rows_of(Path(folder) / "demo", weights)
    sets = {"test rows": rows.take(split.test), "demonstration survey": demo}
    seconds: dict[str, float] = {}
    predictions: dict[str, dict[str, Redshifts]] = {
        name: {"image + photometry": median_of(weights, part)} for name, part in sets.items()
    }

    def show(log: EpochLog) -> None:
        print(log, flush=True)

    network_config = weights.network_config
    assert isinstance(network_config, CompactConfig)
    for modality in ("photometry", "images") if images_alone else ("photometry",):
        print(f"training the same network on {modality} alone ...", flush=True)
        begin = time.perf_counter()
        alone = train(rows, config, replace(network_config, modality=modality), show, split)
        seconds[modality] = time.perf_counter() - begin
        for name, part in sets.items():
            predictions[name][f"{modality} alone"] = median_of(alone, part)
    print("fitting the random forest ...", flush=True)
    begin = time.perf_counter()
    training = rows.take(split.train)
    forest = RandomForest(num_trees=trees, num_threads=len(os.sched_getaffinity(0)))
    forest.fit(training.arrays, training.z_true)
    seconds["random forest"] = time.perf_counter() - begin
    for name, part in sets.items():
        predictions[name]["random forest"] = forest.predict(part.arrays)
    result = {
        "machine": describe_machine(),
        "weights": weights.digest,
        "num_training_rows": len(split.train),
        "trees": trees,
        "fit_seconds": seconds,
        **{name: judge(predictions[name], part) for name, part in sets.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "accuracy.json").write_text(json.dumps(result, indent=1) + "\n")
    report(result)


def report(result: dict[str, Any]) -> None:
    """Print a result as tables."""
    print(f"\n{result['num_training_rows']:,} training rows")
    for name in ("test rows", "demonstration survey"):
        for part, table in result[name].items():
            print(f"\n{name}, {part}")
            for method, m in table["methods"].items():
                print(
                    f"  {method:20s} n {m['num_sources']:6,}  bias {m['bias']:+.4f}"
                    f"  sigma_NMAD {m['sigma_nmad']:.4f} +- {m['sigma_nmad_error']:.4f}"
                    f"  eta {m['eta']:.4f} +- {m['eta_error']:.4f}"
                )
            for rival, gain in table["gain_of_image_and_photometry_over"].items():
                print(
                    f"    ahead of {rival} by sigma_NMAD {gain['sigma_nmad']:+.4f}"
                    f" +- {gain['sigma_nmad_error']:.4f}, eta {gain['eta']:+.4f}"
                    f" +- {gain['eta_error']:.4f}"
                )


if __name__ == "__main__":
    main()
