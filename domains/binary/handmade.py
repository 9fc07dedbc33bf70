"""A network made by hand, the baseline of searches: ReActNet's blocks at three scales, for small images.

Blocks, stem and the gradients of signs are those of the authors' code (polynomial for inputs, straight-through for
kernels); depth, learned scales and training are not: it is trained as the found networks are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import Scale
from nichenas.domains.binary.convolution import ScaleStart
from nichenas.domains.binary.model import Classifier
from nichenas.domains.binary.operations import Family

REACT = "ReActNet blocks"  # as the baseline is called; the published network has 13 blocks, for ImageNet
BLOCKS = 3  # at every scale
SCALES = 3
LEAST_WIDTH = 4
PIXEL_MACS = 9 + 1  # binary multiply-adds of a block a pixel and channel squared: 3x3 and 1x1


class Shift(nn.Module):
    """Adds a learned number a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the sum, ``(batch, channels, height, width)``."""
        return x + self.shift


class ReActPart(nn.Sequential):
    """RSign, a binary convolution, BN: a learned threshold a channel before the sign (ReActNet, Liu et al. 2020)."""

    def __init__(self, channels: int, kernel: int, stride: int, scale: Scale, scale_start: ScaleStart) -> None:
        conv = BinaryConv2d(
            channels,
            channels,
            kernel,
            stride,
            padding=kernel // 2,
            scale=scale,
            scale_start=scale_start,
            estimator="approx_sign",
            kernel_estimator="ste_sign",
        )
        super().__init__(Shift(channels), conv, nn.BatchNorm2d(channels))


class ReActBlock(nn.Module):
    """ReActNet's block: a 3x3 and a 1x1 convolution, each with a real-valued shortcut and an RPReLU behind it.

    Where the resolution is halved, channels are doubled by two 1x1 convolutions beside each other, so that both have
    a shortcut (figure 4 of the paper, whose normal block keeps the channels).
    """

    def __init__(self, channels: int, reduction: bool, family: Family) -> None:
        super().__init__()
        scales = {"scale": family.scale, "scale_start": family.scale_start}
        self.spatial = ReActPart(channels, 3, 2 if reduction else 1, **scales)  # type: ignore[arg-type]
        self.pool = nn.AvgPool2d(2) if reduction else nn.Identity()
        self.pointwise = nn.ModuleList(
            ReActPart(channels, 1, 1, **scales)  # type: ignore[arg-type]
            for _ in range(1 + reduction)
        )
        widths = (channels, channels * (1 + reduction))
        self.after = nn.ModuleList(nn.Sequential(Shift(w), nn.PReLU(w), Shift(w)) for w in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``(batch, channels, height, width)``, or twice the channels at half the resolution."""
        x = self.after[0](self.spatial(x) + self.pool(x))
        return self.after[1](torch.cat([part(x) + x for part in self.pointwise], 1))  # type: ignore[no-any-return]


class ReActNetwork(Classifier):
    """A real stem, three scales of blocks, a real classifier.

    Args:
        family: how binary convolutions are scaled.
        width: channels of the first scale; doubled twice.
        channels_in: of the images.
    """

    def __init__(self, family: Family, width: int, classes: int, channels_in: int = 3) -> None:
        super().__init__()
        # Without a ReLU, which would leave the first sign nothing but +1.
        self.stem = nn.Sequential(nn.Conv2d(channels_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.blocks = nn.Sequential()
        for scale in range(SCALES):
            for place in range(BLOCKS):
                last = place + 1 == BLOCKS and scale + 1 < SCALES
                self.blocks.append(ReActBlock(width, last, family))
                width *= 1 + last
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits, ``(batch, classes)``."""
        x = self.blocks(self.stem(x))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def binary_macs(width: int, size: int) -> int:
    """Returns the multiply-adds of single bits on an image of ``size`` pixels a side, a multiple of 4."""
    total = 0
    for scale in range(SCALES):
        reduction = scale + 1 < SCALES
        after = (size // 2) ** 2 if reduction else size**2
        total += width**2 * ((BLOCKS - 1) * PIXEL_MACS * size**2 + (PIXEL_MACS + reduction) * after)
        width, size = width * 2, size // 2
    return total


def width_for(macs: float, size: int) -> int:
    """Returns the width, 4 at least, whose network has about so many multiply-adds of single bits."""
    width = LEAST_WIDTH
    while binary_macs(width + 1, size) - macs < macs - binary_macs(width, size):
        width += 1
    return width
