"""What the source's public code leaves after training, as weights that the engine can run.

The public code saves a state_dict and, beside it, `<run>_zbins.npy` with the bin edges, which it
takes from its training data. Weights need both, and a channel map:

    weights = weights_from_public_code("run.pth", numpy.load("run_zbins.npy"))
    weights.save("weights/wei2025")

Three things differ from a training in this engine, and show in what the catalogue says:

* Its features were magnitudes as its catalogue gave them, not this engine's dereddened asinh
  magnitudes (`partitions.photometry`). They agree for bright sources once dereddened; faint and
  missing ones differ. Nothing can translate them without its catalogue.
* It read WISE stamps of 64 x 64 native pixels: a run must store such stamps (`stamp_size`).
* No training rows are at hand: nothing is standardised (as there), no row is flagged as outside
  the training range, the prior is flat in z, and the temperature is 1 unless one is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.dataset import Standardisation
from model.network import (
    PUBLIC_CODE_CONFIG,
    PublicSource,
    Wei2025Config,
    load_public_state_dict,
)
from model.posterior import RedshiftGrid
from model.weights import Weights, WeightsError

BIN_WIDTH = 0.005
"""Width of the source's bins, at most."""

MAX_BINS = 770
"""Most bins of the source."""


def public_code_edges(z_min: float, z_max: float) -> npt.NDArray[np.float64]:
    """(Z + 1,) bin edges as the public code makes them, where its file of them is lost.

    Parameters
    ----------
    z_min, z_max
        Smallest and largest redshift of its data. They are divided evenly into as many bins of
        BIN_WIDTH as cover them, at most MAX_BINS: the width is a little less than BIN_WIDTH, or
        more where MAX_BINS do not reach.
    """
    if not (np.isfinite([z_min, z_max]).all() and z_min < z_max):
        raise ValueError(f"z_min={z_min}, z_max={z_max}: expected finite, the first below")
    num_bins = min(int(np.ceil((z_max - z_min) / BIN_WIDTH)), MAX_BINS)
    return np.linspace(z_min, z_max, num_bins + 1)


def weights_from_public_code(
    source: PublicSource,
    edges: npt.ArrayLike,
    template: Wei2025Config = PUBLIC_CODE_CONFIG,
    temperature: float = 1.0,
    provenance: Mapping[str, Any] | None = None,
) -> Weights:
    """Weights of a network that the public code trained.

    Parameters
    ----------
    source
        Its state_dict, as `model.network.load_public_state_dict` takes it.
    edges
        (Z + 1,) bin edges it was trained with; as many bins as it has outputs.
    template
        The channel map and stamp sizes it was trained with, if not PUBLIC_CODE_CONFIG's.
    temperature
        From `model.calibrate.fit_temperature` on held-out rows, if there are any.
    provenance
        JSON values to keep in the weights, for example of which run they are.

    Raises
    ------
    WeightsError
        If the source is no such state_dict, the edges do not fit its outputs, or it was trained
        on other than the 86 features.
    """
    try:
        network = load_public_state_dict(source, template)
        grid = RedshiftGrid(np.asarray(edges, np.float64))
    except (ValueError, OSError) as error:
        raise WeightsError(str(error)) from error
    config = network.config
    if grid.num_bins != config.num_bins:
        raise WeightsError(
            f"{grid.num_bins} bins between {grid.num_bins + 1} edges, the network has "
            f"{config.num_bins} outputs: give the edges it was trained with"
        )
    origin = {"origin": "public code of Wei et al. 2025 (RuiNov1st/Zphot4ELG)"}
    return Weights(
        network_config=config,
        tensors={name: value.numpy().copy() for name, value in network.state_dict().items()},
        standardisation=Standardisation.identity(),
        grid=grid,
        prior=grid.widths / grid.widths.sum(),
        temperature=temperature,
        provenance={**origin, **(provenance or {})},
    )
