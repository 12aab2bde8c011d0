"""Accuracy and speed on a GPU: our network and the source's, on a sample of the source's size.

    make gpu-check                        # the tests that need a GPU, then all of this
    python benchmarks/gpu.py --scratch gpu-check
    python benchmarks/gpu.py --scratch small --device cpu --rows 4 --held-out 10 --epochs 1 \\
        --fields 1 --image-size 500 --seconds 0 --no-compile     # the same steps, small

The work is a list of steps. Each leaves a file in SCRATCH when it is done and is skipped where its
file is; a training goes on from its last whole epoch and the mock sample from its last piece of
sky. So the command may be stopped at any time, and repeating it goes on: on a machine that is lent
for ten minutes at once, `timeout 590 make gpu-check` as often as it takes.

The results go to benchmarks/results/gpu.json if they are of a GPU, else they stay in SCRATCH.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from machine import describe_machine

from engine.fit import collect_training_rows
from engine.training_log import read_epochs, write_epoch
from model.dataset import Split, TrainingSet, to_inputs
from model.device import check_devices
from model.evaluation import Scores, as_row, compare, evaluate, slices_by_value, whole
from model.mapped_rows import has_rows, map_rows, write_rows
from model.network import CompactConfig, NetworkConfig, RedshiftNetwork, Wei2025, Wei2025Config
from model.network import aligned as align
from model.predict import Predictor
from model.train import EpochLog, TrainConfig, split_rows, train
from model.weights import Weights, load_weights
from partitions.dr10 import open_survey, read_bricks
from partitions.mock import MockConfig, write_mock_survey
from partitions.photometry import FEATURE_NAMES
from partitions.schema import StampSize
from partitions.tiling import select_bricks
from partitions.truth import read_truth

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "gpu.json"
SOURCE_ROWS = 144_663
"""Training rows of Wei et al. 2025."""
SEED = 100
"""Of the first piece of sky; each next piece has the next seed."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What the results are a function of, the machine aside."""

    device: str
    rows: int
    held_out: int | None
    epochs: int
    fields: int
    image_size_px: int
    seconds: float
    compile: bool


@dataclass(frozen=True)
class Sample:
    """The rows of both networks and how they are split."""

    rows: TrainingSet
    split: Split


# --- the networks ----------------------------------------------------------------------------

NETWORKS: dict[str, NetworkConfig] = {"compact": CompactConfig(), "wei2025": Wei2025Config()}


def train_config(name: str, settings: Settings) -> TrainConfig:
    """Ours as it ships; the source's with its own loss, bins and weight decay."""
    config = TrainConfig(epochs=settings.epochs, device=settings.device)
    if name == "compact":
        return config
    return replace(
        config,
        # The source's batches of 32 leave a GPU idle; the rate is as in comparison.py.
        learning_rate=3e-4,
        weight_decay=1e-5,
        crps_weight=0.0,
        smoothing=0.0,
        band_dropout=0.0,
        grid="linear",
        precision="bfloat16",
    )


# --- the sample ------------------------------------------------------------------------------


def make_piece(folder: Path, seed: int, fields: int, image_size_px: int) -> int:
    """Labelled rows of a small mock survey of its own; returns their number."""
    if not has_rows(folder):
        with tempfile.TemporaryDirectory(prefix="photoz-gpu-") as scratch:
            survey = Path(scratch) / "survey"
            config = MockConfig(seed=seed, num_fields=fields, image_size_px=image_size_px)
            write_mock_survey(survey, config, num_workers=1)
            layout = open_survey(survey)
            known = read_truth(layout.truth_table)
            bricks = select_bricks(read_bricks(layout))
            write_rows(folder, collect_training_rows(layout, bricks, known, StampSize(64, 16)).rows)
    return len(map_rows(folder))


def make_rows(settings: Settings, scratch: Path) -> Result:
    """As many pieces of sky as hold the wanted training rows, as one training set."""
    started = time.perf_counter()
    # A split by sky does not hit its shares exactly.
    wanted = round(1.05 * settings.rows / TrainConfig().fractions[0])
    words = (settings.fields, settings.image_size_px)
    # The first piece tells how many are needed.
    counts = [make_piece(scratch / "pieces" / "0", SEED, *words)]
    while sum(counts) < wanted:
        missing = math.ceil((wanted - sum(counts)) / (sum(counts) / len(counts)))
        workers = min(missing, len(os.sched_getaffinity(0)))
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            pieces = [
                pool.submit(make_piece, scratch / "pieces" / str(n), SEED + n, *words)
                for n in range(len(counts), len(counts) + missing)
            ]
            for piece in pieces:
                counts.append(piece.result())
                click.echo(f"rows: {sum(counts):,} of {wanted:,}")
    # As few as are needed: the same sample whatever the number of workers.
    num_pieces = int(np.searchsorted(np.cumsum(counts), wanted)) + 1
    parts = [map_rows(scratch / "pieces" / str(number)) for number in range(num_pieces)]
    write_rows(scratch / "rows", TrainingSet.concatenate(parts))
    sample = load_sample(settings, scratch)
    return {
        "pieces": num_pieces,
        "first_seed": SEED,
        "labelled": len(sample.rows),
        "train": len(sample.split.train),
        "validation": len(sample.split.validation),
        "test": len(sample.split.test),
        "seconds": round(time.perf_counter() - started, 1),
    }


def load_sample(settings: Settings, scratch: Path) -> Sample:
    """The rows, mapped into memory, and exactly the wanted number of training rows.

    Raises
    ------
    click.ClickException
        If there are fewer.
    """
    rows = map_rows(scratch / "rows")
    split = split_rows(rows, TrainConfig())
    if len(split.train) < settings.rows:
        raise click.ClickException(
            f"{len(split.train)} training rows in {scratch}, {settings.rows} are wanted"
        )
    chosen = np.random.default_rng(0).choice(split.train, settings.rows, replace=False)
    held_out = slice(settings.held_out)
    return Sample(rows, Split(np.sort(chosen), split.validation[held_out], split.test[held_out]))


# --- steps -----------------------------------------------------------------------------------


def run_tests(settings: Settings, scratch: Path) -> Result:
    """The tests that are marked for a GPU; a failure ends everything."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    click.echo(done.stdout)
    if done.returncode:
        raise click.ClickException(f"tests marked gpu failed (exit code {done.returncode})")
    lines = done.stdout.strip().splitlines()
    return {"summary": re.sub(r"[=\s]+", " ", lines[-1]).strip()}


def fit(name: str, settings: Settings, scratch: Path) -> Result:
    """Train a network on the whole sample."""
    sample = load_sample(settings, scratch)
    log = scratch / f"{name}.csv"

    def show(epoch: EpochLog) -> None:
        write_epoch(log, epoch)
        click.echo(f"{name}: {epoch}")

    state = scratch / f"{name}.state"
    config = train_config(name, settings)
    weights = train(sample.rows, config, NETWORKS[name], show, sample.split, state)
    weights.save(scratch / name)
    epochs = read_epochs(log)
    seconds = [len(sample.split.train) / float(epoch["rows_per_s"]) for epoch in epochs]
    return {
        "digest": weights.digest,
        "settings": weights.provenance["train_config"],
        "epochs": len(epochs),
        "best_epoch": weights.provenance["best_epoch"],
        "epoch_seconds_median": median(seconds),
        "epochs_seconds": sum(seconds),
        "validation": weights.provenance["validation"],
    }


def judge(settings: Settings, scratch: Path) -> Result:
    """Both networks on the same test rows, in float32 and in bfloat16, with paired differences."""
    sample = load_sample(settings, scratch)
    test = sample.rows.take(sample.split.test)
    magnitude_r = np.asarray(test.arrays["features"][:, FEATURE_NAMES.index("MAG_R")])
    slices = {**whole(len(test)), **slices_by_value("r", magnitude_r, (-np.inf, 21.5, np.inf))}
    scores: dict[str, Scores] = {}
    for name in NETWORKS:
        weights = load_weights(scratch / name)
        for autocast in (False, True):
            predictor = predictor_of(weights, settings, autocast)
            pdf = predictor.predict(test.arrays, with_pdf=True).pdf
            method = f"{name} {'bfloat16' if autocast else 'float32'}"
            scores[method] = Scores.of_pdf(pdf, weights.grid, test.z_true)
    pairs = [("compact float32", "wei2025 float32")]
    pairs += [(f"{name} bfloat16", f"{name} float32") for name in NETWORKS]
    return {
        "test_rows": len(test),
        "metrics": [
            as_row(record) for name, s in scores.items() for record in evaluate(s, slices, name)
        ],
        "paired_differences": [
            as_row(record)
            for a, b in pairs
            for record in compare(scores[a], scores[b], slices, f"{a} - {b}")
        ],
    }


def predictor_of(weights: Weights, settings: Settings, autocast: bool) -> Predictor:
    """The engine's own inference on the device."""
    return Predictor(
        weights,
        settings.device,
        batch_size(settings, weights.network_config),
        num_threads=0,
        autocast=autocast,
    )


def batch_size(settings: Settings, config: NetworkConfig) -> int:
    """Rows per forward pass."""
    wanted = 512 if settings.device == "cuda" else config.cpu_batch_size
    return min(wanted, settings.held_out or wanted)


def training_rates(settings: Settings, scratch: Path) -> Result:
    """Rows per second and peak memory of both networks, in both precisions, on all devices."""
    sample = load_sample(settings, scratch)
    num_devices = torch.cuda.device_count() if settings.device == "cuda" else 1
    result: Result = {}
    for name, network in NETWORKS.items():
        for precision in ("float32", "bfloat16"):
            for devices in sorted({1, num_devices}):
                config = replace(
                    train_config(name, settings),
                    epochs=2,
                    precision=precision,
                    devices=devices,
                )
                few = sample.split.train[: 40 * config.batch_size]
                # What comes after the epoch is not measured.
                split = Split(few, sample.split.validation[: min(256, len(few))], few[:0])
                logs: list[EpochLog] = []
                reset_peak_memory()
                train(sample.rows, config, network, logs.append, split)
                result[f"{name} {precision} devices={devices}"] = {
                    "batch_size": config.batch_size,
                    # The first epoch warms up: caches, kernels, pages of the rows.
                    "rows_per_s": logs[-1].rows_per_s,
                    **peak_memory(settings, devices),
                }
    return result


def inference_rates(settings: Settings, scratch: Path) -> Result:
    """Sources per second: of the network on data that is there, and of the engine's predictor."""
    test = load_test_rows(settings, scratch)
    result: Result = {}
    for name in NETWORKS:
        weights = load_weights(scratch / name)
        for variant in variants(name, settings):
            label = " ".join((name, *variant))
            result[label] = network_rate(weights, variant, settings, test)
            click.echo(f"inference: {label}: {result[label]}")
        for autocast in (False, True):
            predictor = predictor_of(weights, settings, autocast)
            arrays = tiled(test, max(len(test), 2 * predictor.batch_size)).arrays
            reset_peak_memory()
            rate = per_second(lambda p=predictor, a=arrays: p.predict(a), settings)
            label = f"{name} {'bfloat16' if autocast else 'float32'} predictor"
            result[label] = {
                "batch_size": predictor.batch_size,
                "sources_per_s": rate * len(arrays["features"]),
                **peak_memory(settings, 1),
            }
    return result


def load_test_rows(settings: Settings, scratch: Path) -> TrainingSet:
    """A few thousand test rows, in memory."""
    sample = load_sample(settings, scratch)
    return sample.rows.take(sample.split.test[:4096])


def tiled(rows: TrainingSet, count: int) -> TrainingSet:
    """Rows repeated up to a number."""
    return rows.take(np.arange(count) % len(rows))


def variants(name: str, settings: Settings) -> list[tuple[str, ...]]:
    """Ways to compute the same logits: the precision, then what is done to the network."""
    found: list[tuple[str, ...]] = [("float32",), ("bfloat16",)]
    if settings.device == "cuda":
        found.append(("tf32",))
    if name == "wei2025":
        found += [("float32", "aligned"), ("bfloat16", "aligned")]
    if settings.compile:
        found += [(*v, "compiled") for v in found if v[0] == "bfloat16"]
    return found


def network_rate(
    weights: Weights, variant: tuple[str, ...], settings: Settings, test: TrainingSet
) -> Result:
    """Forward passes on one batch that is on the device; or why this variant does not run."""
    device, config = torch.device(settings.device), weights.network_config
    rows = batch_size(settings, config)
    host = to_inputs(tiled(test, rows).arrays, slice(None), config.optical_px, config.wise_px)
    inputs = {key: value.to(device) for key, value in host.items()}
    network: RedshiftNetwork = weights.build_network().to(device)
    if "aligned" in variant:
        assert isinstance(network, Wei2025)
        network = align(network)
    forward: Callable[..., torch.Tensor] = network
    if "compiled" in variant:
        forward = torch.compile(network)
    reset_peak_memory()
    with arithmetic(variant[0], device):
        try:
            started = time.perf_counter()
            forward(inputs)
            first_s = time.perf_counter() - started
            rate = per_second(lambda: forward(inputs), settings)
        # Whatever the compiler cannot do is a result too.
        except Exception as error:
            if "compiled" not in variant:
                raise
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return {
        "batch_size": rows,
        "sources_per_s": rate * rows,
        "first_pass_s": first_s,
        **peak_memory(settings, 1),
    }


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """float32 without TF32, float32 with it, or bfloat16; without gradients."""
    allow_tf32 = precision != "float32"
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allow_tf32 else "highest")
    try:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=allow_tf32),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def per_second(call: Callable[[], Any], settings: Settings) -> float:
    """Calls per second over at least `seconds`; on a GPU after three to warm up."""
    for _ in range(3 if settings.device == "cuda" else 0):
        call()
    synchronise(settings)
    count = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < settings.seconds or not count:
        call()
        # A call only queues its work on a GPU.
        synchronise(settings)
        count += 1
    return count / elapsed


def synchronise(settings: Settings) -> None:
    """Wait for the device."""
    if settings.device == "cuda":
        torch.cuda.synchronize()


def reset_peak_memory() -> None:
    """Start to measure the peak memory of the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(settings: Settings, devices: int) -> Result:
    """Peak memory of the device, where this process used one; ranks have their own."""
    if settings.device != "cuda" or devices > 1:
        return {}
    return {"peak_device_memory_bytes": torch.cuda.max_memory_allocated()}


# --- all of it -------------------------------------------------------------------------------


def steps(settings: Settings) -> dict[str, Callable[[Settings, Path], Result]]:
    """What is done, in order."""
    found: dict[str, Callable[[Settings, Path], Result]] = {
        "tests": run_tests,
        "rows": make_rows,
        "training rates": training_rates,
        "fit compact": lambda s, folder: fit("compact", s, folder),
        "fit wei2025": lambda s, folder: fit("wei2025", s, folder),
        "accuracy": judge,
        "inference rates": inference_rates,
    }
    if settings.device != "cuda":
        del found["tests"]
    return found


def describe_device(settings: Settings) -> Result:
    """The device that the results are of."""
    if settings.device != "cuda":
        return {"type": settings.device}
    properties = torch.cuda.get_device_properties(0)
    return {
        "type": "cuda",
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def check_scratch(scratch: Path, settings: Settings, device: Result) -> None:
    """Results of other settings or of another device are not mixed with these."""
    path = scratch / "settings.json"
    now = {"settings": asdict(settings), "device": device}
    if not path.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(now, indent=1) + "\n")
    found = json.loads(path.read_text())
    if found != now:
        raise click.UsageError(f"{scratch} is of {found}, not of {now}: name another --scratch")


@click.command()
@click.option("--scratch", type=click.Path(path_type=Path), default="gpu-check", show_default=True)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--rows", default=SOURCE_ROWS, show_default=True, help="Training rows.")
@click.option("--held-out", type=int, help="Validation and test rows at most.  [default: all]")
@click.option("--epochs", default=30, show_default=True, help="Of both trainings.")
@click.option("--fields", default=4, show_default=True, help="Of the mock, a piece of sky.")
@click.option("--image-size", "image_size_px", default=1400, show_default=True, help="Pixels.")
@click.option("--seconds", default=3.0, show_default=True, help="Of each rate.")
@click.option("--compile/--no-compile", default=True, show_default=True, help="torch.compile too.")
def main(
    scratch: Path,
    device: str,
    rows: int,
    held_out: int | None,
    epochs: int,
    fields: int,
    image_size_px: int,
    seconds: float,
    compile: bool,
) -> None:
    """Do the steps that are left, then report; see the top of this file."""
    try:
        check_devices(device, 1)
    except ValueError as error:
        click.echo(f"gpu: {error}", err=True)
        sys.exit(2)
    settings = Settings(device, rows, held_out, epochs, fields, image_size_px, seconds, compile)
    on = describe_device(settings)
    check_scratch(scratch, settings, on)
    results: Result = {}
    for name, step in steps(settings).items():
        path = scratch / f"step-{name.replace(' ', '-')}.json"
        if not path.exists():
            click.echo(f"{name} ...")
            wip = path.with_suffix(".wip")
            wip.write_text(json.dumps(step(settings, scratch), indent=1) + "\n")
            wip.replace(path)
        results[name] = json.loads(path.read_text())
    content = {"device": on, "machine": describe_machine(), "settings": asdict(settings), **results}
    target = RESULTS if on["type"] == "cuda" else scratch / "report.json"
    target.write_text(json.dumps(content, indent=1) + "\n")
    show(content)
    click.echo(f"written: {target}")


def show(content: Result) -> None:
    """The results on the terminal."""
    for key in ("metrics", "paired_differences"):
        for row in content["accuracy"][key]:
            if row["metric"] in ("sigma_nmad", "eta_0.15", "crps") and row["value"] is not None:
                click.echo(
                    f"  {row['method']:36s} {row['slice']:12s} {row['metric']:10s} "
                    f"{row['value']:+.4f} +- {row['error']:.4f}"
                )
    for name in NETWORKS:
        words = content[f"fit {name}"]
        click.echo(f"  {name}: {words['epochs']} epochs of {words['epoch_seconds_median']:.1f} s")
    for key, unit in (("training rates", "rows_per_s"), ("inference rates", "sources_per_s")):
        for name, row in content[key].items():
            rate = row["error"] if "error" in row else f"{row[unit]:12,.0f} /s"
            memory = row.get("peak_device_memory_bytes")
            click.echo(f"  {name:36s} {rate}{f'  {memory / 2**30:.2f} GiB' if memory else ''}")


if __name__ == "__main__":
    main()
