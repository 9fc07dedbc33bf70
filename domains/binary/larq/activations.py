"""Larq's activations; their gradients at the bounds are written out, since torch's releases differ there."""

from __future__ import annotations

import torch
from torch import Tensor

from nichenas.domains.binary.larq.quantizers import with_gradient


def hard_tanh(x: Tensor) -> Tensor:
    """Returns ``clip(x, -1, 1)``; the gradient at the bounds is 1."""
    return with_gradient(x, torch.clamp(x.detach(), -1, 1), x.detach().abs() <= 1)


def leaky_tanh(x: Tensor, alpha: float = 0.2) -> Tensor:
    """Returns ``clip(x, -1, 1) + alpha (max(x, 1) - 1) + alpha (min(x, -1) + 1)``; the gradient at +-1 is 1 + alpha."""
    plain = x.detach()
    bent = torch.clamp(plain, -1, 1)
    size = plain.abs()
    slope = (size <= 1).to(x.dtype) + alpha * (size >= 1).to(x.dtype)
    return with_gradient(x, bent + alpha * (plain - bent), slope)
