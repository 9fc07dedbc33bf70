"""What a scheduler is: it decides at which fidelity a strategy's architectures are measured, and which train longer.

A scheduler stands between the trial search and any strategy. The strategy says which architectures are worth a look;
the scheduler measures them at a first, cheap fidelity (the first rung), tells the strategy of that, and promotes some.
The strategy is told of first measurements alone: those are of one fidelity and can be compared.
"""

from __future__ import annotations

import dataclasses
import itertools
from abc import ABC
from abc import abstractmethod
from collections import deque
from typing import Any
from typing import ClassVar

from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import Fidelity
from nichenas.core.registry import Registry
from nichenas.core.seeds import numpy_generator
from nichenas.core.settings import Settings
from nichenas.core.strategies.base import Strategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


def rung_of(trial: Trial) -> int:
    """Returns which part of its training a trial is, from 1."""
    return trial.proposal.rung or 1


class Scheduler(ABC):
    """Base of all schedulers.

    Args:
        strategy: fresh.
        complete: fidelity of a complete measurement.
        epochs: of a complete measurement, whole.
        seed: of the run.
        options: the scheduler's own settings.

    Raises:
        ConfigError: when a complete training is too short for its parts.

    Attributes:
        Options: schema of the scheduler's own settings.
        summary: one line for lists, with the source.
        resumes_trials: whether it continues trainings, so that the domain must be able to.
    """

    Options: ClassVar[type[Settings]] = Settings
    summary: ClassVar[str] = ""
    resumes_trials: ClassVar[bool] = True

    def __init__(self, strategy: Strategy, complete: Fidelity, epochs: int, seed: int, options: Any = None) -> None:
        self.strategy, self.complete, self.epochs = strategy, complete, epochs
        self.options = options if options is not None else self.Options()
        self.rng = numpy_generator(seed, f"schedule {type(self).__name__}")
        self._obsolete: list[int] = []
        milestones = self.milestones
        if milestones[0] < 1 or any(b <= a for a, b in itertools.pairwise(milestones)):
            raise ConfigError(
                f"search.schedule: {len(milestones)} parts of a training of {epochs} epochs would end after "
                f"{', '.join(map(str, milestones))}; they need an epoch each: give it more epochs, or fewer parts"
            )

    @property
    def rungs(self) -> int:
        """How many parts a complete training has."""
        return 1

    def milestone(self, rung: int) -> int:
        """Returns the epoch that a part ends with; 1 is the first part."""
        return self.epochs

    @property
    def milestones(self) -> list[int]:
        """The epochs that the parts end with."""
        return [self.milestone(rung) for rung in range(1, self.rungs + 1)]

    def fidelity(self, end: int) -> Fidelity:
        """Returns the fidelity of a training up to an epoch."""
        share = self.complete["epochs"] if end == self.epochs else self.complete["epochs"] * end / self.epochs
        return self.complete.replace(epochs=share)

    @abstractmethod
    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns up to ``n`` proposals; fewer while the rest depends on pending trials."""

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """Records a completed trial."""

    def score(self, trial: Trial) -> float:
        """Returns the strategy's score of a trial; only those of trials of one fidelity can be compared."""
        return self.strategy.score(trial)

    def diagnostics(self) -> dict[str, float]:
        """Returns the strategy's figures and the schedule's own."""
        return self.strategy.diagnostics()

    def obsolete_checkpoints(self) -> list[int]:
        """Returns the trials, since the last call, whose checkpoints nobody will need again."""
        found, self._obsolete = self._obsolete, []
        return found

    def settle(self, trial: Trial) -> bool:
        """Tells the strategy of a first rung, notes obsolete checkpoints; returns whether the trial may be promoted."""
        if trial.proposal.parent is None:
            self.strategy.tell(trial)
        else:
            self._obsolete.append(trial.proposal.parent)
        if trial.failed:
            self._obsolete.append(trial.number)
        return not trial.failed

    def discard(self, trial: Trial) -> None:
        """Notes that a trial will not be promoted, so that its checkpoint is obsolete."""
        self._obsolete.append(trial.number)

    def start(self, proposal: Proposal, end: int) -> Proposal:
        """Returns a strategy's proposal as the first part of a training, up to an epoch."""
        return self._part(proposal, end, 1, None, 0.0)

    def promote(self, trial: Trial, end: int) -> Proposal:
        """Returns the next part of a trial's training, up to an epoch."""
        rung = rung_of(trial) + 1
        return self._part(trial.proposal, end, rung, trial.number, trial.proposal.fidelity["epochs"])

    def _part(self, proposal: Proposal, end: int, rung: int, parent: int | None, start: float) -> Proposal:
        return dataclasses.replace(
            proposal,
            fidelity=self.fidelity(end),
            parent=parent,
            horizon=self.complete["epochs"],
            start=start,
            rung=rung,
        )


class SynchronousScheduler(Scheduler):
    """A scheduler in rounds: one starts when the one before is finished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queue: deque[Proposal] = deque()
        self._pending = 0

    @abstractmethod
    def next_round(self) -> list[Proposal]:
        """Returns the proposals of the next round; none when there is nothing left."""

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns proposals of the present round; none when all of them are pending."""
        if not self._queue and not self._pending:
            self._queue = deque(self.next_round())
        found = [self._queue.popleft() for _ in range(min(n, len(self._queue)))]
        self._pending += len(found)
        return found

    def tell(self, trial: Trial) -> None:
        """Counts a finished trial of the present round."""
        self._pending -= 1


SCHEDULERS: Registry[type[Scheduler]] = Registry("schedule", "nichenas.schedulers", Scheduler)


@SCHEDULERS.register("full")
class SingleFidelity(Scheduler):
    """Measures every proposal once, completely."""

    summary = "every architecture is measured once, at the same setting"
    resumes_trials = False

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns the strategy's proposals."""
        return [dataclasses.replace(proposal, fidelity=self.complete) for proposal in self.strategy.ask(n)]

    def tell(self, trial: Trial) -> None:
        """Tells the strategy."""
        self.strategy.tell(trial)
