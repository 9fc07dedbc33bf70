"""What every search strategy is: asked for proposals, told of trials, and nothing else.

A strategy is pure: it does no training and no I/O, and all its randomness comes from its own generator, made
from the seed. It is therefore rebuilt exactly by asking and telling again what it was asked and told before.
``ask`` may be called several times before the first ``tell``; trials are told in the order of their numbers
unless the run gives that up. A failed trial is told like any other and must not be proposed as a success.

A one-shot search asks for more: architectures to train shared weights with (``sample``), those to look at when a
stage ends (``candidates``), and what a later stage should know of an architecture that it extends (``remember``,
``begin``). The defaults serve any strategy.
"""

from __future__ import annotations

import math
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from nichenas.core.domain import Proposal
from nichenas.core.domain import Settings
from nichenas.core.domain import Trial
from nichenas.core.objectives import Objective
from nichenas.core.objectives import score
from nichenas.core.registry import Registry
from nichenas.core.seeds import numpy_generator
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from torch import Tensor


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
    """

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
        """Takes in a finished trial."""

    def children(self, parents: Sequence[Architecture]) -> list[Proposal]:
        """Returns a proposal for each parent, for schedules that choose parents; by default whatever comes next."""
        return self.ask(len(parents))

    def released(self) -> list[int]:
        """Returns trials whose weights are no longer needed; a plain strategy continues none."""
        return []

    # For one-shot searches

    def begin(self, memories: Sequence[Mapping[str, Tensor]]) -> None:  # noqa: B027  (most need nothing)
        """Called once before anything else where the space extends prefixes.

        Args:
            memories: what :meth:`remember` of the stage before returned, one a prefix of the space.
        """

    def remember(self, proposal: Proposal) -> Mapping[str, Tensor]:
        """Returns what the strategy of the next stage should know of one of this strategy's architectures."""
        return {}

    def sample(self, count: int, seed: int) -> list[Architecture]:
        """Returns architectures to train shared weights with; no proposals, nothing is remembered of them.

        By default uniform draws from the space (as single-path one-shot does, Guo et al. 2020).

        Args:
            seed: decides the draws, with what the strategy was told so far.
        """
        rng = numpy_generator(seed, "samples")
        return [self.space.sample(rng) for _ in range(count)]

    def forget(self) -> None:  # noqa: B027  (most need nothing)
        """Called when shared weights have changed: what was measured before may be worth measuring again."""

    def candidates(self, count: int, best: Sequence[Proposal]) -> list[Proposal]:
        """Returns what is to be measured once more when a stage ends, to choose from.

        Args:
            best: different architectures of the stage, best first; by default these, and new proposals if they
                are too few.
        """
        found = list(best[:count])
        return found + self.ask(count - len(found)) if len(found) < count else found

    def score(self, trial: Trial) -> float:
        """Returns one number for a trial, larger is better; minus infinity for a failure."""
        if trial.measurement is None:
            return -math.inf
        return score(self.objectives, trial.measurement.values, self.weights)

    def diagnostics(self) -> dict[str, float]:
        """Returns figures about the strategy's state that are worth a curve, such as its entropy."""
        return {}


STRATEGIES: Registry[type[Strategy]] = Registry("strategy")
