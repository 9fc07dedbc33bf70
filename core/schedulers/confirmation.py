"""Confirmation: what would be the best so far is measured again before anybody relies on it.

A single measurement of many is the best partly by luck. A trial that would be the incumbent is therefore repeated with
other randomness, counts with the mean of its measurements, and is told to the strategy only then. It remains a would-be
incumbent only as long as the mean holds up: once that is no better than the incumbent's, no further repeat is spent.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque

from nichenas.core.fidelity import Fidelity
from nichenas.core.schedulers.searcher import Searcher
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.core.trial import mean_trial


class Confirmation:
    """Repeats would-be incumbents of a strategy, or of a scheduler over one.

    Args:
        searcher: fresh.
        complete: the fidelity at which trials can be incumbents.
        repeats: the most further measurements of each, at least one.
    """

    def __init__(self, searcher: Searcher, complete: Fidelity, repeats: int) -> None:
        self.searcher, self.complete, self.repeats = searcher, complete, repeats
        self.best = -math.inf
        self._queue: deque[Proposal] = deque()
        self._open: dict[int, list[Trial]] = {}  # measurements of would-be incumbents, by number of the first
        self._confirmed = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns repeats that are due, and then what is searched."""
        found = [self._queue.popleft() for _ in range(min(n, len(self._queue)))]
        return found + self.searcher.ask(n - len(found)) if len(found) < n else found

    def tell(self, trial: Trial) -> None:
        """Holds a would-be incumbent back until it has been measured again."""
        repeats = trial.proposal.repeat_of
        if repeats is not None:
            group = self._open[repeats]
            group.append(trial)
            judged = mean_trial(group)
            if len(group) <= self.repeats and self.searcher.score(judged) > self.best:
                self._repeat(group)
            else:
                del self._open[repeats]
                self._settle(judged)
        elif self._is_complete(trial) and self.searcher.score(trial) > self.best:
            self._open[trial.number] = [trial]
            self._repeat([trial])
        else:
            self.searcher.tell(trial)

    def _repeat(self, group: list[Trial]) -> None:
        first = group[0]
        again = dataclasses.replace(first.proposal, parent=None, start=0.0, rung=None, horizon=None, tag={})
        self._queue.append(dataclasses.replace(again, repeat_of=first.number, repeat=len(group)))

    def _is_complete(self, trial: Trial) -> bool:
        measured = trial.measurement
        return measured is not None and not measured.stopped and trial.proposal.fidelity == self.complete

    def _settle(self, judged: Trial) -> None:
        score = self.searcher.score(judged)
        self._confirmed += score > self.best
        self.best = max(self.best, score)
        self.searcher.tell(judged)

    def score(self, trial: Trial) -> float:
        """Returns the strategy's score."""
        return self.searcher.score(trial)

    def diagnostics(self) -> dict[str, float]:
        """Returns those of the search, and how many incumbents were confirmed."""
        return {**self.searcher.diagnostics(), "confirmed": float(self._confirmed)}
