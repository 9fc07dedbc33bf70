"""Counting multiply-adds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nichenas.core.costs.macs import count_costs


@pytest.mark.parametrize(
    ("network", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 10), 3 * 8 * 9 * 100),
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), (4, 9, 9), 2 * 8 * 9 * 16),
        (nn.Conv1d(2, 4, 3), (2, 12), 2 * 4 * 3 * 10),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), 60),
        (nn.Linear(6, 5), (4, 6), 4 * 30),
        (nn.ConvTranspose2d(3, 5, 2, 2), (3, 4, 4), 16 * 3 * 5 * 4),
        (nn.ConvTranspose2d(4, 6, 3, 2, padding=1, groups=2), (4, 5, 5), 25 * 4 * 3 * 9),
    ],
)
def test_macs(network: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    wrapped = nn.Sequential(network)
    wrapped.train()
    costs = count_costs(wrapped, shape)
    assert (costs.macs, costs.binary_macs) == (macs, 0)
    assert costs.parameters == sum(p.numel() for p in network.parameters())
    assert wrapped.training
    assert not network._forward_hooks


def test_binary_layers_count_apart() -> None:
    layer = nn.Linear(4, 3)
    layer.binary = True  # type: ignore[assignment]
    costs = count_costs(nn.Sequential(layer, nn.Linear(3, 2)), (4,))
    assert (costs.macs, costs.binary_macs) == (6, 12)
    assert torch.is_grad_enabled()
