"""What every network of the domain is, and the randomness that its training draws."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any
from typing import ClassVar

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.gnn.features import Features
from nichenas.domains.gnn.graph import ReceptiveField


@dataclass
class Noise:
    """Dropout of one training pass.

    Attributes:
        p: probability of dropping a value, in networks that have one for all places.
        features: draws the masks of the input features.
        inner: draws all other masks.
        augmentations: passes at once, each with masks of its own.
    """

    p: float
    features: torch.Generator
    inner: torch.Generator
    augmentations: int = 1


class NodeNetwork(nn.Module, ABC):
    """A network of one of the domain's spaces.

    Attributes:
        first_weight: name of the tensor that multiplies the node features.
    """

    first_weight: ClassVar[str]

    @abstractmethod
    def forward(self, field: ReceptiveField, features: Features, noise: Noise | None = None) -> Tensor:
        """Returns the outputs at the targets of a field, ``(targets, outputs)``; without noise, as in evaluation.

        With several augmentations, which not every network can have, ``(targets, augmentations, outputs)``.
        """

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Returns the groups of parameters that the optimiser treats differently."""
        return [{"params": list(self.parameters()), "weight_decay": weight_decay}]


def glorot(generator: torch.Generator, rows: int, columns: int, *shape: int) -> nn.Parameter:
    """Returns weights from Glorot's uniform distribution for a matrix of this size, in another shape if wanted."""
    bound = (6.0 / (rows + columns)) ** 0.5
    return nn.Parameter(torch.empty(shape or (rows, columns)).uniform_(-bound, bound, generator=generator))
