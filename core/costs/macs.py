"""Counting multiply-adds and parameters of any torch network, by running it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from typing import runtime_checkable

import torch
from torch import Tensor
from torch import nn

Conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class NetworkCosts:
    """What a network costs.

    Attributes:
        parameters: of every kind.
        macs: multiply-adds of convolutions and linear layers whose both sides are not binary.
        binary_macs: those of single bits.
    """

    parameters: int
    macs: int
    binary_macs: int


@runtime_checkable
class CountsMacs(Protocol):
    """A layer that says itself what it costs."""

    def count_macs(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """Returns the multiply-adds of one sample that are not of single bits, and those that are.

        Args:
            x: a batch that the layer was given.
            y: what it returned.
        """
        ...


@torch.no_grad()
def count_costs(network: nn.Module, input_shape: Sequence[int]) -> NetworkCosts:
    """Runs a network once on zeros, in evaluation mode, and counts.

    A layer with a true attribute ``binary`` counts as one of single bits. Of torch's layers ``Conv*d``,
    ``ConvTranspose*d`` and ``Linear`` count, padding included, biases not; of others those that say so, see
    :class:`CountsMacs`.

    Args:
        input_shape: of one sample, without the batch.
    """
    counts = {True: 0, False: 0}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, CountsMacs):
            for binary, macs in zip((False, True), module.count_macs(inputs[0], output), strict=True):
                counts[binary] += macs
            return
        weight: Tensor = module.weight  # type: ignore[assignment]
        if isinstance(module, Conv):
            places = output[0, 0].numel()
        elif isinstance(module, Transposed):  # every input is multiplied with the whole kernel
            places = inputs[0][0, 0].numel()
        else:
            places = output[0].numel() // weight.shape[0]
        counts[bool(getattr(module, "binary", False))] += weight.numel() * places

    layers = [module for module in network.modules() if isinstance(module, (CountsMacs, *Conv, *Transposed, nn.Linear))]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    was_training = network.training
    first = next(network.parameters(), torch.zeros(()))
    try:
        network.eval()
        network(torch.zeros(1, *input_shape, device=first.device, dtype=first.dtype))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return NetworkCosts(sum(p.numel() for p in network.parameters()), counts[False], counts[True])
