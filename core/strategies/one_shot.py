"""What a one-shot search asks of a strategy beside proposals; the defaults serve any that remembers no scores."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from torch import Tensor

from nichenas.core.seeds import numpy_generator
from nichenas.core.space import Architecture
from nichenas.core.strategies.base import Strategy
from nichenas.core.trial import Proposal


class OneShotStrategy(Strategy):
    """A strategy that can be used with weights which all architectures share.

    Those weights change all the time, so what was measured before is out of date (:meth:`reset_history`). In a search
    of several stages each has a strategy of its own, on a space that extends prefixes.
    """

    def import_state(self, memories: Sequence[Mapping[str, Tensor]]) -> None:
        """Called once before anything else where the space extends prefixes.

        Args:
            memories: what :meth:`export_state` of the stage before returned, one a prefix of the space.
        """

    def export_state(self, proposal: Proposal) -> Mapping[str, Tensor]:
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

    def reset_history(self) -> None:
        """Called when shared weights have changed: what was measured before may be worth measuring again."""

    def candidates(self, count: int, best: Sequence[Proposal]) -> list[Proposal]:
        """Returns what is to be measured once more when a stage ends, to choose from.

        Args:
            best: different architectures of the stage, best first; by default these, and new proposals if they
                are too few.
        """
        found = list(best[:count])
        return found + self.ask(count - len(found)) if len(found) < count else found
