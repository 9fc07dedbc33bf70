"""Random search: the baseline that every other strategy must beat at equal budget."""

from __future__ import annotations

from nichenas.core.settings import Settings
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

TRIES = 1000  # draws in a row that may be known before the space counts as used up


class RandomOptions(Settings):
    """Options of random search.

    Attributes:
        deduplicate: never propose an architecture again (canonical forms are compared).
    """

    deduplicate: bool = True


@STRATEGIES.register("random")
class RandomSearch(OneShotStrategy):
    """Draws every choice uniformly."""

    Options = RandomOptions
    summary = "uniform draws without repetition; the baseline"
    options: RandomOptions

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._seen: set[str] = set()

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns ``n`` draws; fewer once the space is used up."""
        proposals: list[Proposal] = []
        for _ in range(n):
            for _ in range(TRIES):
                architecture = self.space.sample(self.rng)
                key = self.space.canonical(architecture).key
                if not self.options.deduplicate or key not in self._seen:
                    self._seen.add(key)
                    proposals.append(Proposal(architecture))
                    break
            else:
                break
        return proposals

    def reset_history(self) -> None:
        """Lets everything be proposed again."""
        self._seen.clear()

    def observe(self, trial: Trial) -> None:
        """Does not draw it again."""
        self._seen.add(self.space.canonical(trial.proposal.architecture).key)

    def tell(self, trial: Trial) -> None:
        """Random search learns nothing."""
