"""What a schedule is: it decides at which fidelity a strategy's architectures are measured, and which go on training.

A schedule stands between the driver and any strategy of the trial driver. The strategy says which architectures are
worth a look; the schedule measures them at a first, cheap fidelity, tells the strategy of that, and lets some go on.
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

from nichenas.core.domain import Fidelity
from nichenas.core.domain import Proposal
from nichenas.core.domain import Settings
from nichenas.core.domain import Trial
from nichenas.core.errors import ConfigError
from nichenas.core.registry import Registry
from nichenas.core.seeds import numpy_generator
from nichenas.core.strategies.base import Strategy

SEGMENT = "segment"  # in the tag of a proposal: which part of its training this is, from 1


class Schedule(ABC):
    """Base of all schedules.

    Args:
        strategy: fresh.
        complete: fidelity of a complete measurement.
        epochs: of a complete measurement, whole.
        seed: of the run.
        options: the schedule's own settings.

    Raises:
        ConfigError: when a complete training is too short for its parts.

    Attributes:
        Options: schema of the schedule's own settings.
        summary: one line for lists, with the source.
        continues: whether it lets trials go on, so that the domain must be able to.
    """

    Options: ClassVar[type[Settings]] = Settings
    summary: ClassVar[str] = ""
    continues: ClassVar[bool] = True

    def __init__(self, strategy: Strategy, complete: Fidelity, epochs: int, seed: int, options: Any = None) -> None:
        self.strategy, self.complete, self.epochs = strategy, complete, epochs
        self.options = options if options is not None else self.Options()
        self.rng = numpy_generator(seed, f"schedule {type(self).__name__}")
        self._released: list[int] = []
        ends = self.ends
        if ends[0] < 1 or any(b <= a for a, b in itertools.pairwise(ends)):
            raise ConfigError(
                f"search.schedule: {len(ends)} parts of a training of {epochs} epochs would end after "
                f"{', '.join(map(str, ends))}; they need an epoch each: give it more epochs, or fewer parts"
            )

    @property
    def segments(self) -> int:
        """How many parts a complete training has."""
        return 1

    def end(self, segment: int) -> int:
        """Returns the epoch that a part ends with; 1 is the first part."""
        return self.epochs

    @property
    def ends(self) -> list[int]:
        """The epochs that the parts end with."""
        return [self.end(segment) for segment in range(1, self.segments + 1)]

    def fidelity(self, end: int) -> Fidelity:
        """Returns the fidelity of a training up to an epoch."""
        share = self.complete.epochs if end == self.epochs else self.complete.epochs * end / self.epochs
        return dataclasses.replace(self.complete, epochs=share)

    @abstractmethod
    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns up to ``n`` proposals; fewer while the rest depends on trials that are out."""

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """Takes in a finished trial."""

    def score(self, trial: Trial) -> float:
        """Returns the strategy's score of a trial; only those of trials of one fidelity can be compared."""
        return self.strategy.score(trial)

    def diagnostics(self) -> dict[str, float]:
        """Returns the strategy's figures and the schedule's own."""
        return self.strategy.diagnostics()

    def released(self) -> list[int]:
        """Returns the trials, since the last call, whose weights nobody will need again."""
        found, self._released = self._released, []
        return found

    def settle(self, trial: Trial) -> bool:
        """Tells the strategy of a first part, and releases weights; returns whether the trial may go on."""
        if trial.proposal.continues is None:
            self.strategy.tell(trial)
        else:
            self._released.append(trial.proposal.continues)
        if trial.failed:
            self._released.append(trial.number)
        return not trial.failed

    def begin(self, proposal: Proposal, end: int) -> Proposal:
        """Returns a strategy's proposal as the first part of a training, up to an epoch."""
        return self._part(proposal, end, 1, None, 0.0)

    def go_on(self, trial: Trial, end: int) -> Proposal:
        """Returns the next part of a trial's training, up to an epoch."""
        segment = int(trial.proposal.tag[SEGMENT]) + 1
        return self._part(trial.proposal, end, segment, trial.number, trial.proposal.fidelity.epochs)

    def _part(self, proposal: Proposal, end: int, segment: int, continues: int | None, begins: float) -> Proposal:
        return dataclasses.replace(
            proposal,
            fidelity=self.fidelity(end),
            continues=continues,
            horizon=self.complete.epochs,
            begins=begins,
            tag={**proposal.tag, SEGMENT: segment},
        )


class Rounds(Schedule):
    """A schedule in rounds: one begins when the one before is finished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queue: deque[Proposal] = deque()
        self._out = 0

    @abstractmethod
    def next_round(self) -> list[Proposal]:
        """Returns the proposals of the next round; none when there is nothing left."""

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns proposals of the present round; none when all of them are out."""
        if not self._queue and not self._out:
            self._queue = deque(self.next_round())
        found = [self._queue.popleft() for _ in range(min(n, len(self._queue)))]
        self._out += len(found)
        return found

    def tell(self, trial: Trial) -> None:
        """Counts a finished trial of the present round."""
        self._out -= 1


SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


@SCHEDULES.register("full")
class Flat(Schedule):
    """Measures every proposal once, completely."""

    summary = "every architecture is measured once, at the same setting"
    continues = False

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns the strategy's proposals."""
        return [dataclasses.replace(proposal, fidelity=self.complete) for proposal in self.strategy.ask(n)]

    def tell(self, trial: Trial) -> None:
        """Tells the strategy."""
        self.strategy.tell(trial)
