"""Rows in, posteriors out: the same numbers for a row whatever its neighbours.

Every batch has the same shape (the last is filled with empty rows), dropout is off, no layer looks
across rows, and one thread computes.

Shapes: N rows, Z bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.calibrate import softmax
from model.posterior import SUMMARY_NAMES, summarise
from model.predict import cpu_threads
from model.table.ensemble import log_mean
from model.table.features import features, outside_range
from model.table.point import safe_redshift
from model.table.rows import TableRows
from model.table.weights import TableWeights

POINT_NAMES = ("safe", *SUMMARY_NAMES)
"""What a prediction says of each row; `safe` is that of model.table.point."""


@dataclass(frozen=True, eq=False)
class TablePrediction:
    """Posteriors of N rows, in their order."""

    summary: dict[str, npt.NDArray[np.float32]]
    """(N,) each of `POINT_NAMES`."""
    num_bands: npt.NDArray[np.int16]
    """(N,) bands that the row has; without any its posterior is the training set's."""
    outside_range: npt.NDArray[np.bool_]
    """(N,) whether a value lies beyond what the training rows had."""
    pdf: npt.NDArray[np.float32] | None = None
    """(N, Z) probability of each bin, where asked for."""


class TablePredictor:
    """Weights ready for use."""

    def __init__(self, weights: TableWeights, batch_size: int = 1024) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        self.weights = weights
        self.batch_size = batch_size
        self._networks = weights.build_networks()

    def predict(self, rows: TableRows, with_pdf: bool = False) -> TablePrediction:
        """Posteriors of every row.

        Raises
        ------
        ValueError
            If the rows have other bands or extra columns than the weights.
        """
        layout = self.weights.layout
        found = rows.flux.shape[1], rows.extra.shape[1]
        if found != (len(layout.bands), len(layout.extra)):
            raise ValueError(
                f"rows have {found[0]} bands and {found[1]} extra columns, the weights "
                f"{len(layout.bands)} and {len(layout.extra)}"
            )
        summary = {name: np.empty(len(rows), np.float32) for name in POINT_NAMES}
        outside = np.empty(len(rows), bool)
        pdf_NZ = np.empty((len(rows), self.weights.grid.num_bins), np.float32) if with_pdf else None
        with cpu_threads(1):
            for start in range(0, len(rows), self.batch_size):
                block = slice(start, start + self.batch_size)
                part = rows.take(block)
                pdf = self._posteriors(part)
                for name, values in self._points(pdf).items():
                    summary[name][block] = values
                outside[block] = outside_range(part, layout, self.weights.standardisation)
                if pdf_NZ is not None:
                    pdf_NZ[block] = pdf
        num_bands = rows.present.sum(axis=1).astype(np.int16)
        return TablePrediction(summary, num_bands, outside, pdf_NZ)

    def _points(self, pdf: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float32]]:
        points = summarise(pdf, self.weights.grid, ())
        points["safe"] = safe_redshift(pdf, self.weights.grid, points["median"])
        return {name: points[name] for name in POINT_NAMES}

    @torch.inference_mode()
    def _posteriors(self, rows: TableRows) -> npt.NDArray[np.float64]:
        """(n, Z) calibrated mean of the members' posteriors, of at most `batch_size` rows."""
        weights = self.weights
        x_NF = features(rows, weights.layout, weights.standardisation)
        padded = np.zeros((self.batch_size, x_NF.shape[1]), np.float32)
        padded[: len(rows)] = x_NF
        inputs = torch.from_numpy(padded)
        logits = [network(inputs)[: len(rows)].numpy() for network in self._networks]
        pdf = softmax(log_mean(logits), weights.temperature)
        pdf[~rows.present.any(axis=1)] = weights.prior
        return pdf
