"""What a domain offers so that gradient methods can drive it: a supernet of mixed edges, data, and a way back.

The supernet holds weights only. Every call is given the mixture: how much each operation of each edge counts.
Architecture parameters, and how they become a mixture, are the business of :mod:`nichenas.core.gradient.relaxations`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC
from abc import abstractmethod
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from typing import ClassVar
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.space import Architecture

Mixes = Mapping[str, Tensor]  # by group: (instances, edges, operations)
Active = Mapping[str, Tensor]  # by group: (edges, operations) bool
Kept = Mapping[str, tuple[tuple[int, str], ...]]  # by group: (index of the edge, operation), in the order of edges


@dataclass(frozen=True)
class EdgeGroup:
    """Edges that share architecture parameters, such as those of all normal cells.

    Attributes:
        edges: (from node, to node), sorted by the node they lead to, then by the one they come from.
        operations: candidates of every edge.
        instances: how many cells share the parameters.
        inputs: nodes 0 .. inputs - 1 are inputs of the cell.
        none: the operation that is no edge at all, where there is one.
        parameter_free: operations without weights.
        skip: the operation that passes its input on.
    """

    name: str
    edges: tuple[tuple[int, int], ...]
    operations: tuple[str, ...]
    instances: int = 1
    inputs: int = 2
    none: str | None = None
    parameter_free: frozenset[str] = frozenset()
    skip: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the group as JSON, for the journal."""
        fields = dataclasses.asdict(self)
        return {**fields, "parameter_free": sorted(self.parameter_free)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> EdgeGroup:
        """Returns the group that :meth:`to_dict` wrote."""
        edges = tuple((int(source), int(target)) for source, target in fields["edges"])
        free = frozenset(fields["parameter_free"])
        return cls(**{**fields, "edges": edges, "operations": tuple(fields["operations"]), "parameter_free": free})

    def incoming(self) -> dict[int, list[int]]:
        """Returns the indices of the edges into every node, by node."""
        found: dict[int, list[int]] = {}
        for index, (_, target) in enumerate(self.edges):
            found.setdefault(target, []).append(index)
        return found


@dataclass(frozen=True)
class ResourceTable:
    """What a network costs, by its operations.

    Attributes:
        operations: of every operation, summed over the cells that share parameters, ``(edges, operations)`` float64 by
            group.
        rest: of everything else.
    """

    operations: Mapping[str, Tensor]
    rest: float = 0.0

    def expected(self, mixture: Mapping[str, Tensor]) -> Tensor:
        """Returns the cost of a mixture, differentiable by it; of one-hot rows, that of the architecture."""
        parts = [(mixture[n].double() * table.to(mixture[n].device)).sum() for n, table in self.operations.items()]
        return torch.stack(parts).sum() + self.rest


def dense_edges(nodes: int, inputs: int = 2) -> tuple[tuple[int, int], ...]:
    """Returns the edges of a cell in which every intermediate node is fed by all nodes before it."""
    return tuple((source, inputs + node) for node in range(nodes) for source in range(inputs + node))


class Supernet(nn.Module, ABC):
    """A network with all operations on all edges.

    Attributes:
        groups: of edges, by which mixtures are given.
        task: what outputs are; of a ``classification`` they are logits, so that the entropy of predictions, and which
            are right, is known. A supernet with losses of its own names another task.
    """

    groups: tuple[EdgeGroup, ...]
    task: ClassVar[str] = "classification"

    @abstractmethod
    def forward(self, inputs: Any, mixes: Mixes, active: Active | None = None) -> Tensor:
        """Returns the outputs of a batch.

        Args:
            mixes: of every group ``(instances, edges, operations)``; outputs are differentiable by them.
            active: operations to run at all; the others count nothing and cost nothing. None runs all.
        """

    def sample_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss of every sample, ``(batch,)``; by default the cross-entropy of logits."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def sample_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the primary objective of every sample, ``(batch,)``; by default whether the class is right."""
        return (outputs.argmax(1) == targets).to(outputs.dtype)

    @property
    def smooth(self) -> bool:
        """Whether outputs change continuously with the weights at all times; not where there are signs."""
        return True

    def twice_differentiable(self) -> AbstractContextManager[None]:
        """Returns a context in which gradients can be differentiated once more."""
        return nullcontext()

    def begin_epoch(self, progress: float) -> None:
        """Called before every epoch with the share of the search that is over, in [0, 1)."""

    def after_step(self) -> None:
        """Called after every step of the weights' optimiser."""


class BatchSource(Protocol):
    """Batches of a part of the data."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        ...

    def train_batches(self, rng: np.random.Generator) -> Iterator[tuple[Any, Tensor]]:
        """Yields one epoch in random order, augmented as for training."""
        ...

    def eval_batches(self) -> Iterator[tuple[Any, Tensor]]:
        """Yields all of the part once, unchanged."""
        ...


@dataclass(frozen=True)
class SearchData:
    """The data of a gradient search; none of it is test data.

    Attributes:
        weights: what the weights are trained on.
        architecture: what the architecture parameters are trained on; none where both use ``weights``.
        validation: what neither is trained on.
    """

    weights: BatchSource
    architecture: BatchSource | None
    validation: BatchSource


class DifferentiableSupernet(Capability):
    """A domain with a supernet of mixed edges."""

    offers: ClassVar[str] = "supernet"

    @abstractmethod
    def supernet(self, context: Context, activation_checkpointing: bool = False) -> Supernet:
        """Returns a fresh supernet on the context's device.

        Args:
            activation_checkpointing: whether activations are computed again in the backward pass, to save memory.
        """

    @abstractmethod
    def search_data(self, context: Context, batch: int, held_out: float) -> SearchData:
        """Returns the data of the search.

        Args:
            batch: samples in a batch.
            held_out: share of the training data for the architecture parameters; 0 for none of their own.
        """

    @abstractmethod
    def derived(self, kept: Kept) -> Architecture:
        """Returns the architecture of the edges and operations that a discretisation keeps."""

    @abstractmethod
    def kept(self, architecture: Architecture) -> Kept:
        """Returns the edges and operations of an architecture: what :meth:`derived` makes it of."""

    def resources(self) -> Mapping[str, ResourceTable]:
        """Returns what the operations of a derived network cost, by kind, such as ``macs``; by default nothing."""
        return {}


def gradients_of(outputs: Tensor, inputs: Sequence[Tensor], again: bool = False) -> list[Tensor]:
    """Returns the gradients of a scalar, zeros where it does not depend on an input.

    Args:
        again: whether it is to be differentiated once more.
    """
    found = torch.autograd.grad(outputs, inputs, allow_unused=True, retain_graph=again)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]
