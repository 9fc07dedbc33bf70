"""What a mixture of operations costs in parameters, multiply-adds or the like, as a term and as a limit.

A domain tells what every operation of every edge costs in the network that is built of the outcome. The expected
cost of a mixture is linear in it, so it can be added to the loss (as FBNet, Wu et al. 2019, and ProxylessNAS, Cai et
al. 2019, do with latency). A limit is met by the derived architecture exactly: where what would be kept costs too much,
operations and edges are replaced by cheaper ones that the mixture likes nearly as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.core.settings import Settings

Choice = tuple[int, int]  # edge and operation, by index
TINY = 1e-12  # of a mixture, so that its logarithm is finite


class ResourceSettings(Settings):
    """One kind of cost, and what is done about it.

    Attributes:
        kind: one of those that the domain counts.
        weight: of the expected cost, over that of the uniform mixture, in the loss of the architecture parameters.
        target: cost below which nothing is added to the loss; the term is then the excess over it, as a share of it.
        most: the most that the derived architecture may cost.
    """

    kind: str
    weight: float = Field(0.0, ge=0)
    target: float | None = Field(None, gt=0)
    most: float | None = Field(None, gt=0)


class Resources:
    """The costs that a search minds.

    Args:
        settings: one a kind.
        tables: of the domain, by kind.

    Raises:
        ConfigError: for a kind that the domain does not count or that costs nothing, or one that is named twice.
    """

    def __init__(self, settings: tuple[ResourceSettings, ...], tables: Mapping[str, ResourceTable]) -> None:
        self.settings, self.tables = settings, tables
        where = "search.options.gradient.resources"
        for number, one in enumerate(settings):
            if one.kind not in tables:
                if not tables:
                    raise ConfigError(f"{where}: this domain does not count the costs of operations")
                raise ConfigError(f"{where}: {unknown_name_message('kind', one.kind, tables)}")
            if not any(bool(costs.any()) for costs in tables[one.kind].operations.values()):
                raise ConfigError(f"{where}: no operation costs any {one.kind} here")
            if any(one.kind == other.kind for other in settings[:number]):
                raise ConfigError(f"{where}: '{one.kind}' is there twice")

    def term(self, mixture: Mapping[str, Tensor], uniform: Mapping[str, Tensor]) -> Tensor | None:
        """Returns what is added to the loss, differentiable by the mixture; none where nothing is."""
        found = []
        for one in self.settings:
            if one.weight == 0:
                continue
            cost = self.tables[one.kind].expected(mixture)
            if one.target is None:
                found.append(one.weight * cost / self.tables[one.kind].expected(uniform).detach())
            else:
                found.append(one.weight * torch.relu(cost / one.target - 1))
        return torch.stack(found).sum() if found else None

    def costs(self, mixture: Mapping[str, Tensor]) -> dict[str, float]:
        """Returns the expected cost of every kind."""
        return {one.kind: float(self.tables[one.kind].expected(mixture)) for one in self.settings}

    def within(
        self, kept: Kept, mixture: Mapping[str, Tensor], groups: tuple[EdgeGroup, ...], rule: Discretisation
    ) -> Kept:
        """Returns what is kept, with cheaper operations and edges where it costs more than may be.

        As long as a limit is exceeded, the one replacement is made that loses least: the fall of ``log z`` for what it
        saves of the excess, which is summed over all limits. A replacement is another operation on the edge, or an edge
        into the same node that is not kept yet, with any operation; ``none`` counts where the rule lets it compete.

        Raises:
            ConfigError: when nothing cheaper is left; it says what that costs.
        """
        limits = [one for one in self.settings if one.most is not None]
        if not limits:
            return kept
        chosen = {
            group.name: [(edge, group.operations.index(operation)) for edge, operation in kept[group.name]]
            for group in groups
        }
        self._reduce(chosen, mixture, groups, limits, rule)
        found = {
            group.name: [(edge, group.operations[k]) for edge, k in sorted(chosen[group.name])] for group in groups
        }
        dropped = {group.name: group.none if rule.rule == "all-edges" else None for group in groups}
        return {name: tuple(pair for pair in pairs if pair[1] != dropped[name]) for name, pairs in found.items()}

    def _reduce(
        self,
        chosen: dict[str, list[Choice]],
        mixture: Mapping[str, Tensor],
        groups: tuple[EdgeGroup, ...],
        limits: Sequence[ResourceSettings],
        rule: Discretisation,
    ) -> None:
        """Replaces what is chosen until the excess over the limits, summed as shares of them, is nothing."""
        prices = [{n: t.double().tolist() for n, t in self.tables[one.kind].operations.items()} for one in limits]
        most = [float(one.most or 0) for one in limits]
        likes = {group.name: _likes(mixture[group.name], group, rule) for group in groups}
        none = rule.keep_none or rule.rule == "all-edges"
        totals = [
            self.tables[one.kind].rest + sum(table[name][e][k] for name, pairs in chosen.items() for e, k in pairs)
            for one, table in zip(limits, prices, strict=True)
        ]

        def excess(found: Sequence[float]) -> float:
            return sum(max(0.0, total / limit - 1) for total, limit in zip(found, most, strict=True))

        while (now := excess(totals)) > 0:
            best: tuple[tuple[int, float], str, int, Choice, list[float]] | None = None
            for group in groups:
                name, pairs = group.name, chosen[group.name]
                for position, (edge, k) in enumerate(pairs):
                    for e, other in _replacements(group, pairs, edge, none):
                        then = [
                            total + table[name][e][other] - table[name][edge][k]
                            for total, table in zip(totals, prices, strict=True)
                        ]
                        saved = now - excess(then)
                        if saved <= 0:
                            continue
                        loss = likes[name][edge][k] - likes[name][e][other]
                        rank = (0, -saved) if loss <= 0 else (1, loss / saved)
                        if best is None or rank < best[0]:
                            best = rank, name, position, (e, other), then
            if best is None:
                costs = ", ".join(f"{math.ceil(total)} {one.kind}" for total, one in zip(totals, limits, strict=True))
                wanted = ", ".join(f"{limit:g} {one.kind}" for limit, one in zip(most, limits, strict=True))
                raise ConfigError(
                    f"search.options.gradient.resources: no architecture with at most {wanted} was found; the cheapest "
                    f"has {costs}"
                )
            _, name, position, replacement, totals = best
            chosen[name][position] = replacement


def _likes(mixture: Tensor, group: EdgeGroup, rule: Discretisation) -> list[list[float]]:
    """Returns the logarithms of a mixture, that of ``none`` as the rule lets it compete."""
    table = mixture.detach().double().clamp_min(TINY).log()
    if group.none in group.operations:
        table[:, group.operations.index(group.none)] -= math.log(rule.none_factor)
    return table.tolist()  # type: ignore[no-any-return]


def _replacements(group: EdgeGroup, pairs: list[Choice], edge: int, none: bool) -> list[Choice]:
    kept = {one for one, _ in pairs}
    target = group.edges[edge][1]
    edges = [edge, *(e for e, (_, node) in enumerate(group.edges) if node == target and e not in kept)]
    return [
        (e, k)
        for e in edges
        for k, name in enumerate(group.operations)
        if name != group.none or (none and e == edge)  # an edge is dropped where it is, not by way of another
    ]
