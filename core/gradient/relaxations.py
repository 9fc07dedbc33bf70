"""How architecture parameters become a mixture of operations, and costs become gradients.

A step asks for a :class:`Mix`, runs the supernet with its values, and gets the cost of every operation back:
``c[e, k] = dL / dZ[e, k]``, summed over the cells that share the parameters. :meth:`Mix.surrogate` is a number
whose gradient by the architecture parameters is the method's own (Xie et al. 2021, "Understanding the wiring
evolution in differentiable NAS", table 1).
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

import torch
from torch import Tensor

from nichenas.core.registry import Registry

Parameters = Mapping[str, Tensor]  # by group: (edges, operations)
COST_LIMIT = 5.0  # DSNAS's code clamps costs before they multiply the score function


@dataclass
class Mix:
    """A mixture to run.

    Attributes:
        values: by group ``(edges, operations)``, differentiable by the architecture parameters.
        active: operations to run, ``(edges, operations)`` bool by group; none for all.
        log_probabilities: of the sampled operations, ``(edges,)`` by group, where gradients come by score function.
    """

    values: Mapping[str, Tensor]
    active: Mapping[str, Tensor] | None = None
    log_probabilities: Mapping[str, Tensor] = field(default_factory=dict)

    def surrogate(self, costs: Mapping[str, Tensor]) -> Tensor:
        """Returns a scalar whose gradient by the architecture parameters is that of the loss.

        Args:
            costs: by group ``(edges, operations)``.
        """
        terms = []
        for name, values in self.values.items():
            cost = costs[name].detach()
            if self.log_probabilities:
                assert self.active is not None
                chosen = (cost * self.active[name]).sum(1).clamp(-COST_LIMIT, COST_LIMIT)
                terms.append((chosen * self.log_probabilities[name]).sum())
            else:
                terms.append((cost * values).sum())
        return torch.stack(terms).sum()


def discrete(tables: Mapping[str, Tensor]) -> Mix:
    """Returns the mixture of one-hot rows and empty ones, ``(edges, operations)`` by group, that runs nothing else."""
    return Mix(tables, {name: table > 0 for name, table in tables.items()})


class Relaxation(ABC):
    """One way from parameters to mixtures."""

    @abstractmethod
    def expected(self, parameters: Parameters, temperature: float) -> dict[str, Tensor]:
        """Returns how much every operation counts, without randomness, ``(edges, operations)`` by group."""

    def mix(self, parameters: Parameters, temperature: float, generator: torch.Generator) -> Mix:
        """Returns the mixture of one step."""
        return Mix(self.expected(parameters, temperature))


RELAXATIONS: Registry[type[Relaxation]] = Registry("relaxation", "nichenas.relaxations", Relaxation)


@RELAXATIONS.register("softmax")
class Softmax(Relaxation):
    """``Z = softmax(alpha / T)`` over the operations of an edge (DARTS; with T, BATS)."""

    def expected(self, parameters: Parameters, temperature: float) -> dict[str, Tensor]:
        """Returns the softmax."""
        return {name: torch.softmax(alpha / temperature, 1) for name, alpha in parameters.items()}


@RELAXATIONS.register("sigmoid")
class Sigmoid(Relaxation):
    """``Z = sigmoid(alpha / T)``: operations do not compete (Fair DARTS; an option of Single-DARTS)."""

    def expected(self, parameters: Parameters, temperature: float) -> dict[str, Tensor]:
        """Returns the sigmoid."""
        return {name: torch.sigmoid(alpha / temperature) for name, alpha in parameters.items()}


@RELAXATIONS.register("gumbel")
class Gumbel(Softmax):
    """``Z = softmax((log p + G) / T)`` with Gumbel noise and ``p = softmax(alpha)`` (SNAS, Xie et al. 2019, eq. 6)."""

    def expected(self, parameters: Parameters, temperature: float) -> dict[str, Tensor]:
        """Returns p; the noise and the temperature leave the most probable operation as it is."""
        return super().expected(parameters, 1.0)

    def mix(self, parameters: Parameters, temperature: float, generator: torch.Generator) -> Mix:
        """Returns one draw."""
        values = {}
        for name, alpha in parameters.items():
            noise = _gumbel(alpha, generator)
            values[name] = torch.softmax((torch.log_softmax(alpha, 1) + noise) / temperature, 1)
        return Mix(values)


@RELAXATIONS.register("single-path")
class SinglePath(Softmax):
    """One operation an edge, drawn from ``softmax(alpha / T)``; only drawn ones run.

    The gradient is the cost of the drawn one times ``grad log p`` (DSNAS, Hu et al. 2020, eq. 6).
    """

    def mix(self, parameters: Parameters, temperature: float, generator: torch.Generator) -> Mix:
        """Returns one draw."""
        values, active, logs = {}, {}, {}
        for name, alpha in parameters.items():
            log_p = torch.log_softmax(alpha / temperature, 1)
            chosen = (log_p.detach() + _gumbel(alpha, generator)).argmax(1)
            one_hot = torch.zeros_like(alpha).scatter_(1, chosen[:, None], 1.0)
            values[name], active[name] = one_hot.detach(), one_hot.bool()
            logs[name] = log_p.gather(1, chosen[:, None])[:, 0]
        return Mix(values, active, logs)


def _gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(like.shape, generator=generator, dtype=torch.float64).clamp_(1e-12, 1 - 1e-12)
    return (-torch.log(-torch.log(uniform))).to(like)
