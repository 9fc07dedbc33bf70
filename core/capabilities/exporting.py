"""Trained networks that can be used elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import ClassVar

from torch import Tensor
from torch import nn

from nichenas.core.capabilities.base import Capability
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class ExportedNetwork:
    """A trained network to be used elsewhere.

    Attributes:
        network: in evaluation mode, on the CPU.
        example: an input, the batch as its first axis.
    """

    network: nn.Module
    example: Tensor


class Exporting(Capability):
    """A domain whose networks can be exported."""

    offers: ClassVar[str] = "networks to export"

    @abstractmethod
    def export(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> ExportedNetwork:
        """Returns the network of an architecture with trained weights."""

    def packed(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> Mapping[str, Any] | None:
        """Returns what a file holds from which the domain's own code runs the network, smaller than its weights.

        Plain values and tensors alone; none where there is no such form.
        """
        return None
