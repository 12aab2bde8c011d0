"""From the public code's files to weights that predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.posterior import summarise
from model.predict import Predictor
from model.public_weights import public_code_edges, weights_from_public_code
from model.weights import WeightsError, load_weights


def test_files_to_predictions(golden: Any, arrays_of: Any, tmp_path: Path) -> None:
    torch.save(golden.state, tmp_path / "run.pth")
    np.save(tmp_path / "run_zbins.npy", public_code_edges(9.4e-7, 3.85))
    edges = np.load(tmp_path / "run_zbins.npy")
    made = weights_from_public_code(
        tmp_path / "run.pth", edges, provenance={"sample": "192,375 ELGs"}
    )
    weights = load_weights(made.save(tmp_path / "weights"))
    assert weights.digest == made.digest
    assert (weights.stamp_size.optical_px, weights.stamp_size.wise_px) == (64, 64)
    assert weights.provenance["sample"] == "192,375 ELGs"
    assert weights.prior == pytest.approx(1 / 770)
    arrays = arrays_of(3, seed=2, optical_px=64, wise_px=64)
    prediction = Predictor(weights, batch_size=4).predict(arrays, with_pdf=True)
    assert prediction.pdf is not None
    assert np.allclose(prediction.pdf.sum(axis=1), 1, atol=1e-5)
    # The source's point estimate: the mean of the softmax over the bins' centres.
    logits = Predictor(weights, batch_size=4).logits(arrays, slice(0, 3)).astype(np.float64)
    pdf = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = (pdf / pdf.sum(axis=1, keepdims=True)) @ (0.5 * (edges[1:] + edges[:-1]))
    assert prediction.summary["mean"] == pytest.approx(mean, rel=1e-4)
    assert summarise(pdf, weights.grid, ())["mean"] == pytest.approx(mean, rel=1e-4)
    assert not prediction.quality.any()


@pytest.mark.parametrize(
    ("z_min", "z_max", "num_bins"), [(9.4e-7, 3.845, 769), (0.0, 1.0, 200), (0.0, 7.7, 770)]
)
def test_edges(z_min: float, z_max: float, num_bins: int) -> None:
    edges = public_code_edges(z_min, z_max)
    assert len(edges) == num_bins + 1
    assert (edges[0], edges[-1]) == (z_min, z_max)
    widths = np.diff(edges)
    assert widths == pytest.approx((z_max - z_min) / num_bins)
    if num_bins < 770:
        assert widths.max() <= 0.005 + 1e-12


def test_bad_edges_and_files_are_refused_in_one_line(golden: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="z_min=2"):
        public_code_edges(2, 1)
    good = public_code_edges(0.0, 3.85)
    cases: list[tuple[Any, Any, str]] = [
        (golden.state, good[:-1], "769 bins between 770 edges, the network has 770 outputs"),
        (golden.state, good[::-1], "strictly increasing"),
        (dict(list(golden.state.items())[1:]), good, "missing catalog_encoder.layers.0.bias"),
        (tmp_path / "none.pt", good, "none.pt"),
    ]
    for source, edges, message in cases:
        with pytest.raises(WeightsError, match=message) as raised:
            weights_from_public_code(source, edges)
        assert "\n" not in str(raised.value)


def test_85_features_are_refused(golden: Any) -> None:
    state = dict(golden.state)
    state["catalog_encoder.layers.0.weight"] = torch.zeros(512, 85)
    with pytest.raises(WeightsError, match="a network of 85, expected the 86"):
        weights_from_public_code(state, public_code_edges(0.0, 3.85))
