"""The source's image part: Inception blocks, one network for each part of the channels.

Parameter names are the public code's, so that a state_dict of it loads strictly.

The source names a "one-part" model (one network for all ten channels) without printing it; its
public code holds the two-part model only. Inferred for `OnePartImageEncoder`: the optical half of
the two-part model with more input channels; its 1,024-vector goes straight into the joint layers,
whose first is therefore half as wide at its input.

Shapes: N objects, C channels, H W pixels.

References
----------
* Wei et al. 2025, PASA, arXiv:2505.24175, and its public code (RuiNov1st/Zphot4ELG).
* Its blocks follow Pasquet et al. 2019, A&A 621, A26.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


class Inception(nn.Module):
    """Four parallel branches: 1x1; 1x1 -> 3x3; 1x1 -> 5x5 (optional); 1x1 -> average pool."""

    def __init__(
        self, before: int, c1: int, c2: tuple[int, int], c3: tuple[int, int] | None, c4: int
    ) -> None:
        super().__init__()
        self.p1_1 = nn.Conv2d(before, c1, 1)
        self.p2_1 = nn.Conv2d(before, c2[0], 1)
        self.p2_2 = nn.Conv2d(c2[0], c2[1], 3, padding=1)
        self.has_5x5 = c3 is not None
        if c3 is not None:
            self.p3_1 = nn.Conv2d(before, c3[0], 1)
            self.p3_2 = nn.Conv2d(c3[0], c3[1], 5, padding=2)
        self.p4_1 = nn.Conv2d(before, c4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, c1 + c2[1] + c3[1] + c4, H, W)."""
        branches = [functional.relu(self.p1_1(x))]
        branches.append(functional.relu(self.p2_2(functional.relu(self.p2_1(x)))))
        if self.has_5x5:
            branches.append(functional.relu(self.p3_2(functional.relu(self.p3_1(x)))))
        branches.append(pool_and_pad(functional.relu(self.p4_1(x))))
        return torch.cat(branches, dim=1)


def pool_and_pad(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H, W): 2x2 averages at every pixel.

    The pool of stride 1 loses a row and a column; zeros at top and left replace them.
    """
    return functional.pad(functional.avg_pool2d(x, 2, stride=1), (1, 0, 1, 0))


def _tail() -> nn.Sequential:
    """Three 3x3 convolutions without padding or activation: 348 -> 96 channels, 8 -> 2 px."""
    return nn.Sequential(nn.Conv2d(348, 96, 3), nn.Conv2d(96, 96, 3), nn.Conv2d(96, 96, 3))


@dataclass(frozen=True)
class Part:
    """What one part of the channels goes through, in order."""

    stem: nn.Module
    """5x5 convolution to 64 channels."""
    blocks: list[nn.Module]
    """Five Inception blocks; the image is halved after the second and the fourth."""
    tail: nn.Module
    """Three convolutions, see `_tail`."""
    linear: nn.Module
    """97 -> 1,024: what the tail leaves, and E(B-V)."""

    def forward(self, x: Tensor, ebv_N1: Tensor) -> Tensor:
        """(N, C, 64, 64) -> (N, 1024)."""
        i0, i1, i2, i3, i4 = self.blocks
        x = functional.avg_pool2d(functional.relu(self.stem(x)), 2)
        x = functional.avg_pool2d(i1(i0(x)), 2)
        x = functional.avg_pool2d(i3(i2(x)), 2)
        x = functional.adaptive_avg_pool2d(self.tail(i4(x)), 1).flatten(1)
        vector: Tensor = self.linear(torch.cat([x, ebv_N1], dim=1))
        return vector


class ImageEncoder(nn.Module):
    """One network per part of the channels, joined by two linear layers.

    Parameters
    ----------
    channel_counts
        Channels of each part, in their order in the images.
    shared_tail
        Send every part through the first part's last three convolutions.
    """

    def __init__(self, channel_counts: Sequence[int], shared_tail: bool) -> None:
        super().__init__()
        self.channel_counts = tuple(channel_counts)
        self.shared_tail = shared_tail
        parts = range(1, len(self.channel_counts) + 1)
        for part, count in zip(parts, self.channel_counts, strict=True):
            self.add_module(f"conv0{part}", nn.Conv2d(count, 64, 5, padding=2))
        for part in parts:
            self.add_module(f"i0{part}", Inception(64, 64, (48, 64), (48, 64), 64))
            self.add_module(f"i1{part}", Inception(256, 92, (64, 92), (64, 92), 64))
            self.add_module(f"i2{part}", Inception(340, 128, (92, 128), (92, 128), 92))
            self.add_module(f"i3{part}", Inception(476, 128, (92, 128), (92, 128), 92))
            self.add_module(f"i4{part}", Inception(476, 128, (92, 128), None, 92))
        for part in parts:
            self.add_module(f"convseq{part}", _tail())
        for part in parts:
            self.add_module(f"fc0{part - 1}", nn.Linear(97, 1024))
        self.fc0 = nn.Linear(1024 * len(self.channel_counts), 4096)
        self.dropout = nn.Dropout(0.3)
        self.fc1 = nn.Linear(4096, 1024)

    def part(self, number: int) -> Part:
        """The modules that part 1, 2 ... of the channels goes through."""
        modules = dict(self.named_children())
        return Part(
            stem=modules[f"conv0{number}"],
            blocks=[modules[f"i{depth}{number}"] for depth in range(5)],
            tail=modules["convseq1" if self.shared_tail else f"convseq{number}"],
            linear=modules[f"fc0{number - 1}"],
        )

    def forward(self, images: Tensor, ebv_N1: Tensor) -> Tensor:
        """(N, C, 64, 64) channels, part after part; (N, 1) E(B-V) -> (N, 1024)."""
        vectors = [
            self.part(number).forward(x, ebv_N1)
            for number, x in enumerate(
                torch.split(images, list(self.channel_counts), dim=1), start=1
            )
        ]
        x = self.dropout(functional.relu(self.fc0(torch.cat(vectors, dim=1))))
        return functional.relu(self.fc1(x))


class TwoPartImageEncoder(ImageEncoder):
    """Separate networks for the optical and infrared channels: the public code's."""

    def __init__(self, num_optical: int, num_infrared: int, shared_tail: bool) -> None:
        super().__init__((num_optical, num_infrared), shared_tail)


class OnePartImageEncoder(ImageEncoder):
    """One network for all channels (inferred, see the head of this file)."""

    def __init__(self, num_channels: int) -> None:
        super().__init__((num_channels,), shared_tail=False)
