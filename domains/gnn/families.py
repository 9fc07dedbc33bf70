"""What the domain asks of a search space of its own: networks, how they are trained, what they cost and look like."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch

from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Drawing
from nichenas.domains.gnn.consistency import Consistency
from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.extents import Extent
from nichenas.domains.gnn.extents import total_bytes
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.network import NodeNetwork
from nichenas.domains.gnn.training import Piece
from nichenas.domains.gnn.training import TrainSettings


class Family(ABC):
    """The networks of a search space, for graphs with features of one width.

    Args:
        features: width of the node features.
        outputs: number of classes or labels.
        settings: of training; where the space has training choices, an architecture's come before them.
    """

    def __init__(self, features: int, outputs: int, settings: Any) -> None:
        self.features, self.outputs, self.settings = features, outputs, settings

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The search space."""

    @property
    @abstractmethod
    def known(self) -> Mapping[str, Architecture]:
        """Architectures that people use, by the name that they are known by."""

    @abstractmethod
    def network(self, architecture: Architecture, generator: torch.Generator, share: float = 1.0) -> NodeNetwork:
        """Returns a freshly initialised network on the CPU, with a share of its hidden units."""

    def train_settings(self, architecture: Architecture) -> TrainSettings:
        """Returns how an architecture's network is trained."""
        settings: TrainSettings = self.settings
        return settings

    def consistency(self, architecture: Architecture) -> Consistency | None:
        """Returns how predictions of a network are made consistent in training, if they are."""
        return None

    @abstractmethod
    def layout(self, architecture: Architecture) -> Hashable:
        """Returns what decides the receptive field; architectures of one layout can use the same pieces."""

    @abstractmethod
    def piece(self, part: LabelledNodes, architecture: Architecture) -> Piece:
        """Returns labelled nodes ready for the network of an architecture."""

    @abstractmethod
    def extent(self, part: LabelledNodes, architecture: Architecture) -> Extent:
        """Returns how large what :meth:`piece` builds would be."""

    @abstractmethod
    def memory(self, architecture: Architecture, extents: Sequence[Extent], share: float = 1.0) -> int:
        """Returns an estimate of the bytes that training takes at its peak, beside the pieces themselves.

        Args:
            extents: of the pieces that it is trained and validated on.
        """

    def shared_memory(self, architecture: Architecture, extents: Sequence[Extent]) -> int:
        """Returns the bytes that the pieces themselves take, which architectures of one layout share."""
        heads = (int(str(value)) for name, value in architecture.items() if name.rpartition(".")[2] == "heads")
        return total_bytes(extents, max(heads, default=1))

    @abstractmethod
    def macs(self, architecture: Architecture, field: ReceptiveField) -> int:
        """Returns the multiply-adds of one pass over a field."""

    @abstractmethod
    def attributes(self, architecture: Architecture, tensor: str) -> tuple[int, str, Mapping[str, str]]:
        """Returns the layer of a named tensor, its role in it, and the attributes of the layer for sharing rules."""

    @abstractmethod
    def draw(self, architecture: Architecture) -> Drawing:
        """Returns the architecture as a graph."""
