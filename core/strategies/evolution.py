"""Regularised evolution with ageing (Real et al. 2019, algorithm 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pydantic import Field

from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.base import ProducesOffspring
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class EvolutionOptions(Settings):
    """Options of regularised evolution; the defaults suit budgets of a few hundred trials.

    Attributes:
        population: how many of the latest trials are alive.
        tournament: how many of them compete to be a parent.
        mutations: choices that a child changes.
        deduplicate: mutate further while the child is known, at most 100 times.
    """

    population: int = Field(50, ge=2)
    tournament: int = Field(10, ge=1)
    mutations: int = Field(1, ge=1)
    deduplicate: bool = True


@STRATEGIES.register("evolution")
class Evolution(OneShotStrategy, ProducesOffspring):
    """The oldest dies, the best of a random sample has a mutated child."""

    Options = EvolutionOptions
    summary = "regularised evolution with ageing (Real et al. 2019)"
    options: EvolutionOptions

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._alive: deque[tuple[Architecture, float]] = deque(maxlen=self.options.population)
        self._asked = 0
        self._observed = 0
        self._seen: set[str] = set()

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns random architectures until the first population is out, then children."""
        return [Proposal(self._propose()) for _ in range(n)]

    def offspring(self, parents: Sequence[Architecture]) -> list[Proposal]:
        """Returns a mutant of each parent."""
        return [Proposal(self._unseen(self._mutant(parent))) for parent in parents]

    def tell(self, trial: Trial) -> None:
        """Lets a trial live; the oldest dies when there are too many. Failures live too, with the worst score."""
        self._alive.append((trial.proposal.architecture, self.score(trial)))

    def observe(self, trial: Trial) -> None:
        """Lets a start live; it takes the place of a random member of the first population."""
        self._observed += 1
        self._seen.add(self.space.canonical(trial.proposal.architecture).key)
        self.tell(trial)

    def reset_history(self) -> None:
        """Lets everything be proposed again."""
        self._seen.clear()

    def _propose(self) -> Architecture:
        self._asked += 1
        return self._unseen(self._make())

    def _mutant(self, parent: Architecture) -> Architecture:
        return self.space.mutate(parent, self.rng, self.options.mutations)

    def _unseen(self, child: Architecture) -> Architecture:
        """Returns a child, mutated further while it is known."""
        for _ in range(100):
            key = self.space.canonical(child).key
            if not self.options.deduplicate or key not in self._seen:
                break
            child = self._mutant(child)
        self._seen.add(self.space.canonical(child).key)
        return child

    def _make(self) -> Architecture:
        if self._asked + self._observed <= self.options.population or not self._alive:
            return self.space.sample(self.rng)
        size = min(self.options.tournament, len(self._alive))
        picked = self.rng.choice(len(self._alive), size=size, replace=False)
        return self._mutant(max((self._alive[int(i)] for i in picked), key=lambda member: member[1])[0])
