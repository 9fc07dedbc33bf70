"""A sample of random architectures, each to be measured at several settings."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.objectives import score
from nichenas.core.seeds import numpy_generator
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

TRIES = 100  # draws for each architecture that is asked for before a small space is taken to be exhausted
PURPOSE = "zoo"  # of the random numbers; the sample's first name, kept so that a study draws what it always drew


def sample_architectures(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Returns different random architectures, fewer where the space has not as many.

    A larger sample begins with the smaller ones of the same seed.
    """
    rng = numpy_generator(seed, PURPOSE)
    found: dict[str, Architecture] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        architecture = space.sample(rng)
        found.setdefault(space.canonical(architecture).key, architecture)
    return list(found.values())


class StudyPlan:
    """Proposes every architecture at every setting, one architecture after another; it searches nothing.

    So an interrupted study holds complete rows, and a larger one continues a smaller one.

    Args:
        settings: fidelity of every setting by name, in the order of measuring.
    """

    def __init__(
        self, architectures: Sequence[Architecture], settings: Mapping[str, Fidelity], objective: Objective
    ) -> None:
        self._objective = objective
        self._left = [
            Proposal(architecture, fidelity, tag={"member": member, "setting": name})
            for member, architecture in reversed(list(enumerate(architectures)))
            for name, fidelity in reversed(list(settings.items()))
        ]

    def __len__(self) -> int:
        """How many trainings are left to propose."""
        return len(self._left)

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns the next proposals."""
        return [self._left.pop() for _ in range(min(n, len(self._left)))]

    def tell(self, trial: Trial) -> None:
        """Does nothing: no proposal depends on a trial."""

    def score(self, trial: Trial) -> float:
        """Returns the primary objective, larger is better; minus infinity for a failure."""
        if trial.measurement is None:
            return float("-inf")
        return score([self._objective], trial.measurement.values)

    def diagnostics(self) -> dict[str, float]:
        """Returns nothing."""
        return {}
