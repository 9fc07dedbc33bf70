"""Successive halving, in brackets and asynchronously."""

from __future__ import annotations

import bisect
from typing import Any

from pydantic import Field

from nichenas.core.schedulers.base import SCHEDULERS
from nichenas.core.schedulers.base import Scheduler
from nichenas.core.schedulers.base import SynchronousScheduler
from nichenas.core.schedulers.base import rung_of
from nichenas.core.settings import Settings
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class HalvingOptions(Settings):
    """Options of successive halving.

    Attributes:
        factor: one in so many is promoted, with so many times the epochs.
        rungs: how many fidelities there are; the last is complete.
        candidates: that a bracket begins with; by default ``factor ** (rungs - 1)``, so that one is left.
    """

    factor: int = Field(3, ge=2)
    rungs: int = Field(3, ge=2)
    candidates: int | None = Field(None, ge=2)


class AshaOptions(Settings):
    """Options of asynchronous successive halving.

    Attributes:
        factor: one in so many is promoted, with so many times the epochs.
        rungs: how many fidelities there are; the last is complete.
    """

    factor: int = Field(3, ge=2)
    rungs: int = Field(3, ge=2)


class _Growing(Scheduler):
    """Fidelities that grow by a factor."""

    options: HalvingOptions | AshaOptions

    @property
    def rungs(self) -> int:
        """How many rungs there are."""
        return self.options.rungs

    def milestone(self, rung: int) -> int:
        """Returns the epoch that a rung's trainings end with; 1 is the first rung."""
        return round(self.epochs / self.options.factor ** (self.options.rungs - rung))


@SCHEDULERS.register("halving")
class Halving(_Growing, SynchronousScheduler):
    """Brackets, one after another: all candidates train a little, the best share is promoted, and so on.

    A rung begins when the one before is finished.
    """

    Options = HalvingOptions
    summary = "successive halving in brackets (Jamieson and Talwalkar 2016)"
    options: HalvingOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._members: list[Trial] = []  # those told of the present rung that did not fail

    @property
    def candidates(self) -> int:
        """How many architectures a bracket begins with."""
        return self.options.candidates or self.options.factor ** (self.options.rungs - 1)

    def next_round(self) -> list[Proposal]:
        """Returns those of the present rung that are promoted, or a new bracket where it was the last."""
        last = rung_of(self._members[0]) if self._members else self.options.rungs
        ranked = sorted(self._members, key=lambda trial: (-self.score(trial), trial.number))
        kept = len(ranked) // self.options.factor if last < self.options.rungs else 0
        # Failures may have left too few for a share of them; one is always promoted.
        kept = max(kept, 1) if ranked and last < self.options.rungs else kept
        self._obsolete += [trial.number for trial in ranked[kept:]]
        self._members = []
        if kept:
            return [self.promote(trial, self.milestone(last + 1)) for trial in ranked[:kept]]
        return [self.start(proposal, self.milestone(1)) for proposal in self.strategy.ask(self.candidates)]

    def tell(self, trial: Trial) -> None:
        """Takes a trial into its rung."""
        super().tell(trial)
        if self.settle(trial):
            self._members.append(trial)


@SCHEDULERS.register("asha")
class Asha(_Growing):
    """Whoever is among the best share of its rung is promoted at once; else a new architecture begins.

    Nothing waits for a rung to be finished, so every worker always has something to do.
    """

    Options = AshaOptions
    summary = "asynchronous successive halving (ASHA, Li et al. 2020)"
    options: AshaOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of every rung, (score with its sign turned, number, trial), sorted.
        self._told: dict[int, list[tuple[float, int, Trial]]] = {n: [] for n in range(1, self.options.rungs + 1)}
        self._promoted: set[int] = set()

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns promotions from the highest rung that has any, and new architectures."""
        found: list[Proposal] = []
        while len(found) < n:
            proposal = self._promotion()
            if proposal is None:
                fresh = self.strategy.ask(1)
                if not fresh:
                    break
                proposal = self.start(fresh[0], self.milestone(1))
            found.append(proposal)
        return found

    def _promotion(self) -> Proposal | None:
        for rung in range(self.options.rungs - 1, 0, -1):
            told = self._told[rung]
            for _, number, trial in told[: len(told) // self.options.factor]:
                if number not in self._promoted:
                    self._promoted.add(number)
                    return self.promote(trial, self.milestone(rung + 1))
        return None

    def tell(self, trial: Trial) -> None:
        """Takes a trial into its rung, best first."""
        if not self.settle(trial):
            return
        rung = self._told[rung_of(trial)]
        bisect.insort(rung, (-self.score(trial), trial.number, trial), key=lambda entry: entry[:2])
        if trial.proposal.rung == self.options.rungs:
            self._obsolete.append(trial.number)
