"""EcoNAS's hierarchical proxy strategy: pools by finished rungs of training (Zhou et al. 2020, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic import model_validator

from nichenas.core.schedulers.base import SCHEDULERS
from nichenas.core.schedulers.base import SynchronousScheduler
from nichenas.core.schedulers.base import rung_of
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.strategies.base import ProducesOffspring
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class HierarchicalOptions(Settings):
    """Options of the hierarchical schedule; the defaults are those of EcoNAS's code.

    Attributes:
        initial: architectures before the first cycle.
        parents: tournaments in each pool, in a cycle; every one has a child. An empty pool has none.
        promotions: how many of the best of each pool but the last are promoted, in a cycle.
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
        best: its best score in any rung.
        cycle: in which it was trained last.
    """

    trial: Trial
    best: float
    cycle: int

    @property
    def rung(self) -> int:
        return rung_of(self.trial)


@SCHEDULERS.register("hierarchical")
class Hierarchical(SynchronousScheduler):
    """Pools of architectures with one, two, three finished rungs; only those of a pool are compared.

    In every cycle the dead are dropped, the best of each pool but the last train another rung, and parents from
    all pools have children, which train the first rung. The children are the strategy's: mutants of the parents
    where it mutates, else whatever it proposes. A cycle begins when the one before is finished. One schedule of the
    learning rate spans all rungs, and unlike in EcoNAS's code the optimizer keeps its state between them, so that a
    training in rungs is the training in one go.
    """

    Options = HierarchicalOptions
    summary = "pools by finished rungs of training, with promotions and ageing (EcoNAS, Zhou et al. 2020)"
    options: HierarchicalOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = -2  # the initial architectures are trained in the round before cycle 0
        self._members: dict[int, _Member] = {}  # by number of their last trial

    @property
    def rungs(self) -> int:
        """How many parts a complete training has."""
        return len(self.options.parents)

    def milestone(self, rung: int) -> int:
        """Returns the epoch that a rung ends with."""
        return round(self.epochs * rung / self.rungs)

    def pool(self, rung: int) -> list[_Member]:
        """Returns the living architectures with so many finished rungs, best first."""
        found = [member for member in self._members.values() if member.rung == rung]
        return sorted(found, key=lambda member: (-member.best, member.trial.number))

    def next_round(self) -> list[Proposal]:
        """Returns the initial architectures, then the promotions and children of a cycle."""
        self.cycle += 1
        if self.cycle < 0:
            return [self.start(proposal, self.milestone(1)) for proposal in self.strategy.ask(self.options.initial)]
        for number, member in list(self._members.items()):
            if self.cycle - member.cycle >= self.options.lifetime:
                del self._members[number]
                self._obsolete.append(number)
        pools = [self.pool(rung) for rung in range(1, self.rungs + 1)]
        jobs: list[Proposal] = []
        for rung, (pool, count) in enumerate(zip(pools, self.options.promotions, strict=False), 1):
            jobs += [self.promote(member.trial, self.milestone(rung + 1)) for member in pool[:count]]
        parents = [
            self._tournament(pool)
            for pool, count in zip(pools, self.options.parents, strict=True)
            for _ in range(count)
            if pool
        ]
        # Where all died, or failed, it starts again.
        if parents and isinstance(self.strategy, ProducesOffspring):
            children = self.strategy.offspring(parents)
        else:
            children = self.strategy.ask(len(parents) or self.options.initial)
        return jobs + [self.start(child, self.milestone(1)) for child in children]

    def _tournament(self, pool: list[_Member]) -> Architecture:
        """Returns the best of a quarter of the pool and one more, drawn with replacement."""
        drawn = self.rng.integers(0, len(pool), len(pool) // 4 + 1)
        return pool[int(drawn.min())].trial.proposal.architecture

    def tell(self, trial: Trial) -> None:
        """Moves an architecture to the pool of its finished rungs; one that failed is dropped."""
        super().tell(trial)
        before = trial.proposal.parent
        best = self.score(trial)
        if before is not None:
            best = max(best, self._members.pop(before).best)
        if self.settle(trial):
            self._members[trial.number] = _Member(trial, best, self.cycle)

    def diagnostics(self) -> dict[str, float]:
        """Returns the sizes of the pools, and the strategy's figures."""
        sizes = {f"pool/{rung}": float(len(self.pool(rung))) for rung in range(1, self.rungs + 1)}
        return {**super().diagnostics(), **sizes}
