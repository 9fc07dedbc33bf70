"""Wiring diagnostics: the cost assigned to every edge and operation, and the patterns that come of it.

The cost of operation k on edge e is ``c[e, k] = dL / dZ[e, k] = <dL/dx_j, O_k(x_i)>``, the first-order effect of
turning it on. The cost of an edge is the sum over its operations weighted as they ran, ``sum_k Z[e, k] c[e, k]``.
Source: Xie et al. 2021, "Understanding the wiring evolution in differentiable neural architecture search".
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nichenas.core.gradient.steps import SupernetPass
from nichenas.core.gradient.supernet import EdgeGroup


class WiringRecorder:
    """Collects one epoch; nothing is brought to the host before :meth:`epoch`.

    Args:
        groups: of the supernet.
        logits: whether outputs are logits of classes, so that entropy and right or wrong are known.
    """

    def __init__(self, groups: Sequence[EdgeGroup], logits: bool = True) -> None:
        self.groups = {group.name: group for group in groups}
        self.logits = logits
        self._costs: dict[str, Tensor] = {}
        self._edges: dict[str, Tensor] = {}
        self._steps = 0
        self._samples: dict[str, Tensor] = {}

    def record(self, split: str, result: SupernetPass, targets: Tensor, values: Mapping[str, Tensor]) -> None:
        """Records one run of the supernet.

        Args:
            split: ``train`` or ``held-out``.
            values: the mixture that ran, ``(edges, operations)`` by group.
        """
        if result.costs:
            self._steps += 1
            for name, cost in result.costs.items():
                edges = (cost * values[name].detach()).sum(2)
                self._costs[name] = self._costs[name] + cost if name in self._costs else cost.clone()
                self._edges[name] = self._edges[name] + edges if name in self._edges else edges
        if self.logits:
            sums = sample_sums(result.losses, result.outputs, targets)
            self._samples[split] = self._samples[split] + sums if split in self._samples else sums

    def epoch(self) -> dict[str, Any]:
        """Returns the means of the epoch as JSON, and starts the next.

        ``costs``: by group ``(edges, operations)``, summed over cells; ``edge_costs``: by group
        ``(instances, edges)``; ``samples``: by split, of all, of right and of wrong samples: number, mean
        cross-entropy, mean entropy and their difference.
        """
        steps = max(1, self._steps)
        report: dict[str, Any] = {
            "costs": {name: _rounded(cost.sum(0) / steps) for name, cost in self._costs.items()},
            "edge_costs": {name: _rounded(cost / steps) for name, cost in self._edges.items()},
            "samples": {split: _sample_means(sums) for split, sums in self._samples.items()},
        }
        self._costs, self._edges, self._samples, self._steps = {}, {}, {}, 0
        return report


def sample_sums(losses: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Returns ``(2, 3)``: of wrong and of right samples the number, the summed loss, the summed entropy."""
    log_p = torch.log_softmax(logits.detach(), 1)
    entropy = -(log_p.exp() * log_p).sum(1)
    right = logits.argmax(1) == targets
    rows = torch.stack([torch.ones_like(entropy), losses.detach().to(entropy), entropy], 1)
    return torch.stack([rows[~right].sum(0), rows[right].sum(0)]).double()


def _sample_means(sums: Tensor) -> dict[str, dict[str, float]]:
    wrong, right = sums.cpu()
    result = {}
    for name, (count, loss, entropy) in (("all", wrong + right), ("right", right), ("wrong", wrong)):
        if count > 0:
            mean, spread = float(loss / count), float(entropy / count)
            result[name] = {
                "n": float(count),
                "loss": round(mean, 6),
                "entropy": round(spread, 6),
                "difference": round(mean - spread, 6),
            }
    return result


def _rounded(values: Tensor) -> Any:
    return [_rounded(v) for v in values] if values.dim() > 1 else [float(f"{v:.6g}") for v in values.tolist()]


def alive(group: EdgeGroup, mixture: Sequence[Sequence[float]]) -> list[bool]:
    """Returns for every edge whether an operation other than ``none`` counts most."""
    none = group.operations.index(group.none) if group.none in group.operations else None
    return [max(range(len(row)), key=row.__getitem__) != none for row in mixture]


def width(group: EdgeGroup, living: Sequence[bool]) -> int:
    """Returns the number of living edges that come from an input."""
    return sum(on for on, (source, _) in zip(living, group.edges, strict=True) if source < group.inputs)


def depth(group: EdgeGroup, living: Sequence[bool]) -> int:
    """Returns the number of edges of the longest living path that begins at an input."""
    longest = dict.fromkeys(range(group.inputs), 0)
    for on, (source, target) in zip(living, group.edges, strict=True):
        if on and source in longest:
            longest[target] = max(longest.get(target, 0), longest[source] + 1)
    return max(longest.values())


@dataclass(frozen=True)
class Patterns:
    """The three patterns, tested for in one group over a whole search.

    Attributes:
        dropped: (epoch, edge) where ``none`` took an edge over.
        grown: (epoch, edge) where it lost one.
        growing: whether an edge that was dropped came back; the search then grows its wiring.
        pruning: whether edges were dropped and none came back.
        input_rate: share of (epoch, edge) alive among edges from inputs.
        intermediate_rate: likewise among the others.
        edges: alive at the end.
    """

    dropped: tuple[tuple[int, int], ...]
    grown: tuple[tuple[int, int], ...]
    growing: bool
    pruning: bool
    input_rate: float
    intermediate_rate: float
    edges: int

    @property
    def width_bias(self) -> float:
        """How much more often input edges live than intermediate ones; above 0, width is preferred over depth."""
        return self.input_rate - self.intermediate_rate

    @property
    def catastrophic(self) -> bool:
        """Whether no edge is selected at the end."""
        return self.edges == 0


def patterns(group: EdgeGroup, mixtures: Sequence[Sequence[Sequence[float]]]) -> Patterns | None:
    """Returns the patterns of a search.

    Args:
        mixtures: after every epoch, ``(edges, operations)``.

    Returns:
        None where the group has no operation ``none``, or nothing was recorded.
    """
    if group.none not in group.operations or not mixtures:
        return None
    history = [alive(group, mixture) for mixture in mixtures]
    dropped, grown = [], []
    for epoch in range(1, len(history)):
        for edge, (before, now) in enumerate(zip(history[epoch - 1], history[epoch], strict=True)):
            if before and not now:
                dropped.append((epoch, edge))
            elif now and not before:
                grown.append((epoch, edge))
    first_drop: dict[int, int] = {}
    for epoch, edge in dropped:
        first_drop.setdefault(edge, epoch)
    # An edge that starts dead and comes alive has grown too: it was dropped within the first epoch.
    came_back = [edge for epoch, edge in grown if edge not in first_drop or epoch > first_drop[edge]]
    inputs = [i for i, (source, _) in enumerate(group.edges) if source < group.inputs]
    inner = [i for i in range(len(group.edges)) if i not in inputs]

    def rate(edges: list[int]) -> float:
        return sum(row[i] for row in history for i in edges) / (len(history) * len(edges)) if edges else 0.0

    return Patterns(
        tuple(dropped),
        tuple(grown),
        growing=bool(came_back),
        pruning=bool(dropped) and not came_back,
        input_rate=rate(inputs),
        intermediate_rate=rate(inner),
        edges=sum(history[-1]),
    )


def statements(group: EdgeGroup, found: Patterns) -> list[str]:
    """Returns the patterns in words."""
    if found.growing:
        first = f"growing: edges came (back) to life {len(found.grown)} times after {len(found.dropped)} drops"
    elif found.pruning:
        first = f"pruning: {len(found.dropped)} drops, no edge came back"
    else:
        first = "neither growing nor pruning: no edge was dropped"
    bias = found.width_bias
    word = "width over depth" if bias > 0.05 else "depth over width" if bias < -0.05 else "neither width nor depth"
    second = (
        f"{word}: edges from inputs live {found.input_rate:.0%} of the time, the others {found.intermediate_rate:.0%}"
    )
    third = (
        "no edge is selected (catastrophic failure)"
        if found.catastrophic
        else f"edges are selected: {found.edges} of {len(group.edges)} at the end"
    )
    return [first, second, third]
