"""One architecture trained on several splits of the data at once."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nichenas.domains.gnn.training import EpochChoice
from nichenas.domains.gnn.training import SpaceTraining


class SplitsTraining(EpochChoice):
    """Networks of one architecture, one a split, trained in step; every figure is the mean over the splits.

    One epoch counts for all of them. The names of their weights begin with the number of the split.

    Args:
        parts: one a split.
    """

    def __init__(self, parts: Sequence[SpaceTraining]) -> None:
        first = parts[0]
        super().__init__(nn.ModuleList(part.network for part in parts), first.settings, keep_best=first.keep_best)
        self.parts = parts

    def advance(self) -> None:
        """Trains an epoch of each."""
        for part in self.parts:
            part.advance()

    def validate(self) -> Mapping[str, float]:
        """Returns the means of score and loss."""
        figures = [part.validate() for part in self.parts]
        return {name: sum(figure[name] for figure in figures) / len(figures) for name in figures[0]}

    def stateful(self) -> Mapping[str, Any]:
        """Returns what each continues from."""
        return {
            f"{number} {name}": held for number, part in enumerate(self.parts) for name, held in part.stateful().items()
        }


def of_split(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """Returns those tensors of several splits that are of one, by their names in its network."""
    start = f"{number}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
