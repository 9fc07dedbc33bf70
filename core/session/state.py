"""How far a search is: what was completed, what failed, and the best so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import Protocol

from nichenas.core.trial import Trial
from nichenas.core.trial import mean_trial

Rank = tuple[tuple[float, float], float]  # fidelity's cost and score; then minus the number
_NONE = (0.0, float("-inf"))
_LOWEST: Rank = ((float("-inf"), float("-inf")), float("-inf"))


@dataclass
class SearchState:
    """How far a search is; memory does not grow with the number of trials.

    Attributes:
        keep: how many of the best architectures are kept. Those that were measured at a higher fidelity are better
            than all others, since scores of different fidelities cannot be compared. One that was measured again has
            the mean of its scores, and is not kept if one of these measurements failed.
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
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _least: Rank = _LOWEST

    @property
    def best(self) -> Trial | None:
        """The best trial; none where all failed."""
        top = self.top(1)
        return top[0] if top and self.best_score > float("-inf") else None

    @property
    def best_score(self) -> float:
        """Its score; minus infinity where all failed."""
        return max((kept.key for kept in self._kept.values()), default=_NONE)[1]

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
            if trial.proposal.repeat_of is not None:
                self._kept.pop(identity, None)
                self._update_least()
            return
        self.offer(trial, score, identity)

    def reset_best(self) -> None:
        """Forgets the best trials, but not how many there were: what follows cannot be compared with them."""
        self._kept.clear()
        self._update_least()

    def offer(self, trial: Trial, score: float, identity: str) -> None:
        """Keeps a trial if it is among the best; it is not counted."""
        held = self._kept.get(identity)
        remeasured = held is not None and len(held.trials) > 1 and held.key[0] == trial.proposal.fidelity.cost
        if trial.proposal.repeat_of is not None or remeasured:  # one more measurement does not outweigh a mean
            if held is not None:
                self._kept[identity] = held.with_repeat(trial, score)
                self._update_least()
            return
        stopped = trial.measurement is not None and trial.measurement.stopped
        rank = ((0.0 if stopped else trial.proposal.fidelity.cost, score), -trial.number)
        if rank <= (self._least if held is None else held.rank):
            return
        self._kept[identity] = _Kept(rank[0], (trial,), (score,))
        if len(self._kept) > self.keep:
            del self._kept[min(self._kept, key=lambda one: self._kept[one].rank)]
        self._update_least()

    def _update_least(self) -> None:
        """Notes the rank that another architecture must exceed to be kept."""
        full = len(self._kept) >= self.keep
        self._least = min(kept.rank for kept in self._kept.values()) if full else _LOWEST

    def top(self, n: int) -> list[Trial]:
        """Returns the best trials of different architectures, best first; the earlier of equals comes first."""
        best = sorted(self._kept.values(), key=lambda kept: kept.rank, reverse=True)[:n]
        return [kept.trials[0] if len(kept.trials) == 1 else mean_trial(kept.trials) for kept in best]


@dataclass(frozen=True)
class _Kept:
    """One of the best architectures.

    Attributes:
        key: fidelity's cost, and mean score.
        trials: all its measurements.
        scores: theirs.
    """

    key: tuple[float, float]
    trials: tuple[Trial, ...]
    scores: tuple[float, ...]

    @property
    def rank(self) -> Rank:
        """What architectures are sorted by, larger is better; the earlier of equals is."""
        return self.key, -self.trials[0].number

    def with_repeat(self, trial: Trial, score: float) -> _Kept:
        """Returns it with one more measurement."""
        scores = (*self.scores, score)
        return _Kept((self.key[0], sum(scores) / len(scores)), (*self.trials, trial), scores)


class Listener(Protocol):
    """Is told what a search does; for progress, curves and tests."""

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Called after every completed trial; ``replayed`` for those that came from the journal."""
        ...
