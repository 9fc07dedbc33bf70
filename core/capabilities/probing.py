"""Untrained networks to look at, for scores without training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch import nn

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class Probe:
    """An untrained network with what it takes to look at its gradients.

    Attributes:
        network: with fresh weights, in training mode.
        inputs: one batch, samples along the first axis.
        forward: of a batch like ``inputs``, to outputs.
        loss: of outputs, a scalar.
        macs: multiply-adds of one sample, of single bits too; none where they are not counted.
    """

    network: nn.Module
    inputs: Tensor
    forward: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]
    macs: float | None = None


class Probing(Capability):
    """A domain that builds networks which can be scored untrained."""

    offers: ClassVar[str] = "untrained networks to score"

    @abstractmethod
    def probe(self, architecture: Architecture, context: Context) -> Probe:
        """Returns an untrained network with a batch."""
