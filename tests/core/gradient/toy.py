"""A supernet small enough to differentiate by hand: mixed linear maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn

from nichenas.core.gradient.supernet import Active
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import Mixes
from nichenas.core.gradient.supernet import Supernet


class ToySupernet(Supernet):
    """Two cells in a row, each the mixture of none, identity and two dense maps with tanh; float64."""

    def __init__(self, width: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.groups = (
            EdgeGroup("cell", ((0, 2), (1, 2)), ("none", "skip", "a", "b"), instances=2, none="none", skip="skip"),
        )
        self.weights = nn.ParameterList(
            nn.Parameter(0.5 * torch.randn(2, 2, width, width, dtype=torch.float64)) for _ in range(2)
        )
        self.classifier = nn.Linear(width, classes).double()

    def forward(self, inputs: Tensor, mixes: Mixes, active: Active | None = None) -> Tensor:
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
        return self.classifier(x)


def toy(seed: int = 0) -> tuple[ToySupernet, dict[str, nn.Parameter], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns a supernet, its architecture parameters, and two batches."""
    torch.manual_seed(seed)
    supernet = ToySupernet()
    alpha = {"cell": nn.Parameter(0.3 * torch.randn(2, 4, dtype=torch.float64))}
    batches = [(torch.randn(8, 3, dtype=torch.float64), torch.randint(0, 4, (8,))) for _ in range(2)]
    return supernet, alpha, batches[0], batches[1]
