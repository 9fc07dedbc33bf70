"""The smallest supernet, with architecture parameters and batches to differentiate by hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn

from nichenas.core.testing.toy_supernet import ToySupernet


def toy(seed: int = 0) -> tuple[ToySupernet, dict[str, nn.Parameter], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns a supernet, its architecture parameters, and two batches."""
    torch.manual_seed(seed)
    supernet = ToySupernet()
    alpha = {"cell": nn.Parameter(0.3 * torch.randn(2, 4, dtype=torch.float64))}
    batches = [(torch.randn(8, 3, dtype=torch.float64), torch.randint(0, 4, (8,))) for _ in range(2)]
    return supernet, alpha, batches[0], batches[1]
