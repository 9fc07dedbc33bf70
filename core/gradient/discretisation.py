"""From a mixture to an architecture: which edges and operations are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import Kept
from nichenas.core.settings import Settings


class Discretisation(Settings):
    """A rule.

    Attributes:
        rule: ``top-edges`` keeps for every node the edges whose best operation is strongest (DARTS, section 2.4);
            ``all-edges`` keeps every edge whose best operation is not ``none``.
        edges: kept for every node, by ``top-edges``.
        keep_none: whether ``none`` competes with the others (BNAS); else the best other operation is taken.
        none_factor: by which ``none`` is divided before it competes (BNAS's gamma).
    """

    rule: Literal["top-edges", "all-edges"] = "top-edges"
    edges: int = Field(2, ge=1)
    keep_none: bool = False
    none_factor: float = Field(1.0, gt=0)

    def kept(self, mixtures: Mapping[str, Tensor], groups: tuple[EdgeGroup, ...]) -> Kept:
        """Returns what is kept of mixtures ``(edges, operations)``; of equals the first edge and operation."""
        result = {}
        for group in groups:
            table = mixtures[group.name].detach().double().cpu().numpy().copy()
            none = group.operations.index(group.none) if group.none in group.operations else None
            others = table.copy()
            if none is not None:
                others[:, none] = -np.inf
                table[:, none] /= self.none_factor
            candidates = table if self.keep_none or self.rule == "all-edges" else others
            best = candidates.argmax(1)
            chosen = self._edges(group, others, best, none)
            result[group.name] = tuple((edge, group.operations[best[edge]]) for edge in chosen)
        return result

    def _edges(
        self, group: EdgeGroup, others: NDArray[np.float64], best: NDArray[np.int64], none: int | None
    ) -> list[int]:
        if self.rule == "all-edges":
            return [edge for edge in range(len(group.edges)) if best[edge] != none]
        strength = others.max(1)
        chosen: list[int] = []
        for incoming in group.incoming().values():
            chosen += sorted(sorted(incoming, key=lambda edge: (-strength[edge], edge))[: self.edges])
        return sorted(chosen)


def one_hot(kept: Kept, groups: tuple[EdgeGroup, ...], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the mixture that runs only what is kept, ``(edges, operations)`` of 0 and 1 by group."""
    result = {}
    for group in groups:
        table = torch.zeros_like(like[group.name])
        for edge, operation in kept[group.name]:
            table[edge, group.operations.index(operation)] = 1.0
        result[group.name] = table
    return result
