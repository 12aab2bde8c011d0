"""`Wei2025` rewritten for tensor cores: other shapes, the same logits.

Tensor cores want channel counts that are multiples of 8 or 16; the source has 92, 340, 476 and
348. Two changes, both exact up to the order of float32 sums:

* Every branch of an Inception block is padded with zero channels to a multiple of 16 (92 -> 96, so
  340 -> 352, 476 -> 480, 348 -> 352). A channel with zero weights and bias is 0 after ReLU, after
  pooling too, and the next layer's weights for it are 0.
* The 1x1 convolutions that share a block's input become one convolution.

Nothing is learned or approximated, so that it can be applied to any trained network just before
it predicts. It is no format: weights keep the original's parameters.

Shapes: N objects, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.inception import ImageEncoder, Inception, Part, pool_and_pad
from model.network.wei2025 import Wei2025

MULTIPLE = 16
"""Channels of every branch are padded to a multiple of this."""

_INPUT_MULTIPLE = 4  # Of the image channels, 7 and 3 in the source: more would only read zeros.


@dataclass(frozen=True)
class _Layout:
    """Where the real channels lie among the padded ones."""

    positions: Tensor
    """(C,) place of each real channel."""
    size: int
    """Channels with the padding."""


def _layout(widths: Sequence[int], multiple: int = MULTIPLE) -> _Layout:
    """Branches of these widths one after the other, each padded at its end."""
    positions, size = [], 0
    for width in widths:
        positions.append(torch.arange(size, size + width))
        size += -(-width // multiple) * multiple
    return _Layout(torch.cat(positions), size)


def _padded(convs: Sequence[nn.Conv2d], before: _Layout) -> nn.Conv2d:
    """One convolution that computes several of one input and kernel size, each output padded."""
    first = convs[0]
    after = _layout([conv.out_channels for conv in convs])
    # skip_init: fresh parameters would advance the caller's random state, for nothing.
    padded: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d,
        before.size,
        after.size,
        first.kernel_size,
        padding=first.padding,
        device=first.weight.device,
        dtype=first.weight.dtype,
    )
    with torch.no_grad():
        weight = torch.cat([conv.weight for conv in convs])
        wide = weight.new_zeros(len(weight), *padded.weight.shape[1:])
        wide[:, before.positions] = weight
        padded.weight.zero_()[after.positions] = wide
        _bias(padded).zero_()[after.positions] = torch.cat([_bias(conv) for conv in convs])
    return padded


class AlignedInception(nn.Module):
    """An Inception block on padded channels, its 1x1 convolutions merged."""

    def __init__(self, block: Inception, before: _Layout) -> None:
        super().__init__()
        self.kernels = ("2_2", "3_2") if block.has_5x5 else ("2_2",)
        singles = [block.p1_1, block.p2_1, block.p4_1]
        if block.has_5x5:
            singles.insert(2, block.p3_1)
        self.merged = _padded(singles, before)
        self.sizes = [_layout([conv.out_channels]).size for conv in singles]
        widths = [block.p1_1.out_channels]
        for kernel in self.kernels:
            conv: nn.Conv2d = getattr(block, f"p{kernel}")
            self.add_module(f"p{kernel}", _padded([conv], _layout([conv.in_channels])))
            widths.append(conv.out_channels)
        self.after = _layout([*widths, block.p4_1.out_channels])

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W), branches in the original's order."""
        first, *inner, last = torch.split(functional.relu(self.merged(x)), self.sizes, dim=1)
        branches = [first]
        for kernel, y in zip(self.kernels, inner, strict=True):
            branches.append(functional.relu(getattr(self, f"p{kernel}")(y)))
        return torch.cat([*branches, pool_and_pad(last)], dim=1)


class _AlignedPart(nn.Module):
    """One part of the channels, from its image to its 1,024-vector."""

    def __init__(self, part: Part, num_channels: int, tails: dict[int, nn.Sequential]) -> None:
        super().__init__()
        layout = _layout([num_channels], _INPUT_MULTIPLE)
        self.num_missing = layout.size - num_channels
        stem = _conv(part.stem)
        self.stem = _padded([stem], layout)
        layout = _layout([stem.out_channels])
        self.blocks = nn.ModuleList()
        for block in part.blocks:
            assert isinstance(block, Inception)
            aligned_block = AlignedInception(block, layout)
            self.blocks.append(aligned_block)
            layout = aligned_block.after
        # Parts that shared a tail go on sharing it.
        self.tail = tails.setdefault(id(part.tail), _aligned_tail(part.tail, layout))
        self.linear = part.linear

    def forward(self, x: Tensor, ebv_N1: Tensor) -> Tensor:
        """(N, C, 64, 64) -> (N, 1024)."""
        x = functional.pad(x, (0, 0, 0, 0, 0, self.num_missing))
        x = x.contiguous(memory_format=torch.channels_last)
        return Part(self.stem, list(self.blocks), self.tail, self.linear).forward(x, ebv_N1)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _aligned_tail(tail: nn.Module, before: _Layout) -> nn.Sequential:
    """The tail with padded inputs; its 96 outputs need no padding."""
    first, *others = tail.children()
    return nn.Sequential(_padded([_conv(first)], before), *others)


class AlignedImageEncoder(nn.Module):
    """An image encoder on padded channels; parameters it did not need are left out."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.channel_counts = encoder.channel_counts
        tails: dict[int, nn.Sequential] = {}
        self.parts = nn.ModuleList(
            _AlignedPart(encoder.part(number), num_channels, tails)
            for number, num_channels in enumerate(encoder.channel_counts, start=1)
        )
        self.fc0, self.dropout, self.fc1 = encoder.fc0, encoder.dropout, encoder.fc1

    def forward(self, images: Tensor, ebv_N1: Tensor) -> Tensor:
        """(N, C, 64, 64) channels, part after part; (N, 1) E(B-V) -> (N, 1024)."""
        channels = torch.split(images, list(self.channel_counts), dim=1)
        vectors = [part(x, ebv_N1) for part, x in zip(self.parts, channels, strict=True)]
        x = self.dropout(functional.relu(self.fc0(torch.cat(vectors, dim=1))))
        return functional.relu(self.fc1(x))


def aligned(network: Wei2025) -> Wei2025:
    """A copy for inference that computes the same logits on padded channels.

    Parameters
    ----------
    network
        With its trained parameters; from a state_dict, load that into `Wei2025(config)` first.
        Without an image part there is nothing to pad, and the copy is plain.

    Returns
    -------
    Wei2025
        In evaluation mode, with the same `forward` and configuration and its own parameters. Its
        state_dict is not the original's: it is not to be saved as weights, nor trained.
    """
    copy = deepcopy(network)
    encoder = copy.core.image_encoder
    if isinstance(encoder, ImageEncoder):
        copy.core.image_encoder = AlignedImageEncoder(encoder)
    copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copy.requires_grad_(False).eval()
