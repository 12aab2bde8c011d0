"""All methods on one split: image, photometry, both; the source's network; three baselines.

    engine mock training-survey --seed 2 --fields 75
    python benchmarks/comparison.py fit --survey training-survey --scratch scratch both
    python benchmarks/comparison.py fit --survey training-survey --scratch scratch forest
    ...
    python benchmarks/comparison.py report --scratch scratch

Each method is fitted by its own command, so that they can run side by side or on another day; all
read the same rows, kept in SCRATCH, and leave the posteriors of the same test rows there. `report`
judges whatever it finds. Methods whose name ends in `-small` are fitted on the same SMALL_ROWS of
the training rows: what a CPU can train the source's network on in an hour. Its 64 pixel stamps
come from the same build, cut larger.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt
from machine import describe_machine

from engine.fit import collect_training_rows
from model.baselines import Baseline, BoostedTrees, NearestNeighboursLinear, RandomForest
from model.dataset import Split, TrainingSet
from model.evaluation import Scores, as_row, compare, evaluate, slices_by_value, whole
from model.network import CompactConfig, NetworkConfig, Wei2025Config
from model.posterior import RedshiftGrid
from model.predict import Predictor
from model.train import EpochLog, TrainConfig, redshift_grid, split_rows, train
from model.weights import Weights, default_weights_path, load_weights
from partitions.dr10 import open_survey, read_bricks
from partitions.photometry import FEATURE_NAMES
from partitions.schema import StampSize
from partitions.tiling import select_bricks
from partitions.truth import read_truth

RESULTS = Path(__file__).parent / "results"
SMALL_ROWS = 6_000
SMALL_VALIDATION_ROWS = 1_000
WEI2025_EPOCHS = 6
WEI2025_PHOTOMETRY_EPOCHS = 40
# Without AMX a CPU is slower in bfloat16 than in float32 (8 against 12 rows/s a core).
WEI2025_PRECISION: Literal["float32", "bfloat16"] = "float32"
OURS = "both"

Pdf = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """The rows of all methods and how they are split."""

    rows: TrainingSet
    split: Split
    settings: TrainConfig

    @property
    def small(self) -> Split:
        """Fewer training and validation rows; the same test rows."""
        rng = np.random.default_rng(0)
        few = [
            np.sort(rng.choice(part, min(size, len(part)), replace=False))
            for part, size in (
                (self.split.train, SMALL_ROWS),
                (self.split.validation, SMALL_VALIDATION_ROWS),
            )
        ]
        return Split(few[0], few[1], self.split.test)


def load_sample(survey: Path, scratch: Path) -> Sample:
    """Collect the rows once; later calls map the same files into memory."""
    folder = scratch / "rows"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        layout = open_survey(survey)
        known, size = read_truth(layout.truth_table), StampSize(64, 16)
        rows = collect_training_rows(layout, select_bricks(read_bricks(layout)), known, size).rows
        for name, values in rows.arrays.items():
            np.save(folder / f"array-{name}.npy", values)
        np.save(folder / "z_true.npy", rows.z_true)
        np.save(folder / "position.npy", np.stack([rows.ra_deg, rows.dec_deg]))
        (folder / "complete").touch()
    arrays = {
        path.stem.removeprefix("array-"): np.load(path, mmap_mode="r")
        for path in sorted(folder.glob("array-*.npy"))
    }
    ra_deg, dec_deg = np.load(folder / "position.npy")
    rows = TrainingSet(arrays, np.load(folder / "z_true.npy"), ra_deg, dec_deg)
    values = dict(load_weights(default_weights_path()).provenance["train_config"])
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    settings = TrainConfig(**values)
    return Sample(rows, split_rows(rows, settings), settings)


def fit_network(
    sample: Sample,
    network: NetworkConfig,
    settings: TrainConfig,
    split: Split,
    pretrained: Sequence[Weights] = (),
) -> tuple[Pdf, Weights]:
    """Posteriors of the test rows by a network trained here."""
    weights = train(sample.rows, settings, network, show_epoch, split, pretrained=pretrained)
    return predict(weights, sample, settings.precision == "bfloat16"), weights


def show_epoch(log: EpochLog) -> None:
    """A line on the error stream."""
    click.echo(str(log), err=True)


def predict(weights: Weights, sample: Sample, autocast: bool = False) -> Pdf:
    """Posteriors of the test rows."""
    predictor = Predictor(
        weights,
        batch_size=weights.network_config.cpu_batch_size,
        autocast=autocast and weights.network_config.name == "wei2025",
    )
    pdf = predictor.predict(sample.rows.take(sample.split.test).arrays, with_pdf=True).pdf
    assert pdf is not None
    return pdf


def fit_baseline(sample: Sample, baseline: Baseline, grid: RedshiftGrid, split: Split) -> Pdf:
    """Posteriors of the test rows by a method of model.baselines."""

    def photometry(rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        names = ("features", "flux", "flux_ivar", "mw_transmission")
        return {name: np.asarray(sample.rows.arrays[name][rows]) for name in names}

    baseline.fit(photometry(split.train), sample.rows.z_true[split.train], grid)
    return baseline.predict_pdf(photometry(split.test))


def run_method(name: str, sample: Sample, threads: int) -> tuple[Pdf, npt.NDArray[np.float64], str]:
    """Posteriors of the test rows, the edges of their bins, and what was done in words."""
    base = name.removesuffix("-small")
    split = sample.small if name.endswith("-small") else sample.split
    settings = sample.settings
    if name == OURS:
        weights = load_weights(default_weights_path())
        return predict(weights, sample), weights.grid.edges, "compact, the default weights"
    modality = {"both": "both", "images": "images", "photometry": "photometry"}.get(base)
    if modality is not None:
        network: NetworkConfig = CompactConfig(modality=modality)  # type: ignore[arg-type]
        settings = replace(settings, epochs=30) if name.endswith("-small") else settings
        pdf, weights = fit_network(sample, network, settings, split)
        words = f"compact, {modality}, {settings.epochs} epochs"
        return pdf, weights.grid.edges, words
    if base == "wei2025":
        settings = TrainConfig(
            epochs=WEI2025_EPOCHS,
            batch_size=32,
            learning_rate=3e-4,
            weight_decay=1e-5,
            crps_weight=0.0,
            smoothing=0.0,
            band_dropout=0.0,
            grid="linear",
            precision=WEI2025_PRECISION,
        )
        # As in the source: a sub-network alone first, where a CPU can afford it, then both.
        alone = replace(settings, epochs=WEI2025_PHOTOMETRY_EPOCHS, precision="float32")
        part = Wei2025Config(modality="photometry")
        photometry = train(sample.rows, alone, part, show_epoch, split)
        pdf, weights = fit_network(sample, Wei2025Config(), settings, split, [photometry])
        words = (
            f"the source's network, photometry part {photometry.provenance['epochs']} epochs "
            f"alone, then {weights.provenance['epochs']} epochs jointly, {WEI2025_PRECISION}"
        )
        return pdf, weights.grid.edges, words
    grid = redshift_grid(settings, CompactConfig().num_bins)
    makers: dict[str, Callable[[], Baseline]] = {
        "forest": lambda: RandomForest(num_threads=threads),
        "neighbours": lambda: NearestNeighboursLinear(num_threads=threads),
        "boosted": lambda: BoostedTrees(num_threads=threads),
    }
    if base not in makers:
        raise click.UsageError(
            f"method {name!r}: expected {OURS}, images, photometry, wei2025, "
            f"{', '.join(makers)}, each but the first also with -small"
        )
    words = {
        "forest": "random forest (Zhou et al. 2021)",
        "neighbours": "nearest neighbours + local linear (Zou et al. 2019)",
        "boosted": "gradient-boosted trees",
    }
    return fit_baseline(sample, makers[base](), grid, split), grid.edges, words[base]


@click.group()
def cli() -> None:
    """Compare methods; see the top of this file."""


@cli.command()
@click.option("--survey", type=click.Path(path_type=Path), required=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True)
@click.option("--threads", default=1, show_default=True)
@click.argument("methods", nargs=-1, required=True)
def fit(survey: Path, scratch: Path, threads: int, methods: tuple[str, ...]) -> None:
    """Fit methods and keep their posteriors of the test rows."""
    sample = load_sample(survey, scratch)
    for name in methods:
        started = time.perf_counter()
        pdf, edges, words = run_method(name, sample, threads)
        seconds = time.perf_counter() - started
        split = sample.small if name.endswith("-small") else sample.split
        about = {"method": words, "training_rows": len(split.train), "seconds": round(seconds, 1)}
        np.savez(scratch / f"{name}.npz", pdf=pdf.astype(np.float32), edges=edges)
        (scratch / f"{name}.json").write_text(json.dumps(about))
        click.echo(f"{name}: {about}")


@cli.command()
@click.option("--survey", type=click.Path(path_type=Path), required=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True)
def report(survey: Path, scratch: Path) -> None:
    """Judge what was fitted; writes results/comparison.json."""
    sample = load_sample(survey, scratch)
    test = sample.split.test
    z_true = sample.rows.z_true[test]
    magnitude_r = sample.rows.arrays["features"][test][:, FEATURE_NAMES.index("MAG_R")]
    slices = {**whole(len(test)), **slices_by_value("r", magnitude_r, (-np.inf, 21.5, np.inf))}
    scores: dict[str, Scores] = {}
    about: dict[str, Any] = {}
    for path in sorted(scratch.glob("*.npz")):
        with np.load(path) as kept:
            pdf, edges = kept["pdf"].astype(np.float64), kept["edges"]
        scores[path.stem] = Scores.of_pdf(pdf, RedshiftGrid(edges), z_true)
        about[path.stem] = json.loads(path.with_suffix(".json").read_text())
    records = [as_row(record) for name, s in scores.items() for record in evaluate(s, slices, name)]
    differences = []
    for ours, others in ((OURS, list(scores)), (f"{OURS}-small", ["wei2025-small"])):
        differences += [
            as_row(record)
            for other in others
            if other != ours and {ours, other} <= set(scores)
            for record in compare(scores[ours], scores[other], slices, f"{ours} - {other}")
        ]
    result = {
        "machine": describe_machine(),
        "test_rows": len(test),
        "fits": about,
        "metrics": records,
        "paired_differences": differences,
    }
    (RESULTS / "comparison.json").write_text(json.dumps(result, indent=1) + "\n")
    show(records, differences, about)


def show(
    records: list[dict[str, Any]], differences: list[dict[str, Any]], about: dict[str, Any]
) -> None:
    """The tables on the terminal."""
    metrics = ("bias", "sigma_nmad", "eta_0.15", "crps", "coverage_68", "pit_ks", "nll")
    for title, table in (("metrics", records), ("paired differences", differences)):
        click.echo(f"\n{title}")
        for method in dict.fromkeys(row["method"] for row in table):
            for part in dict.fromkeys(row["slice"] for row in table):
                values = {
                    row["metric"]: row
                    for row in table
                    if (row["method"], row["slice"]) == (method, part)
                }
                cells = [
                    f"{name} {values[name]['value']:+.4f} +- {values[name]['error']:.4f}"
                    for name in metrics
                    if name in values
                ]
                click.echo(f"  {method:28s} {part:12s} {'  '.join(cells)}")
    for name, words in about.items():
        click.echo(f"  {name}: {words}")


if __name__ == "__main__":
    cli()
