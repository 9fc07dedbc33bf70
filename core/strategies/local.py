"""Local search: first-improvement hill climbing over one-choice neighbours, with restarts (White et al. 2021)."""

from __future__ import annotations

import math

from nichenas.core.space import Architecture
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


@STRATEGIES.register("local")
class LocalSearch(OneShotStrategy):
    """Tries the neighbours of the current architecture in random order and moves to the first better one.

    When no neighbour is left, it restarts from a random architecture. Nothing is proposed twice.
    """

    summary = "hill climbing over one-choice neighbours with restarts (White et al. 2021)"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._queue: list[Architecture] = []
        self._seen: set[str] = set()
        self._current = -math.inf
        self._climb = 0  # which climb this is; trials of an earlier one cannot move it
        self._out = 0  # proposals of this climb that were not told yet

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns unseen neighbours, or the start of another climb."""
        proposals: list[Proposal] = []
        while len(proposals) < n:
            architecture = self._next_neighbour() or self._start()
            if architecture is None:
                break
            self._seen.add(self.space.canonical(architecture).key)
            self._out += 1
            proposals.append(Proposal(architecture, tag={"climb": self._climb}))
        return proposals

    def tell(self, trial: Trial) -> None:
        """Moves to the trial if it belongs to the present climb and is better."""
        if trial.proposal.tag.get("climb") != self._climb:
            return
        self._out -= 1
        self._move(trial)

    def observe(self, trial: Trial) -> None:
        """Climbs from a start that is better than where the search is."""
        self._seen.add(self.space.canonical(trial.proposal.architecture).key)
        self._move(trial)

    def _move(self, trial: Trial) -> None:
        if self.score(trial) > self._current:
            self._current = self.score(trial)
            self._queue = self.space.neighbours(trial.proposal.architecture)
            self.rng.shuffle(self._queue)  # type: ignore[arg-type]

    def reset_history(self) -> None:
        """Lets everything be proposed again, and begins a new climb: scores of the present one are out of date."""
        self._seen.clear()
        self._queue, self._out = [], 0

    def _next_neighbour(self) -> Architecture | None:
        while self._queue:
            candidate = self._queue.pop()
            if self.space.canonical(candidate).key not in self._seen:
                return candidate
        return None

    def _start(self) -> Architecture | None:
        """Returns a random architecture.

        It starts a new climb or, while trials of this one are pending, is one more start that competes with them.
        """
        if self._out == 0:
            self._climb += 1
            self._current = -math.inf
        for _ in range(1000):
            candidate = self.space.sample(self.rng)
            if self.space.canonical(candidate).key not in self._seen:
                return candidate
        return None
