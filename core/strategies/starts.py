"""Starts of a search: given architectures and random ones, proposed before a strategy's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence

from nichenas.core.space import Architecture
from nichenas.core.strategies.base import ProducesOffspring
from nichenas.core.strategies.base import Strategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

TRIES = 100  # draws in a row that may be known before there are no more random starts
RANDOM = "random"


class StartedStrategy(Strategy):
    """Proposes starts, and then what another strategy proposes; that one is told of everything.

    Args:
        strategy: fresh.
        known: well-known architectures, by name; they come first.
        random: how many uniform draws follow them. A draw that is a start already is drawn again.
    """

    def __init__(self, strategy: Strategy, known: Mapping[str, Architecture], random: int) -> None:
        super().__init__(strategy.space, strategy.objectives, strategy.seed, strategy.options, strategy.weights)
        self.strategy = strategy
        self._queue = deque(Proposal(architecture, tag={"start": name}) for name, architecture in known.items())
        seen = {self.space.canonical(architecture).key for architecture in known.values()}
        for _ in range(random):
            for _ in range(TRIES):
                drawn = self.space.sample(self.rng)
                key = self.space.canonical(drawn).key
                if key not in seen:
                    seen.add(key)
                    self._queue.append(Proposal(drawn, tag={"start": RANDOM}))
                    break

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns starts while there are any; a batch may hold both."""
        found = [self._queue.popleft() for _ in range(min(n, len(self._queue)))]
        return found + self.strategy.ask(n - len(found)) if len(found) < n else found

    def tell(self, trial: Trial) -> None:
        """Tells the strategy, which did not propose the starts."""
        if "start" in trial.proposal.tag:
            self.strategy.observe(trial)
        else:
            self.strategy.tell(trial)

    def score(self, trial: Trial) -> float:
        """Returns the strategy's score."""
        return self.strategy.score(trial)

    def diagnostics(self) -> dict[str, float]:
        """Returns those of the strategy."""
        return self.strategy.diagnostics()


class StartedBreeder(StartedStrategy, ProducesOffspring):
    """The same over a strategy that varies given parents."""

    def offspring(self, parents: Sequence[Architecture]) -> list[Proposal]:
        """Returns the strategy's."""
        assert isinstance(self.strategy, ProducesOffspring)
        return self.strategy.offspring(parents)


def with_starts(strategy: Strategy, known: Mapping[str, Architecture], random: int) -> Strategy:
    """Returns a strategy that begins with starts; the same strategy where there are none."""
    if not known and not random:
        return strategy
    cls = StartedBreeder if isinstance(strategy, ProducesOffspring) else StartedStrategy
    return cls(strategy, known, random)
