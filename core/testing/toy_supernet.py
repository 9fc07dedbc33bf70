"""A domain with the smallest supernet: mixed linear maps, on drawn points of a few classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch import nn

from nichenas.core.context import Context
from nichenas.core.gradient.supernet import Active
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import Mixes
from nichenas.core.gradient.supernet import SearchData
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.seeds import numpy_generator
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings

OPERATIONS = ("none", "skip", "a", "b")
POINTS, WIDTH, CLASSES = 96, 3, 4


class ToySupernet(Supernet):
    """Two cells in a row, each the mixture of none, identity and two dense maps with tanh; float64."""

    def __init__(self, width: int = WIDTH, classes: int = CLASSES) -> None:
        super().__init__()
        self.groups = (EdgeGroup("cell", ((0, 2), (1, 2)), OPERATIONS, instances=2, none="none", skip="skip"),)
        self.weights = nn.ParameterList(
            nn.Parameter(0.5 * torch.randn(2, 2, width, width, dtype=torch.float64)) for _ in range(2)
        )
        self.classifier = nn.Linear(width, classes).double()

    def forward(self, inputs: Tensor, mixes: Mixes, active: Active | None = None) -> Tensor:
        """Returns logits, ``(batch, classes)``, of points ``(batch, width)``."""
        x, previous = inputs, inputs
        for cell, weights in enumerate(self.weights):
            z = mixes["cell"][cell]
            total = torch.zeros_like(x)
            for edge, source in enumerate((previous, x)):
                terms = [source, torch.tanh(source @ weights[edge, 0]), torch.tanh(source @ weights[edge, 1])]
                for k, term in enumerate(terms, 1):
                    if active is None or bool(active["cell"][edge, k]):
                        total = total + z[edge, k] * term
            previous, x = x, total
        logits: Tensor = self.classifier(x)
        return logits


class Points:
    """Batches of points with their classes."""

    def __init__(self, inputs: Tensor, targets: Tensor, batch: int) -> None:
        self.inputs, self.targets, self.batch = inputs, targets, batch

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch)

    def train_batches(self, rng: np.random.Generator) -> Iterator[tuple[Any, Tensor]]:
        """Yields one epoch in random order."""
        yield from self._batches(torch.from_numpy(rng.permutation(len(self.targets))))

    def eval_batches(self) -> Iterator[tuple[Any, Tensor]]:
        """Yields all points once."""
        yield from self._batches(torch.arange(len(self.targets)))

    def _batches(self, order: Tensor) -> Iterator[tuple[Any, Tensor]]:
        for part in order.split(self.batch):
            yield self.inputs[part], self.targets[part]


class ToySupernetSettings(ToySettings):
    """The ``domain`` section; the two choices are the operations of the two edges."""

    choices: int = Field(2, ge=2, le=2)


class ToySupernetDomain(ToyDomain, DifferentiableSupernet):
    """The toy domain of two choices, with a supernet whose edges they are."""

    Settings = ToySupernetSettings
    settings: ToySupernetSettings

    @property
    def space(self) -> SearchSpace:
        """The two choices, ``none`` among their options."""
        return SearchSpace([Choice(f"c{edge}", tuple(range(len(OPERATIONS))), group="edge") for edge in range(2)])

    def supernet(self, context: Context, activation_checkpointing: bool = False) -> ToySupernet:
        """Returns a fresh supernet; its activations are too few to be worth computing again."""
        with context.seeded("supernet"):
            return ToySupernet()

    def search_data(self, context: Context, batch: int, held_out: float) -> SearchData:
        """Returns drawn points: classes are slices of the first coordinate."""
        rng = numpy_generator(0, "toy points")
        inputs = torch.from_numpy(rng.standard_normal((POINTS, WIDTH)))
        targets = ((inputs[:, 0] + 1.5).clamp(0, 2.99) * CLASSES / 3).long()
        train, validation = POINTS * 2 // 3, POINTS
        cut = round(train * (1 - held_out))
        parts = [
            Points(inputs[start:end], targets[start:end], batch)
            for start, end in ((0, cut), (cut, train), (train, validation))
        ]
        return SearchData(parts[0], parts[1] if held_out > 0 else None, parts[2])

    def derived(self, kept: Kept) -> Architecture:
        """Returns the architecture whose choices are the kept operations' places."""
        return self.space.architecture({f"c{edge}": OPERATIONS.index(operation) for edge, operation in kept["cell"]})

    def kept(self, architecture: Architecture) -> Kept:
        """Returns the operations at the places that the choices name."""
        return {"cell": tuple((edge, OPERATIONS[int(str(architecture[f"c{edge}"]))]) for edge in range(2))}
