"""Larq's activations."""

from __future__ import annotations

import torch
from torch import Tensor


def hard_tanh(x: Tensor) -> Tensor:
    """Returns ``clip(x, -1, 1)``; the gradient at the bounds is 1."""
    return torch.clamp(x, -1, 1)


def leaky_tanh(x: Tensor, alpha: float = 0.2) -> Tensor:
    """Returns ``clip(x, -1, 1) + alpha (max(x, 1) - 1) + alpha (min(x, -1) + 1)``; the gradient at +-1 is 1 + alpha.

    Maximum and minimum are clamps, whose gradient at the bound is 1; ``torch.maximum`` would halve it.
    """
    return torch.clamp(x, -1, 1) + (torch.clamp(x, min=1) - 1) * alpha + (torch.clamp(x, max=-1) + 1) * alpha
