"""Training on a table: rows with known redshifts in, calibrated weights out.

The loop is its own and short. `model.train` streams stamps that are turned and cropped batch by
batch, goes on after a kill, and fits one network; here the inputs are one small matrix, a fit takes
minutes, and there are several members. What is minimised, how posteriors are made, scored and
calibrated is shared: model.losses, model.posterior, model.calibrate.

Members differ in their seed; the posterior is the mean of theirs. Validation rows choose each
member's epoch, and a temperature for the mean: members calibrated one by one would make a mean that
is too broad where they disagree.

Given a seed the weights are the same bytes on the same machine: one thread, one order of rows.

Shapes: N rows, F features, B bands, Z bins.

References
----------
* Ensembles of networks as posteriors: Lakshminarayanan et al. 2017, arXiv:1612.01474.
* Mean of the parameters over steps: Polyak & Juditsky 1992, SIAM J. Control Optim. 30, 838.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from model.calibrate import cross_entropy, fit_temperature, softmax
from model.dataset import Rows, Split
from model.evaluation import Scores
from model.losses import posterior_loss
from model.posterior import RedshiftGrid
from model.predict import cpu_threads
from model.table.ensemble import log_mean
from model.table.features import band_usage, features, fit_standardisation, num_features
from model.table.network import NetworkShape, TableNetwork
from model.table.rows import TableLayout, TableRows
from model.table.weights import TableWeights

Redshifts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit."""

    seed: int = 0
    """Of the split, the parameters, the order of rows and the bands that are dropped."""
    members: int = 5
    """Networks whose posteriors are averaged."""
    held_out: float = 0.2
    """Share of the rows that are only judged on."""
    validation: float = 0.1
    """Share of the other rows that choose the epoch and the temperature."""
    epochs: int = 40
    """Passes over the training rows; the best one is kept."""
    batch_size: int = 512
    """Rows per step at most; small tables take smaller steps, see `rows_per_step`."""
    learning_rate: float = 2e-3
    """Peak of the schedule: linear warm-up, then a cosine to zero."""
    warmup_fraction: float = 0.05
    """Share of all steps spent warming up."""
    weight_decay: float = 0.02
    """Of AdamW, on matrices only."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.998
    """Decay per step of the running mean of the parameters, which is what is kept."""
    width: int = 128
    """Values between the layers of the network."""
    num_layers: int = 3
    """Its layers between the first and the last."""
    dropout: float = 0.1
    """Share of the values that each of these layers loses in training."""
    band_dropout: float = 0.1
    """Probability that a row is shown without some of its bands: a table to come may lack one."""
    bin_width: float = 0.003
    """Width of the redshift bins in ln(1 + z)."""
    z_max: float = 0.0
    """Upper end of the grid; 0 for 5 % in 1 + z above the largest known redshift."""
    smoothing: float = 0.003
    """Standard deviation of the spread of the target, in z / (1 + z); 0 for none."""
    crps_weight: float = 2.0
    """Weight of the CRPS, in z / (1 + z), beside the cross-entropy."""

    def __post_init__(self) -> None:
        for name in ("members", "epochs", "batch_size", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        for name in ("held_out", "validation", "bin_width", "learning_rate"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected more than 0, less than 1")
        for name in ("dropout", "band_dropout", "average_decay", "warmup_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 to 1, 1 excluded")
        for name in ("weight_decay", "z_max", "smoothing", "crps_weight", "num_layers", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 or more")
        if not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm={self.clip_norm}: expected more than 0")

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares of training, validation and held-out rows."""
        validation = (1 - self.held_out) * self.validation
        return 1 - self.held_out - validation, validation, self.held_out


@dataclass(frozen=True)
class MemberEpoch:
    """What happened in one epoch of one member."""

    member: int
    """From 1."""
    epoch: int
    """From 1."""
    train_loss: float
    """Mean loss over the training rows, lost bands included."""
    validation_nll: float
    """Mean -ln probability of the true bin over the validation rows."""
    best: bool
    """Whether this is the member's best epoch so far."""


Progress = Callable[[MemberEpoch], None]


def rows_per_step(config: FitConfig, num_rows: int) -> int:
    """Rows per step of `num_rows` training rows: an epoch has 40 steps, if they hold 32 rows."""
    return min(config.batch_size, max(32, num_rows // 40))


def redshift_grid(config: FitConfig, z_true: Redshifts) -> RedshiftGrid:
    """Bins of equal width in ln(1 + z), from 0 to beyond the largest training redshift.

    Raises
    ------
    ValueError
        If a redshift lies beyond `z_max`.
    """
    largest = float(z_true.max())
    z_max = config.z_max or math.ceil(10 * (1.05 * (1 + largest) - 1)) / 10
    if largest > z_max:
        raise ValueError(f"z_max={config.z_max}: the largest known redshift is {largest:.4g}")
    return RedshiftGrid.log_uniform(0.0, z_max, math.ceil(math.log1p(z_max) / config.bin_width))


def fit_table(
    rows: TableRows,
    z_true: Redshifts,
    layout: TableLayout,
    split: Split,
    config: FitConfig | None = None,
    reading: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TableWeights:
    """Train the members and calibrate them.

    Parameters
    ----------
    rows, z_true
        N rows and their known redshifts (N,), all finite and not negative.
    split
        Rows to train on and to validate on; its test rows are not looked at.
    config
        Settings; the defaults if not given.
    reading
        How such rows are read from a table, kept with the weights as it is.
    progress
        Called after every epoch of every member.

    Raises
    ------
    ValueError
        If there are no rows to train or to validate on, or a redshift is off the grid.
    FloatingPointError
        If the loss stops being finite.
    """
    config = config if config is not None else FitConfig()
    _check(rows, z_true, split)
    fitted = np.concatenate([split.train, split.validation])
    grid = redshift_grid(config, z_true[fitted])
    statistics = fit_standardisation(rows.take(split.train), layout)
    x_NF = features(rows, layout, statistics)
    shape = NetworkShape(
        num_features(layout), grid.num_bins, config.width, config.num_layers, config.dropout
    )
    members, logits, epochs = [], [], []
    with cpu_threads(1), torch.random.fork_rng(devices=[]):
        for number in range(config.members):
            trainer = _MemberTrainer(number, x_NF, z_true, layout, shape, grid, config)
            members.append(trainer.fit(split, progress))
            logits.append(trainer.logits(split.validation))
            epochs.append(trainer.best_epoch)
    z_validation = z_true[split.validation]
    log_pdf = log_mean(logits)
    temperature = fit_temperature(log_pdf, grid.bin_of(z_validation))
    return TableWeights(
        layout=layout,
        shape=shape,
        members=tuple(members),
        standardisation=statistics,
        grid=grid,
        prior=_prior(z_true[split.train], grid),
        temperature=temperature,
        reading=dict(reading or {}),
        provenance={
            "rows": {
                "train": len(split.train),
                "validation": len(split.validation),
                "test": len(split.test),
            },
            "best_epochs": epochs,
            "validation": _summary(softmax(log_pdf, temperature), grid, z_validation),
            "config": asdict(config),
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
            },
        },
    )


def _check(rows: TableRows, z_true: Redshifts, split: Split) -> None:
    if z_true.shape != (len(rows),):
        raise ValueError(f"{z_true.size} redshifts for {len(rows)} rows: they must agree")
    if not (np.isfinite(z_true) & (z_true >= 0)).all():
        raise ValueError("redshifts must be finite and not negative")
    if not len(split.train) or not len(split.validation):
        raise ValueError(
            f"{len(split.train)} training and {len(split.validation)} validation rows: "
            "both must be at least 1"
        )


class _MemberTrainer:
    """One member and what it is trained with."""

    def __init__(
        self,
        number: int,
        x_NF: npt.NDArray[np.float32],
        z_true: Redshifts,
        layout: TableLayout,
        shape: NetworkShape,
        grid: RedshiftGrid,
        config: FitConfig,
    ) -> None:
        self.number, self.config, self.grid = number, config, grid
        # Two numbers, so that member 1 of seed 0 is not member 0 of seed 1.
        self.rng = np.random.default_rng([config.seed, number])
        torch.manual_seed(int(self.rng.integers(1 << 62)))
        self.network = TableNetwork(shape)
        self.mean = AveragedModel(self.network, avg_fn=self._average)
        self.x_NF, self.z_true = torch.from_numpy(x_NF), torch.from_numpy(z_true)
        self.edges = torch.from_numpy(grid.edges)
        self.usage = torch.from_numpy(band_usage(layout)).to(torch.float32)
        self.best_epoch = 0

    def _average(self, mean: Tensor, value: Tensor, num_averaged: Tensor | int) -> Tensor:
        # The first steps weigh less than the decay says, or the start would never be forgotten.
        steps = float(num_averaged)
        return torch.lerp(value, mean, min(self.config.average_decay, steps / (steps + 10)))

    def fit(self, split: Split, progress: Progress | None) -> dict[str, npt.NDArray[np.float32]]:
        """Parameters of the best epoch, by the validation rows."""
        config = self.config
        matrices = [p for p in self.network.parameters() if p.ndim >= 2]
        others = [p for p in self.network.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        size = rows_per_step(config, len(split.train))
        num_steps = config.epochs * math.ceil(len(split.train) / size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate(num_steps))
        true_bin, best_nll = self.grid.bin_of(self.z_true[split.validation].numpy()), math.inf
        for epoch in range(1, config.epochs + 1):
            loss = self._epoch(split.train, optimizer, schedule)
            nll = cross_entropy(self.logits(split.validation), true_bin)
            better = nll < best_nll
            if better:
                best_nll, self.best_epoch = nll, epoch
                best = {k: v.clone() for k, v in self.mean.module.state_dict().items()}
            if progress is not None:
                progress(MemberEpoch(self.number + 1, epoch, loss, nll, better))
        self.mean.module.load_state_dict(best)
        return {name: value.numpy().copy() for name, value in best.items()}

    def _rate(self, num_steps: int) -> Callable[[int], float]:
        """Factor on the learning rate at a step."""
        warmup = max(1, round(self.config.warmup_fraction * num_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))

        return factor

    def _epoch(
        self,
        train: Rows,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
    ) -> float:
        """Mean loss over the rows, in a new order."""
        config, total, size = self.config, 0.0, rows_per_step(self.config, len(train))
        self.network.train()
        order = self.rng.permutation(train)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            logits = self.network(self._lose_bands(self.x_NF[batch]))
            loss = posterior_loss(
                logits, self.z_true[batch], self.edges, config.smoothing, config.crps_weight
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
            optimizer.step()
            schedule.step()
            self.mean.update_parameters(self.network)
            total += float(loss.detach()) * len(batch)
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss is {total} at learning rate {config.learning_rate}: lower it"
            )
        return total / len(order)

    def _lose_bands(self, x_NF: Tensor) -> Tensor:
        """Some rows as if some of their bands had not been observed; never all of them."""
        shape = len(x_NF), len(self.usage)
        if not self.config.band_dropout or shape[1] == 1:
            return x_NF
        lost = self.rng.random(shape) < 0.5
        lost &= ~lost.all(axis=1, keepdims=True)
        lost &= self.rng.random((len(x_NF), 1)) < self.config.band_dropout
        return x_NF.masked_fill(torch.from_numpy(lost).to(torch.float32) @ self.usage > 0, 0.0)

    @torch.inference_mode()
    def logits(self, rows: Rows) -> npt.NDArray[np.float32]:
        """(n, Z) logits of the running mean, nothing dropped."""
        self.mean.eval()
        return np.asarray(self.mean(self.x_NF[rows]).numpy())


def _prior(z_true: Redshifts, grid: RedshiftGrid) -> npt.NDArray[np.float64]:
    """(Z,) distribution of the training redshifts, one pseudo-count a bin."""
    counts = np.bincount(grid.bin_of(z_true), minlength=grid.num_bins) + 1.0
    return np.asarray(counts / counts.sum())


def _summary(
    pdf_NZ: npt.NDArray[np.float64], grid: RedshiftGrid, z_true: Redshifts
) -> dict[str, float]:
    """Metrics of the whole on the validation rows, which chose epochs and temperature."""
    scores = Scores.of_pdf(pdf_NZ, grid, z_true)
    return {
        name: float(statistic.of(scores.columns[statistic.column]))
        for name, statistic in scores.statistics.items()
    }
