"""Training: labelled arrays in, calibrated weights out.

The loss is the cross-entropy of the redshift bins plus the CRPS. Rows are turned and mirrored, and
whole bands are dropped at random, in images and photometry alike, so that the same network serves
the 29 % of DR10 that lacks a band.

Given a seed, a device and a number of threads, the weights are the same bytes, whether or not the
run was killed on the way and went on from its last whole epoch.

On several devices one process a device takes its share of every batch: the same batches, the same
augmentation and the same gradients as one process, up to the order of float32 sums.

The loop is plain torch: there is one loop of a few lines, and what a framework would bring
(checkpoints that resume to the same bytes, a running mean, a calibrated end) is the part that has
to be ours anyway.

Shapes: N objects, B bands, H W pixels, Z bins.
"""

from __future__ import annotations

import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import metrics
from model.augment import draw_kept_bands, draw_symmetries, turn
from model.calibrate import (
    calibrated,
    cross_entropy,
    fit_recalibration,
    fit_temperature,
    reference_magnitude,
    softmax,
)
from model.checkpoint import load_checkpoint, run_identity, save_checkpoint
from model.dataset import (
    Rows,
    Split,
    Standardisation,
    TrainingSet,
    drop_bands,
    fit_standardisation,
    split_by_sky,
    targetid_digest,
    to_inputs,
)
from model.device import as_device, repeatable
from model.distributed import Ranks, Report, run_ranks
from model.familiarity import Familiarity, fit_familiarity
from model.losses import mean_square_error, posterior_loss, root_loss
from model.mapped_rows import map_rows, write_rows
from model.network import (
    CompactConfig,
    NetworkConfig,
    RedshiftNetwork,
    Wei2025,
    Wei2025Config,
    build_network,
    config_to_dict,
    load_subnetworks,
    logits_to_place,
)
from model.posterior import RedshiftGrid, summarise
from model.weights import Weights
from partitions.schema import BANDS


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run."""

    seed: int = 0
    """Of the split, the parameters, the order of rows and every augmentation."""
    epochs: int = 30
    """At most this many passes over the training rows."""
    batch_size: int = 256
    """Rows per step."""
    learning_rate: float = 2e-3
    """Peak of the schedule: linear warm-up, then a cosine to zero."""
    warmup_fraction: float = 0.05
    """Share of all steps spent warming up."""
    weight_decay: float = 0.02
    """Of AdamW, on matrices and kernels only."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.998
    """Decay per step of the running mean of the parameters, which is what is kept; 0 for none."""
    patience: int = 8
    """Stop after this many epochs without a better validation loss."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of train, validation and test in the split by sky."""
    band_dropout: float = 0.3
    """Probability that a row loses the bands of one of BAND_DROP_PATTERNS."""
    bands: tuple[str, ...] = BANDS
    """Bands to train on; the others are treated as missing, here and in every prediction."""
    dihedral: bool = True
    """Turn and mirror the stamps at random."""
    smoothing: float = 0.003
    """Standard deviation of the spread of the target, in z / (1 + z); 0 for none."""
    crps_weight: float = 2.0
    """Weight of the CRPS, in z / (1 + z), beside the cross-entropy."""
    balance: float = 0.0
    """0 lets every row count alike, 1 every redshift: rows weigh as density^-balance, at most
    10 times the mean. The posteriors then hold for a sample of that mixture."""
    balance_classes: float = 0.0
    """The same for classes: rows weigh as (rows of their class)^-balance_classes besides."""
    grid: Literal["log", "linear"] = "log"
    """Bins of equal width in ln(1 + z), or in z as in the source."""
    z_max: float = 4.0
    """Upper end of a log grid; a linear grid has bins of width 0.005 from 0."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 computes the forward and backward passes by autocast; parameters stay float32."""
    device: str = "cpu"
    """Where to train: `cpu`, `cuda`, or of one device also `cuda:<n>`."""
    devices: int = 1
    """Processes that share every batch, one a device; `batch_size` is that of all together."""

    def __post_init__(self) -> None:
        if not 0 <= self.band_dropout <= 1:
            raise ValueError(f"band_dropout={self.band_dropout}: expected 0 to 1")
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"epochs={self.epochs}, batch_size={self.batch_size}: expected at least 1"
            )
        if not 1 <= self.devices <= self.batch_size:
            raise ValueError(
                f"devices={self.devices}: expected 1 to batch_size={self.batch_size}, "
                "a row a device at least"
            )
        if self.devices > 1 and ":" in self.device:
            raise ValueError(
                f"devices={self.devices} on device={self.device!r}: expected 'cuda' or 'cpu'"
            )
        for name in ("balance", "balance_classes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 to 1")
        unknown = [band for band in self.bands if band not in BANDS]
        if unknown or not self.bands:
            raise ValueError(f"bands={self.bands}: expected a part of {BANDS}")


@dataclass(frozen=True)
class EpochLog:
    """What happened in one epoch."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean loss over the training rows, augmentation included."""
    validation_nll: float
    """Mean -ln probability of the true bin over the validation rows."""
    sigma_nmad: float
    """Scatter of the posterior medians of the validation rows."""
    outlier_fraction: float
    """eta(0.15) of the same."""
    rows_per_s: float
    """Training speed."""
    best: bool
    """Whether this is the best epoch so far."""

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:3d}  loss {self.train_loss:.4f}  "
            f"validation nll {self.validation_nll:.4f}  nmad {self.sigma_nmad:.4f}  "
            f"eta {self.outlier_fraction:.4f}  {self.rows_per_s:.0f} rows/s"
            f"{'  best' if self.best else ''}"
        )


Progress = Callable[[EpochLog], None]

_FAMILIARITY_ROWS = 20_000


def split_rows(train_set: TrainingSet, config: TrainConfig) -> Split:
    """The split by sky that `train` uses for these settings."""
    return split_by_sky(train_set.ra_deg, train_set.dec_deg, config.seed, config.fractions)


def balancing_weights(
    z_true: npt.NDArray[np.float64],
    train_rows: Rows,
    balance: float,
    class_code: npt.NDArray[np.integer] | None = None,
    balance_classes: float = 0.0,
) -> npt.NDArray[np.float32]:
    """(N,) weight of every row, 1 on average over the training rows; see TrainConfig.balance.

    Raises
    ------
    ValueError
        If classes are to be balanced, and there are fewer than two.
    """
    weight = np.ones(len(z_true))
    if balance > 0:
        # Bins of 0.05 in ln(1 + z): wide enough to hold rows, narrow beside any class.
        place = (np.log1p(np.maximum(z_true, 0)) / 0.05).astype(np.int64)
        weight *= _rarity(place, train_rows, balance)
    if balance_classes > 0:
        num_classes = 0 if class_code is None else len(np.unique(class_code[train_rows]))
        if class_code is None or num_classes < 2:
            raise ValueError(
                f"balance_classes={balance_classes} with training rows of {num_classes} class(es): "
                "there is nothing to balance"
            )
        weight *= _rarity(class_code.astype(np.int64), train_rows, balance_classes)
    weight /= weight[train_rows].mean()
    weight = np.minimum(weight, 10.0)
    return np.asarray(weight / weight[train_rows].mean(), np.float32)


def _rarity(
    place: npt.NDArray[np.int64], train_rows: Rows, power: float
) -> npt.NDArray[np.float64]:
    """(N,) (training rows in the same place)^-power."""
    counts = np.bincount(place[train_rows], minlength=int(place.max()) + 1)
    return np.asarray(np.maximum(counts[place], 1.0) ** -power)


def redshift_grid(config: TrainConfig, num_bins: int) -> RedshiftGrid:
    """The bins of a training run; never a function of the data."""
    if config.grid == "linear":
        return RedshiftGrid.uniform(0.0, 0.005 * num_bins, max_bins=num_bins)
    return RedshiftGrid.log_uniform(0.0, config.z_max, num_bins)


# --- the loop --------------------------------------------------------------------------------


class _RunningMean:
    """Exponential mean of the parameters over steps: a smoother, usually better network."""

    def __init__(self, network: RedshiftNetwork, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.mean = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: RedshiftNetwork) -> None:
        """Take in the parameters after a step."""
        self.steps += 1
        # The first steps weigh less than the decay says, or the start would never be forgotten.
        decay = min(self.decay, (self.steps - 1) / (self.steps + 9))
        for name, value in network.state_dict().items():
            self.mean[name].lerp_(value, 1 - decay)


def _parameter_groups(network: RedshiftNetwork, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and gains."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _schedule(config: TrainConfig, num_steps: int) -> Callable[[int], float]:
    """Factor on the learning rate at a step."""
    warmup = max(1, round(config.warmup_fraction * num_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))

    return factor


class _Trainer:
    """State of one training run, on one of its ranks."""

    def __init__(
        self,
        train_set: TrainingSet,
        split: Split,
        config: TrainConfig,
        network: RedshiftNetwork,
        grid: RedshiftGrid,
        ranks: Ranks,
    ) -> None:
        self.train_set, self.split, self.config, self.grid = train_set, split, config, grid
        self.ranks, self.device = ranks, ranks.device
        self.network = network.to(self.device)
        self.edges = torch.from_numpy(grid.edges).to(self.device)
        self.row_weight = balancing_weights(
            train_set.z_true,
            split.train,
            config.balance,
            train_set.class_code,
            config.balance_classes,
        )
        self.rng = np.random.default_rng(config.seed)
        steps_per_epoch = math.ceil(len(split.train) / config.batch_size)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(network, config.weight_decay), lr=config.learning_rate
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, _schedule(config, config.epochs * steps_per_epoch)
        )
        self.mean = _RunningMean(network, config.average_decay)
        self.logs: list[EpochLog] = []
        self.best_nll = math.inf
        self.best_state = _copy(network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on; see `model.checkpoint`."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "mean": self.mean.mean,
            "mean_steps": self.mean.steps,
            "row_order": self.rng.bit_generator.state,
            "torch_random": self._of_all_ranks(torch.get_rng_state()),
            "logs": [asdict(log) for log in self.logs],
            "best_nll": self.best_nll,
            "best_state": self.best_state,
        }
        # LambdaLR's function is no data; it follows from the settings.
        state["scheduler"] = {k: v for k, v in state["scheduler"].items() if k != "lr_lambdas"}
        if self.device.type == "cuda":
            state["cuda_random"] = self._of_all_ranks(torch.cuda.get_rng_state(self.device))
        return state

    def _of_all_ranks(self, random_state: Tensor) -> Tensor:
        """(R, bytes) states of the random generators: dropout differs from rank to rank."""
        return self.ranks.gather(random_state[None], self.ranks.size)

    def _of_this_rank(self, random_states: Tensor) -> Tensor:
        """Inverse of `_of_all_ranks`; states of one device once were written without a rank."""
        rows = random_states[None] if random_states.ndim == 1 else random_states
        # Cloned: given a row of a larger tensor torch crashes.
        return rows[self.ranks.rank].clone()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict({**state["scheduler"], "lr_lambdas": [None]})
        self.mean.mean = {k: v.to(self.device) for k, v in state["mean"].items()}
        self.mean.steps = state["mean_steps"]
        self.rng.bit_generator.state = state["row_order"]
        torch.set_rng_state(self._of_this_rank(state["torch_random"]))
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self._of_this_rank(state["cuda_random"]), self.device)
        self.logs = [EpochLog(**log) for log in state["logs"]]
        self.best_nll = state["best_nll"]
        self.best_state = {k: v.to(self.device) for k, v in state["best_state"].items()}

    def _host_inputs(self, rows: Rows) -> dict[str, Tensor]:
        network_config = self.network.config
        inputs = to_inputs(
            self.train_set.arrays, rows, network_config.optical_px, network_config.wise_px
        )
        if self.device.type == "cuda":
            # From pinned memory the device copies by itself, while this process goes on.
            return {name: value.pin_memory() for name, value in inputs.items()}
        return inputs

    def _choose_device(self) -> None:
        # Otherwise pinning would open the first device in every process.
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def inputs_of(self, batches: Sequence[Rows]) -> Iterator[dict[str, Tensor]]:
        """Tensors of each batch on the device; rows are read while the batch before is computed."""
        with ThreadPoolExecutor(1, initializer=self._choose_device) as reader:
            coming = None
            for rows in (*batches, None):
                ready = coming
                coming = None if rows is None else reader.submit(self._host_inputs, rows)
                if ready is not None:
                    inputs = ready.result()
                    yield {k: v.to(self.device, non_blocking=True) for k, v in inputs.items()}

    def autocast(self) -> torch.autocast:
        """bfloat16 where the settings ask for it."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"
        )

    def _own(self, num_rows: int) -> slice:
        """This rank's part of a batch; at least a row, for a network wants one to run."""
        share = self.ranks.share(num_rows)
        return share if share.stop > share.start else slice(0, 1)

    def _augmented(self, inputs: dict[str, Tensor], num_rows: int) -> dict[str, Tensor]:
        """Inputs of this rank's part of a batch; the draws are those of the whole batch."""
        config, own = self.config, self._own(num_rows)
        if config.dihedral and self.network.config.modality != "photometry":
            inputs = turn(inputs, draw_symmetries(num_rows, self.rng)[own])
        kept = draw_kept_bands(num_rows, config.band_dropout, config.bands, self.rng)[own]
        if not kept.all():
            inputs = drop_bands(inputs, torch.from_numpy(kept).to(self.device))
        return inputs

    def _loss(self, logits: Tensor, rows: Rows, weight: float) -> Tensor:
        """Loss of the whole batch; `weight` is the share of the batch that `rows` are."""
        config, network_config = self.config, self.network.config
        z = torch.from_numpy(self.train_set.z_true[rows]).to(self.device)
        if isinstance(network_config, Wei2025Config) and network_config.head == "regression":
            mean_square = mean_square_error(logits_to_place(logits), z, self.edges)
            return root_loss(self.ranks.total(weight * mean_square))
        row_weight = torch.from_numpy(self.row_weight[rows]).to(self.device)
        mean = posterior_loss(
            logits, z, self.edges, config.smoothing, config.crps_weight, row_weight
        )
        return self.ranks.total(weight * mean)

    def _step(self, rows: Rows, inputs: dict[str, Tensor]) -> Tensor:
        """One step on a batch of which `inputs` are this rank's; the loss of the whole batch."""
        share = self.ranks.share(len(rows))
        inputs = self._augmented(inputs, len(rows))
        with self.autocast():
            logits = self.network(inputs)
        loss = self._loss(
            logits, rows[self._own(len(rows))], (share.stop - share.start) / len(rows)
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.mean.update(self.network)
        return loss.detach()

    def train_epoch(self) -> float:
        """Mean loss over the training rows, in a new order."""
        self.network.train()
        order = self.rng.permutation(self.split.train)
        size = self.config.batch_size
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        inputs = self.inputs_of([rows[self._own(len(rows))] for rows in batches])
        losses = [self._step(*batch) for batch in zip(batches, inputs, strict=True)]
        # Read at the end: a device that is asked after every step waits for the next one.
        means: list[float] = torch.stack(losses).tolist()
        total = sum(mean * len(rows) for mean, rows in zip(means, batches, strict=True))
        self.ranks.check_agreement(self.network.parameters())
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss is {total} at learning rate {self.config.learning_rate}: lower it"
            )
        return total / len(order)

    @torch.inference_mode()
    def logits_of(self, rows: Rows) -> npt.NDArray[np.float32]:
        """(N, Z) logits without augmentation, float32, of the network as it is."""
        self.network.eval()
        allowed = torch.from_numpy(draw_kept_bands(1, 0.0, self.config.bands, self.rng))
        own, size = rows[self.ranks.share(len(rows))], self.config.batch_size
        batches = [own[i : i + size] for i in range(0, len(own), size)]
        blocks = [torch.empty((0, self.grid.num_bins))]
        for part, inputs in zip(batches, self.inputs_of(batches), strict=True):
            known = drop_bands(inputs, allowed.expand(len(part), -1).to(self.device))
            blocks.append(self.network(known).to(torch.float32).cpu())
        return np.asarray(self.ranks.gather(torch.cat(blocks), len(rows)).numpy())

    @torch.inference_mode()
    def embeddings_of(self, rows: Rows, band_dropout: float) -> npt.NDArray[np.float32]:
        """(N, D) embeddings by the network as it is, of rows that lose bands as in training."""
        self.network.eval()
        rng = np.random.default_rng(self.config.seed)
        size = self.config.batch_size
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        blocks: list[npt.NDArray[np.float32]] = []
        for part, inputs in zip(batches, self.inputs_of(batches), strict=True):
            kept = draw_kept_bands(len(part), band_dropout, self.config.bands, rng)
            known = drop_bands(inputs, torch.from_numpy(kept).to(self.device))
            blocks.append(self.network.embed(known).to(torch.float32).cpu().numpy())
        return np.concatenate(blocks)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _finished(logs: Sequence[EpochLog], config: TrainConfig) -> bool:
    """Whether all epochs are done, or too many passed without a better one."""
    if not logs:
        return False
    best_epoch = max(log.epoch for log in logs if log.best)
    return logs[-1].epoch >= config.epochs or logs[-1].epoch - best_epoch >= config.patience


def _fit(trainer: _Trainer, progress: Progress | None, after_epoch: Callable[[], None]) -> None:
    """Run the epochs that are left, and leave the best one's parameters in the network."""
    config, network = trainer.config, trainer.network
    rows = trainer.split.validation
    z_true = trainer.train_set.z_true[rows]
    true_bin = trainer.grid.bin_of(z_true)
    while not _finished(trainer.logs, config):
        started = time.perf_counter()
        loss = trainer.train_epoch()
        elapsed_s = time.perf_counter() - started
        # Judge, and keep, the running mean; go on from the last step.
        raw = _copy(network.state_dict())
        if config.average_decay > 0:
            network.load_state_dict(trainer.mean.mean)
        logits = trainer.logits_of(rows)
        nll = cross_entropy(logits, true_bin)
        dz = metrics.normalised_error(
            summarise(softmax(logits), trainer.grid, ())["median"], z_true
        )
        better = nll < trainer.best_nll
        if better:
            trainer.best_nll, trainer.best_state = nll, _copy(network.state_dict())
        network.load_state_dict(raw)
        trainer.logs.append(
            EpochLog(
                len(trainer.logs) + 1,
                loss,
                nll,
                metrics.sigma_nmad(dz),
                metrics.outlier_fraction(dz),
                len(trainer.split.train) / elapsed_s,
                better,
            )
        )
        # Reported before it is saved: a kill in between repeats a line, it loses none.
        if progress is not None:
            progress(trainer.logs[-1])
        after_epoch()
    network.load_state_dict(trainer.best_state)


def _prior(z_true: npt.NDArray[np.float64], grid: RedshiftGrid) -> npt.NDArray[np.float64]:
    """(Z,) smoothed distribution of the training redshifts, positive everywhere."""
    counts = np.bincount(grid.bin_of(z_true), minlength=grid.num_bins).astype(np.float64)
    offsets = np.arange(-3 * 4, 3 * 4 + 1)
    kernel = np.exp(-0.5 * (offsets / 4) ** 2)
    # Mirrored ends, so that none of the first and last bins' weight is lost.
    padded = np.pad(counts, len(offsets) // 2, mode="symmetric")
    smooth = np.convolve(padded, kernel, mode="valid") + 1e-3 * counts.sum() / grid.num_bins
    return np.asarray(smooth / smooth.sum())


def evaluate_posteriors(
    pdf_NZ: npt.ArrayLike, grid: RedshiftGrid, z_true: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Exact metrics of posteriors against true redshifts."""
    summary = summarise(pdf_NZ, grid, ())
    dz = metrics.normalised_error(summary["median"], z_true)
    return {
        "num_objects": len(z_true),
        "bias": metrics.bias(dz),
        "sigma_nmad": metrics.sigma_nmad(dz),
        "eta_0.15": metrics.outlier_fraction(dz, 0.15),
        "eta_0.10": metrics.outlier_fraction(dz, 0.10),
        "coverage_68": metrics.interval_coverage(summary["l68"], summary["u68"], z_true),
        "coverage_95": metrics.interval_coverage(summary["l95"], summary["u95"], z_true),
        "crps": float(np.mean(metrics.crps(pdf_NZ, grid, z_true))),
        "nll": float(np.mean(metrics.negative_log_likelihood(pdf_NZ, grid, z_true))),
    }


def _provenance(trainer: _Trainer, validation: dict[str, float]) -> dict[str, Any]:
    """How the weights were made; no clock and no host, so that equal runs give equal bytes."""
    split, logs = trainer.split, trainer.logs
    best = max(log.epoch for log in logs if log.best)
    return {
        "rows": {
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
        **_row_digests(trainer),
        "epochs": len(logs),
        "best_epoch": best,
        "train_loss": [log.train_loss for log in logs],
        "validation_nll": [log.validation_nll for log in logs],
        "validation": validation,
        "train_config": _json_settings(trainer.config),
        "network_config": config_to_dict(trainer.network.config),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def _row_digests(trainer: _Trainer) -> dict[str, dict[str, str]]:
    """Digest of the TARGETIDs of each part: says later for certain which rows were fitted on."""
    targetid = trainer.train_set.targetid
    if targetid is None:
        return {}
    parts = vars(trainer.split).items()
    return {"targetid_digest": {part: targetid_digest(targetid[rows]) for part, rows in parts}}


def _json_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON values; those added later only where they are not the default, so that
    older digests hold."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(config).items()
        if (key, value) not in (("devices", 1), ("balance_classes", 0.0))
    }


def _start_from(network: RedshiftNetwork, pretrained: Sequence[Weights]) -> None:
    """Copy the encoders of sub-networks that were trained alone."""
    if not pretrained:
        return
    parts = {weights.network_config.modality: weights.build_network() for weights in pretrained}
    networks = (network, *parts.values())
    if len(parts) < len(pretrained) or not all(isinstance(n, Wei2025) for n in networks):
        names = [f"{w.network_config.name} {w.network_config.modality}" for w in pretrained]
        raise ValueError(
            f"pretrained parts {names} for {network.config.name!r}: expected at most one "
            "image-only and one photometry-only wei2025, for a joint wei2025"
        )
    load_subnetworks(network, parts.get("images"), parts.get("photometry"))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class _Job:
    """All that a training run is a function of, its rows aside."""

    config: TrainConfig
    network_config: NetworkConfig
    grid: RedshiftGrid
    split: Split
    standardisation: Standardisation
    pretrained: tuple[Weights, ...]

    def identity(self, train_set: TrainingSet) -> dict[str, str]:
        """Tells one run from another; features and redshifts stand for the rows."""
        settings = {**_json_settings(self.config), **config_to_dict(self.network_config)}
        settings["pretrained"] = [weights.digest for weights in self.pretrained]
        arrays = {
            "features": train_set.arrays["features"],
            "z_true": train_set.z_true,
            "train": self.split.train,
            "validation": self.split.validation,
        }
        if train_set.class_code is not None and self.config.balance_classes > 0:
            arrays["class_code"] = train_set.class_code
        return run_identity(settings, arrays)

    def trainer(self, train_set: TrainingSet, ranks: Ranks) -> _Trainer:
        """The state before the first epoch: the same parameters on every rank."""
        seed = self.config.seed
        torch.manual_seed(seed)
        network = build_network(self.network_config)
        network.standardise_with(self.standardisation)
        _start_from(network, self.pretrained)
        if ranks.rank:
            # Each rank drops other units of its rows.
            (own,) = np.random.SeedSequence([seed, ranks.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(own))
        return _Trainer(train_set, self.split, self.config, network, self.grid, ranks)


def _go_on(
    trainer: _Trainer,
    identity: Mapping[str, str],
    checkpoint: Path | None,
    progress: Progress | None,
) -> None:
    """Fit from the state in `checkpoint`, or from the start; rank 0 leaves it after every epoch."""
    state = load_checkpoint(checkpoint, identity) if checkpoint is not None else None
    if state is not None:
        trainer.load_state_dict(state)

    def after_epoch() -> None:
        if checkpoint is not None:
            current = trainer.state_dict()
            if trainer.ranks.rank == 0:
                save_checkpoint(checkpoint, identity, current)

    _fit(trainer, progress, after_epoch)


def _fit_rank(
    ranks: Ranks,
    report: Report,
    job: _Job,
    rows_folder: Path,
    identity: Mapping[str, str],
    checkpoint: Path,
) -> None:
    """What each of several processes does."""
    trainer = job.trainer(map_rows(rows_folder), ranks)
    with repeatable(ranks.device):
        _go_on(trainer, identity, checkpoint, report if ranks.rank == 0 else None)


def _fit_on_devices(
    job: _Job,
    train_set: TrainingSet,
    identity: Mapping[str, str],
    checkpoint: Path,
    progress: Progress | None,
) -> None:
    """Run all epochs that are left on several devices; the end is in `checkpoint`."""
    state = load_checkpoint(checkpoint, identity)
    if state is not None and _finished([EpochLog(**log) for log in state["logs"]], job.config):
        return
    rows_folder = checkpoint.with_name(f"{checkpoint.name}.rows")
    try:
        write_rows(rows_folder, train_set)
        run_ranks(
            _fit_rank,
            (job, rows_folder, identity, checkpoint),
            job.config.devices,
            job.config.device,
            progress if progress is not None else lambda _log: None,
        )
    finally:
        shutil.rmtree(rows_folder, ignore_errors=True)


def train(
    train_set: TrainingSet,
    config: TrainConfig | None = None,
    network_config: NetworkConfig | None = None,
    progress: Progress | None = None,
    split: Split | None = None,
    checkpoint: Path | None = None,
    pretrained: Sequence[Weights] = (),
) -> Weights:
    """Train a network and calibrate it.

    Parameters
    ----------
    train_set
        Rows with true redshifts; the stamps as large as the network reads.
    config, network_config
        Settings; the defaults train the default network.
    progress
        Called after every epoch; `print` shows one line each.
    split
        Rows to train, validate and test on; by default `split_rows(train_set, config)`. The test
        rows are never looked at.
    checkpoint
        File that holds the state of the run after every epoch. If it is there the run goes on
        from it; it is left there at the end. On several devices the rows lie beside it meanwhile.
    pretrained
        Weights of image-only and photometry-only `wei2025` networks, whose encoders a joint one
        starts from, as in the source.

    Raises
    ------
    ValueError
        Without training or validation rows, or if pretrained parts do not fit.
    CheckpointError
        If the checkpoint is of another run, or damaged.
    FloatingPointError
        If the loss stops being finite.
    RuntimeError
        If one of several processes was killed.
    """
    config = config if config is not None else TrainConfig()
    network_config = network_config if network_config is not None else CompactConfig()
    split = split if split is not None else split_rows(train_set, config)
    if not len(split.train) or not len(split.validation):
        raise ValueError(
            f"{len(split.train)} training and {len(split.validation)} validation rows: "
            "both must be at least 1"
        )
    grid = redshift_grid(config, network_config.num_bins)
    network_config = replace(network_config, num_bins=grid.num_bins)
    standardisation = fit_standardisation(train_set.arrays, split.train)
    job = _Job(config, network_config, grid, split, standardisation, tuple(pretrained))
    device = as_device(config.device)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        repeatable(device),
        _state_file(checkpoint, config) as checkpoint,
    ):
        identity = job.identity(train_set) if checkpoint is not None else {}
        if config.devices > 1:
            assert checkpoint is not None
            _fit_on_devices(job, train_set, identity, checkpoint, progress)
        # After several devices one of them reads their last state, and has no epoch left to do.
        trainer = job.trainer(train_set, Ranks(device=device))
        _go_on(trainer, identity, checkpoint, progress)
        return _calibrated_weights(trainer, standardisation)


@contextmanager
def _state_file(checkpoint: Path | None, config: TrainConfig) -> Iterator[Path | None]:
    """The checkpoint; on several devices there is one for the time being if none is wanted."""
    if checkpoint is not None or config.devices == 1:
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="photoz-train-") as folder:
        yield Path(folder) / "state"


def _calibrated_weights(trainer: _Trainer, standardisation: Standardisation) -> Weights:
    """The artefact: the trained network, its calibration and its validation metrics."""
    rows, grid = trainer.split.validation, trainer.grid
    z_true = trainer.train_set.z_true[rows]
    logits = trainer.logits_of(rows)
    true_bin = grid.bin_of(z_true)
    # Posteriors hold for the mixture that they were trained for, see TrainConfig.balance.
    weight = trainer.row_weight[rows]
    temperature = fit_temperature(logits, true_bin, weight)
    magnitude = reference_magnitude(trainer.train_set.arrays, rows)
    recalibration = fit_recalibration(logits, true_bin, temperature, magnitude, weight)
    pdf = calibrated(logits, temperature, recalibration, magnitude)
    validation = evaluate_posteriors(pdf, grid, z_true)
    return Weights(
        network_config=trainer.network.config,
        tensors={k: v.cpu().numpy().copy() for k, v in trainer.network.state_dict().items()},
        standardisation=standardisation,
        grid=grid,
        prior=_prior(trainer.train_set.z_true[trainer.split.train], grid),
        temperature=temperature,
        recalibration=recalibration,
        familiarity=_familiarity(trainer),
        bands=config_bands(trainer.config),
        provenance=_provenance(trainer, validation),
    )


def _familiarity(trainer: _Trainer) -> Familiarity:
    """What the network makes of its training rows; the line is drawn by validation rows."""
    split = trainer.split
    # Some ten thousand rows, from all over the sky, are many for a few hundred axes.
    some = split.train[:: len(split.train) // _FAMILIARITY_ROWS + 1]
    share = trainer.config.band_dropout
    return fit_familiarity(
        trainer.embeddings_of(some, share), trainer.embeddings_of(split.validation, share)
    )


def config_bands(config: TrainConfig) -> tuple[str, ...]:
    """The trained bands in the order of the arrays."""
    return tuple(band for band in BANDS if band in config.bands)
