"""What the flag FAR_FROM_TRAINING finds: test rows as they are, and with something wrong in them.

    engine mock training-survey --seed 2 --fields 75
    python benchmarks/unusual.py --survey training-survey --scratch scratch

Every case changes the same test rows of the default weights in one way, and counts how many are
flagged by it, how many by OUT_OF_TRAINING_RANGE, and how many redshifts are outliers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from comparison import RESULTS, load_sample
from machine import describe_machine

from model import metrics
from model.dataset import drop_bands
from model.predict import Predictor
from model.weights import default_weights_path, load_weights
from partitions.schema import BANDS, OPTICAL_BANDS, QUALITY_BITS

Arrays = dict[str, npt.NDArray[Any]]

NUM_ROWS = 3_000
NETWORK_INPUTS = ("optical", "wise", "features", "flux", "flux_ivar", "coverage")


def without_i(arrays: Arrays) -> Arrays:
    """The rows as if i had never been observed."""
    kept = np.tile(np.array([band != "i" for band in BANDS]), (len(arrays["flux"]), 1))
    tensors = {name: torch.from_numpy(arrays[name]) for name in NETWORK_INPUTS}
    dropped = drop_bands(tensors, torch.from_numpy(kept))
    return {**arrays, **{name: value.numpy() for name, value in dropped.items()}}


def cases(arrays: Arrays) -> Iterator[tuple[str, Arrays]]:
    """What can be wrong with rows; pixels are in nanomaggy."""
    optical, order = arrays["optical"], np.random.default_rng(0).permutation(len(arrays["flux"]))
    side = optical.shape[-1]
    middle, inner = side // 2, slice(side // 2 - 4, side // 2 + 4)
    yield "nothing", arrays
    yield "i not observed", without_i(arrays)
    saturated, trail = optical.copy(), optical.copy()
    saturated[:, :, inner, inner] = 60_000
    trail[:, OPTICAL_BANDS.index("r"), middle - 2 : middle + 2, :] += 5
    yield "centre saturated in all bands", {**arrays, "optical": saturated}
    yield "trail of 5 nanomaggy a pixel through r", {**arrays, "optical": trail}
    yield "stamps empty, said to be covered", {**arrays, "optical": np.zeros_like(optical)}
    yield "stamps of g and z exchanged", {**arrays, "optical": optical[:, [3, 1, 2, 0]]}
    yield "stamps of another source", {**arrays, "optical": optical[order]}
    yield "features of another source", {**arrays, "features": arrays["features"][order]}


@click.command()
@click.option("--survey", type=click.Path(path_type=Path), required=True)
@click.option("--scratch", type=click.Path(path_type=Path), required=True)
def main(survey: Path, scratch: Path) -> None:
    """Count flags; writes results/unusual.json."""
    sample, weights = load_sample(survey, scratch), load_weights(default_weights_path())
    rows = sample.split.test[:: max(1, len(sample.split.test) // NUM_ROWS)]
    arrays = {name: np.array(values[rows]) for name, values in sample.rows.arrays.items()}
    predictor = Predictor(weights, batch_size=weights.network_config.cpu_batch_size)
    found: dict[str, dict[str, float]] = {}
    for name, changed in cases(arrays):
        prediction = predictor.predict(changed)
        dz = metrics.normalised_error(prediction.summary["median"], sample.rows.z_true[rows])
        found[name] = {
            bit.lower(): float(np.mean((prediction.quality >> QUALITY_BITS[bit]) & 1))
            for bit in ("FAR_FROM_TRAINING", "OUT_OF_TRAINING_RANGE")
        }
        found[name]["eta_0.15"] = metrics.outlier_fraction(dz)
        shares = "  ".join(f"{k} {100 * v:6.2f} %" for k, v in found[name].items())
        click.echo(f"{name:40s} {shares}")
    result = {
        "machine": describe_machine(),
        "weights": weights.digest,
        "rows": len(rows),
        "cases": found,
    }
    (RESULTS / "unusual.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
