"""The source's image channels: bands and colours, formed on the device from stored stamps."""

from __future__ import annotations

import torch
from torch import Tensor

from partitions.schema import BANDS


def form_channels(images_NBHW: Tensor, present_NB: Tensor, channels: tuple[str, ...]) -> Tensor:
    """Channels named by a band or a difference of two; zero where a needed band is missing.

    Parameters
    ----------
    images_NBHW, present_NB
        Stamps of all six bands on one pixel grid; 1 where a band exists, else 0.
    """
    formed = []
    for channel in channels:
        indices = [BANDS.index(band) for band in channel.split("-")]
        value = images_NBHW[:, indices[0]]
        if len(indices) == 2:
            value = value - images_NBHW[:, indices[1]]
        # Without this a colour whose second band is missing would be the first band's image.
        exists = present_NB[:, indices].amin(dim=1)
        formed.append(value * exists[:, None, None])
    return torch.stack(formed, dim=1)
