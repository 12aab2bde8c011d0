"""Arrays in, posteriors out: the same numbers for a row whatever its neighbours.

Every batch has the same shape (the last one is filled with empty rows), dropout is off, no layer
looks across rows, and on CPU the number of threads is fixed, because the order of a sum depends on
it. Rows are thus independent of their order and of the batch size up to float32 rounding. On CUDA
float32 is float32: TF32 is off (`model.device`).

Shapes: N objects, B bands, Z bins, Q quantile levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.calibrate import calibrated, reference_magnitude
from model.dataset import Arrays, check_arrays, drop_bands, outside_range, to_inputs
from model.device import repeatable
from model.posterior import SUMMARY_NAMES, summarise
from model.weights import Weights
from partitions.schema import BANDS, QUALITY_BITS

_OUT_OF_RANGE = np.int32(1 << QUALITY_BITS["OUT_OF_TRAINING_RANGE"])
_FAR = np.int32(1 << QUALITY_BITS["FAR_FROM_TRAINING"])


@dataclass(frozen=True, eq=False)
class Prediction:
    """Posteriors of N sources, in the order of the arrays."""

    summary: dict[str, npt.NDArray[np.float32]]
    """Point estimates and intervals, as `posterior.summarise` names them."""
    quality: npt.NDArray[np.int32]
    """(N,) quality bits of the model, OUT_OF_TRAINING_RANGE and FAR_FROM_TRAINING; to be or-ed to
    the row's."""
    pdf: npt.NDArray[np.float32] | None = None
    """(N, Z) probability of each bin, where asked for."""


@contextmanager
def cpu_threads(num_threads: int) -> Iterator[None]:
    """Torch's CPU threads inside the block; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Predictor:
    """A network ready for inference on one device.

    Parameters
    ----------
    weights
        The trained artefact.
    device
        `cpu`, `cuda` or `cuda:<n>`.
    batch_size
        Rows per forward pass; every pass has exactly this many.
    num_threads
        CPU threads of torch during a prediction; results are the same bytes only for the same
        number. 0 takes torch's current setting.
    autocast
        Compute in bfloat16 where torch deems it safe: faster, no longer equal to float32.
    """

    def __init__(
        self,
        weights: Weights,
        device: str = "cpu",
        batch_size: int = 256,
        num_threads: int = 1,
        autocast: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        if num_threads < 0:
            raise ValueError(f"num_threads={num_threads}: expected 0 or more")
        self.weights = weights
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.num_threads = num_threads
        self.autocast = autocast
        self._network = weights.build_network().to(self.device)
        self._kept_bands = np.array([band in weights.bands for band in BANDS])

    def predict(self, arrays: Arrays, with_pdf: bool = False) -> Prediction:
        """Posteriors of every row.

        Parameters
        ----------
        arrays
            Arrays of partitions.schema.ARRAY_SPECS, of any number of rows; stamps at least as
            large as the weights' `stamp_size`.
        with_pdf
            Also return the full posteriors.

        Raises
        ------
        ValueError
            If an array is missing or malformed, or a pixel is not finite.
        """
        config = self.weights.network_config
        num_sources = check_arrays(arrays, config.optical_px, config.wise_px)
        num_bins, num_levels = self.weights.grid.num_bins, len(self.weights.quantile_levels)
        summary = {name: np.empty(num_sources, np.float32) for name in SUMMARY_NAMES}
        summary["quantiles"] = np.empty((num_sources, num_levels), np.float32)
        pdf_NZ = np.empty((num_sources, num_bins), np.float32) if with_pdf else None
        quality = self._range_quality(arrays)
        with cpu_threads(self.num_threads), repeatable(self.device):
            for start in range(0, num_sources, self.batch_size):
                rows = slice(start, min(start + self.batch_size, num_sources))
                logits, is_far = self._forward(arrays, rows)
                quality[rows][is_far] |= _FAR
                pdf = self._posteriors(arrays, rows, logits)
                block = summarise(pdf, self.weights.grid, self.weights.quantile_levels)
                for name, values in block.items():
                    summary[name][rows] = values
                if pdf_NZ is not None:
                    pdf_NZ[rows] = pdf
        return Prediction(summary, quality, pdf_NZ)

    def logits(self, arrays: Arrays, rows: slice) -> npt.NDArray[np.float32]:
        """(n, Z) raw network output of at most `batch_size` rows."""
        return self._forward(arrays, rows)[0]

    def _forward(
        self, arrays: Arrays, rows: slice
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """(n, Z) logits, and (n,) whether a row is far from the training set."""
        familiarity = self.weights.familiarity
        count = len(range(*rows.indices(len(arrays["features"]))))
        inputs = self._to_device(arrays, rows)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast),
        ):
            embedding = self._network.embed(self._keep_bands(inputs))
            logits = self._network.classify(embedding)
            is_far = None if familiarity is None else familiarity.is_far(embedding)[:count]
        return (
            np.asarray(logits[:count].to(torch.float32).cpu().numpy()),
            np.zeros(count, np.bool_) if is_far is None else is_far.cpu().numpy(),
        )

    def _posteriors(
        self, arrays: Arrays, rows: slice, logits: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float64]:
        weights = self.weights
        magnitude = reference_magnitude(arrays, rows)
        pdf = calibrated(logits, weights.temperature, weights.recalibration, magnitude)
        # A row without any band read holds no evidence: its posterior is the training set's.
        evidence = "coverage" if self.weights.network_config.modality == "images" else "flux_ivar"
        measured = (arrays[evidence][rows] > 0) & self._kept_bands
        pdf[~measured.any(axis=1)] = self.weights.prior
        return pdf

    def _to_device(self, arrays: Arrays, rows: slice) -> dict[str, Tensor]:
        config = self.weights.network_config
        inputs = to_inputs(arrays, rows, config.optical_px, config.wise_px, self.batch_size)
        if self.device.type != "cpu":
            # Pinned memory lets the copy overlap the previous batch's computation.
            inputs = {
                name: value.pin_memory().to(self.device, non_blocking=True)
                for name, value in inputs.items()
            }
        return inputs

    def _keep_bands(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._kept_bands.all():
            return inputs
        kept = torch.from_numpy(self._kept_bands).to(self.device)
        return drop_bands(inputs, kept.expand(self.batch_size, -1))

    def _range_quality(self, arrays: Arrays) -> npt.NDArray[np.int32]:
        features = np.asarray(arrays["features"], np.float32)
        outside = outside_range(features, self.weights.standardisation)
        return np.where(outside, _OUT_OF_RANGE, np.int32(0)).astype(np.int32)
