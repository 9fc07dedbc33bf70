"""TensorFlow's padding, which torch's differs from for strides and even kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Returns the pixels before and after one axis under SAME; an odd one goes to the end."""
    reach = (kernel - 1) * dilation + 1
    total = max((math.ceil(size / stride) - 1) * stride + reach, size) - size
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int], value: float) -> Tensor:
    """Returns ``(batch, channels, ...)`` padded so that a convolution without padding gives SAME's output."""
    amounts: list[int] = []
    axes = zip(x.shape[2:], kernel, strides, dilation, strict=True)
    for size, k, s, d in reversed(list(axes)):
        amounts += same_padding(size, k, s, d)
    return F.pad(x, amounts, value=value)


def per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Returns one number an axis.

    Raises:
        ValueError: when another count is given, or something else.
    """
    if not isinstance(value, (int, Sequence)) or isinstance(value, str):
        raise ValueError(f"{value!r}; allowed: a whole number, or one of each of {axes} axes")
    result = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(result) != axes:
        raise ValueError(f"{len(result)} numbers for {axes} axes")
    return result
