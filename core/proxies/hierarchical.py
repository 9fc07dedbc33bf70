"""EcoNAS's hierarchical proxy strategy: pools by finished segments of training (Zhou et al. 2020, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nichenas.core.domain import Proposal
from nichenas.core.domain import Settings
from nichenas.core.domain import Trial
from nichenas.core.proxies.schedule import SCHEDULES
from nichenas.core.proxies.schedule import SEGMENT
from nichenas.core.proxies.schedule import Rounds
from nichenas.core.space import Architecture
from pydantic import Field
from pydantic import model_validator


class HierarchicalOptions(Settings):
    """Options of the hierarchical schedule; the defaults are those of EcoNAS's code.

    Attributes:
        initial: architectures before the first cycle.
        parents: tournaments in each pool, in a cycle; every one has a child. An empty pool has none.
        promotions: how many of the best of each pool but the last go on, in a cycle.
        lifetime: cycles without training after which an architecture is dropped.
    """

    initial: int = Field(16, ge=1)
    parents: tuple[int, ...] = (6, 5, 5)
    promotions: tuple[int, ...] = (8, 4)
    lifetime: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> HierarchicalOptions:
        if len(self.parents) < 2 or min(self.parents) < 0 or self.parents[0] < 1:
            raise ValueError("parents: a number for each of two or more pools, that of the first at least 1")
        if len(self.promotions) != len(self.parents) - 1 or min(self.promotions) < 1:
            raise ValueError(f"promotions: {len(self.parents)} pools need {len(self.parents) - 1} numbers of 1 or more")
        return self


@dataclass
class _Member:
    """An architecture that is alive.

    Attributes:
        trial: its last.
        best: its best score in any segment.
        cycle: in which it was trained last.
    """

    trial: Trial
    best: float
    cycle: int

    @property
    def segment(self) -> int:
        return int(self.trial.proposal.tag[SEGMENT])


@SCHEDULES.register("hierarchical")
class Hierarchical(Rounds):
    """Pools of architectures with one, two, three finished segments; only those of a pool are compared.

    In every cycle the dead are dropped, the best of each pool but the last train another segment, and parents from
    all pools have children, which train the first segment. The children are the strategy's: mutants of the parents
    where it mutates, else whatever it proposes. A cycle begins when the one before is finished. One schedule of the
    learning rate spans all segments, and unlike in EcoNAS's code the optimizer keeps its state between them, so that a
    training in segments is the training in one go.
    """

    Options = HierarchicalOptions
    summary = "pools by finished segments of training, with promotions and ageing (EcoNAS, Zhou et al. 2020)"
    options: HierarchicalOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = -2  # the initial architectures are trained in the round before cycle 0
        self._members: dict[int, _Member] = {}  # by number of their last trial

    @property
    def segments(self) -> int:
        """How many parts a complete training has."""
        return len(self.options.parents)

    def end(self, segment: int) -> int:
        """Returns the epoch that a segment ends with."""
        return round(self.epochs * segment / self.segments)

    def pool(self, segment: int) -> list[_Member]:
        """Returns the living architectures with so many finished segments, best first."""
        found = [member for member in self._members.values() if member.segment == segment]
        return sorted(found, key=lambda member: (-member.best, member.trial.number))

    def next_round(self) -> list[Proposal]:
        """Returns the initial architectures, then the promotions and children of a cycle."""
        self.cycle += 1
        if self.cycle < 0:
            return [self.begin(proposal, self.end(1)) for proposal in self.strategy.ask(self.options.initial)]
        for number, member in list(self._members.items()):
            if self.cycle - member.cycle >= self.options.lifetime:
                del self._members[number]
                self._released.append(number)
        pools = [self.pool(segment) for segment in range(1, self.segments + 1)]
        jobs: list[Proposal] = []
        for segment, (pool, count) in enumerate(zip(pools, self.options.promotions, strict=False), 1):
            jobs += [self.go_on(member.trial, self.end(segment + 1)) for member in pool[:count]]
        parents = [
            self._tournament(pool)
            for pool, count in zip(pools, self.options.parents, strict=True)
            for _ in range(count)
            if pool
        ]
        # Where everybody died, or failed, it begins anew.
        children = self.strategy.children(parents) if parents else self.strategy.ask(self.options.initial)
        return jobs + [self.begin(child, self.end(1)) for child in children]

    def _tournament(self, pool: list[_Member]) -> Architecture:
        """Returns the best of a quarter of the pool and one more, drawn with replacement."""
        drawn = self.rng.integers(0, len(pool), len(pool) // 4 + 1)
        return pool[int(drawn.min())].trial.proposal.architecture

    def tell(self, trial: Trial) -> None:
        """Moves an architecture to the pool of its finished segments; one that failed is dropped."""
        super().tell(trial)
        before = trial.proposal.continues
        best = self.score(trial)
        if before is not None:
            best = max(best, self._members.pop(before).best)
        if self.settle(trial):
            self._members[trial.number] = _Member(trial, best, self.cycle)

    def diagnostics(self) -> dict[str, float]:
        """Returns the sizes of the pools, and the strategy's figures."""
        sizes = {f"pool/{segment}": float(len(self.pool(segment))) for segment in range(1, self.segments + 1)}
        return {**super().diagnostics(), **sizes}
