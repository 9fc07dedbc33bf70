"""How far a search is: what was completed, what failed, and the best so far."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import Protocol

from nichenas.core.trial import Trial

_NONE = (0.0, float("-inf"))


@dataclass
class SearchState:
    """How far a search is; memory does not grow with the number of trials.

    Attributes:
        keep: how many of the best architectures are kept. Those that were measured at a higher fidelity are better
            than all others, since scores of different fidelities cannot be compared.
        completed: trials.
        failures: how many trials failed, by reason.
        details: of the first failure of each reason.
        seconds: spent on searching, over all sessions of the run.
        epochs: trained by all trials; 0 where the domain does not count them.
        training_seconds: that measurements took, or would have taken where they are looked up.
    """

    keep: int = 10
    completed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    epochs: int = 0
    training_seconds: float = 0.0
    best: Trial | None = None
    best_score: float = float("-inf")
    _best_key: tuple[float, float] = _NONE
    _heap: list[tuple[tuple[float, float], int, str, Trial]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return sum(self.failures.values())

    def record(self, trial: Trial, score: float, identity: str) -> None:
        """Counts a completed trial and offers it; ``identity`` is the key of its canonical form."""
        self.completed += 1
        if trial.failed:
            self.failures[trial.failure or "error"] += 1
            self.details.setdefault(trial.failure or "error", trial.detail)
            return
        self.offer(trial, score, identity)

    def reset_best(self) -> None:
        """Forgets the best trials, but not how many there were: what follows cannot be compared with them."""
        self.best, self.best_score, self._best_key = None, float("-inf"), _NONE
        self._heap.clear()

    def offer(self, trial: Trial, score: float, identity: str) -> None:
        """Keeps a trial if it is among the best; it is not counted."""
        key = (trial.proposal.fidelity.cost, score)
        if key > self._best_key and score > float("-inf"):
            self.best, self.best_score, self._best_key = trial, score, key
        entry = (key, -trial.number, identity, trial)
        same = next((i for i, kept in enumerate(self._heap) if kept[2] == identity), None)
        if same is not None:
            self._heap[same] = max(self._heap[same], entry, key=lambda e: e[:2])
            heapq.heapify(self._heap)
        elif len(self._heap) < self.keep:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def top(self, n: int) -> list[Trial]:
        """Returns the best trials of different architectures, best first; the earlier of equals comes first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda e: e[:2], reverse=True)[:n]]


class Listener(Protocol):
    """Is told what a search does; for progress, curves and tests."""

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Called after every completed trial; ``replayed`` for those that came from the journal."""
        ...
