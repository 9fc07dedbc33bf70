"""A normalisation before a sign, as a comparison: which inputs end at or above 0."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import torch
from torch import Tensor
from torch import nn


@dataclass
class Limits:
    """From which values on inputs count as +1.

    Attributes:
        values: ``(channels,)`` float32.
        flipped: ``(channels,)`` bool; where it is true, what is below the limit counts as +1.
    """

    values: Tensor
    flipped: Tensor
    _words: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def signs(self, x: Tensor) -> Tensor:
        """Returns +-1 of ``(batch, channels, height, width)``."""
        shape = (-1, 1, 1)
        above = (x >= self.values.to(x.device).view(shape)) ^ self.flipped.to(x.device).view(shape)
        return above.to(x.dtype) * 2 - 1

    def words(self, groups: int) -> Tensor:
        """Returns ``flipped`` as bits, ``(groups, words)``, 64 channels of a group a word."""
        if groups not in self._words:
            flipped = self.flipped.view(groups, -1).numpy()
            padded = np.zeros((groups, 64 * -(-flipped.shape[1] // 64)), dtype=np.uint8)
            padded[:, : flipped.shape[1]] = flipped
            packed = np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.int64, copy=False)
            self._words[groups] = torch.from_numpy(packed)
        return self._words[groups]


@torch.no_grad()
def limits_of(norm: nn.BatchNorm2d) -> Limits:
    """Returns the limits that give the signs of a normalisation in evaluation mode, bit for bit.

    A normalisation is monotone in its input, also as it is rounded. So the least number that it puts on the other side
    of 0 is found by bisection over all floats, with the normalisation itself.
    """
    norm = copy.deepcopy(norm).eval().cpu().float()
    channels = norm.num_features
    weight = torch.ones(channels) if norm.weight is None else norm.weight
    flipped = weight < 0

    def above(ordered: Tensor) -> Tensor:
        values = _float_of(ordered).view(1, channels, 1, 1).expand(1, channels, 2, 2)
        return (norm(values.contiguous(memory_format=torch.channels_last))[0, :, 0, 0] >= 0) ^ flipped

    low = torch.full((channels,), _order_of(-torch.finfo(torch.float32).max), dtype=torch.int64)
    high = -low  # the greatest float
    never, always = ~above(high), above(low)
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        reached = above(middle)
        high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
    limits = _float_of(high)
    limits = torch.where(always, -torch.inf, torch.where(never, torch.inf, limits))
    return Limits(limits, flipped)


def _order_of(value: float) -> int:
    """Returns the place of a float32 among all: whole numbers that rise with it, 0 for 0."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _float_of(order: Tensor) -> Tensor:
    """Returns the float32 at places ``(n,)``, the inverse of :func:`_order_of`."""
    magnitude = order.abs().to(torch.int32).view(torch.float32)
    return torch.where(order < 0, -magnitude, magnitude)
