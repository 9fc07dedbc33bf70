"""What every search strategy is: asked for proposals, told of trials, and nothing else.

A strategy is pure: it does no training and no I/O, and all its randomness comes from its own generator, made
from the seed. It is therefore rebuilt exactly by asking and telling again what it was asked and told before.
``ask`` may be called several times before the first ``tell``; trials are told in the order of their numbers
unless the run gives that up. A failed trial is told like any other and must not be proposed as a success.

One-shot searches ask for more (:mod:`nichenas.core.strategies.one_shot`), and so do schedulers that choose parents
(:class:`ProducesOffspring`).
"""

from __future__ import annotations

import math
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from nichenas.core.objectives import Objective
from nichenas.core.objectives import score
from nichenas.core.registry import Registry
from nichenas.core.seeds import numpy_generator
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class Strategy(ABC):
    """Base of all strategies.

    Args:
        space: what is searched.
        objectives: what is measured; the first is the primary one.
        seed: of the run.
        options: the strategy's own settings.
        weights: of the objectives in the score, by name; without them the primary objective alone counts.

    Attributes:
        Options: schema of the strategy's own settings.
        summary: one line for lists, with the source.
        random_starts: how many architectures are measured before the strategy's own, well-known ones and then random
            ones, unless the search says another number.
    """

    random_starts: ClassVar[int] = 0
    Options: ClassVar[type[Settings]] = Settings
    summary: ClassVar[str] = ""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        seed: int,
        options: Any = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.seed = seed
        self.options = options if options is not None else self.Options()
        self.weights = weights
        self.rng = numpy_generator(seed, f"strategy {type(self).__name__}")

    @abstractmethod
    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns up to ``n`` proposals; fewer, or none, only when there is nothing left to propose."""

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """Records a completed trial."""

    def observe(self, trial: Trial) -> None:
        """Records a completed trial of an architecture that this strategy did not propose; by default like its own."""
        self.tell(trial)

    def score(self, trial: Trial) -> float:
        """Returns one number for a trial, larger is better; minus infinity for a failure."""
        if trial.measurement is None:
            return -math.inf
        return score(self.objectives, trial.measurement.values, self.weights)

    def diagnostics(self) -> dict[str, float]:
        """Returns figures about the strategy's state that are worth a curve, such as its entropy."""
        return {}


class ProducesOffspring(ABC):
    """A strategy that can vary given parents, for schedulers that choose these."""

    @abstractmethod
    def offspring(self, parents: Sequence[Architecture]) -> list[Proposal]:
        """Returns a proposal for each parent."""


STRATEGIES: Registry[type[Strategy]] = Registry("strategy", "nichenas.strategies", Strategy)
