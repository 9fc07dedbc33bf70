"""Terms that are added to the loss of the architecture parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping

import torch
from pydantic import Field
from pydantic import field_validator
from torch import Tensor

from nichenas.core.errors import ConfigError
from nichenas.core.registry import Registry
from nichenas.core.settings import Settings

Term = Callable[[Mapping[str, Tensor]], Tensor]


def entropies(probabilities: Tensor) -> Tensor:
    """Returns the entropy of every edge in nats, ``(edges,)``, of mixtures ``(edges, operations)``.

    Mixtures that do not sum to 1 (those of sigmoids) are scaled to.
    """
    p = probabilities / probabilities.sum(1, keepdim=True).clamp(min=1e-12)
    return -(p * p.clamp(min=1e-12).log()).sum(1)


def mean_entropy(mixtures: Mapping[str, Tensor]) -> Tensor:
    """Returns the mean entropy over all edges of all groups."""
    return torch.cat([entropies(p) for p in mixtures.values()]).mean()


def zero_one(mixtures: Mapping[str, Tensor]) -> Tensor:
    """Returns the mean squared distance from 1/2, negated: least when all are 0 or 1 (Fair DARTS, eq. 5)."""
    return -torch.cat([((p - 0.5) ** 2).reshape(-1) for p in mixtures.values()]).mean()


TERMS: Registry[Term] = Registry("regulariser", "nichenas.regularisers")
TERMS.register("entropy")(mean_entropy)  # drives every edge to one operation
TERMS.register("zero-one")(zero_one)


@TERMS.register("diversity")
def diversity(mixtures: Mapping[str, Tensor]) -> Tensor:
    """Returns minus the mean entropy: BNAS (Kim et al. 2020, eq. 8) rewards entropy while the search is young."""
    return -mean_entropy(mixtures)


class Regulariser(Settings):
    """One term.

    Attributes:
        kind: ``diversity`` is minus, ``entropy`` plus the mean entropy of the edges; ``zero-one`` pulls to 0 or 1.
        weight: at the beginning.
        decay: epochs after which the weight has fallen to 1/e; none keeps it.
    """

    kind: str
    weight: float = Field(1.0, gt=0)
    decay: float | None = Field(None, gt=0)

    @field_validator("kind")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            TERMS[value]
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

    def term(self, mixtures: Mapping[str, Tensor], epoch: int) -> Tensor:
        """Returns the weighted term of this epoch, counted from 0."""
        weight = self.weight * (math.exp(-epoch / self.decay) if self.decay else 1.0)
        return weight * TERMS[self.kind](mixtures)
