"""A zoo of random architectures, each to be measured at several settings."""

from __future__ import annotations

from collections.abc import Mapping

from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.objectives import score
from nichenas.core.seeds import numpy_generator
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

TRIES = 100  # draws for each wanted architecture before a small space is taken to be exhausted


def draw_zoo(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Returns different random architectures, fewer where the space has not as many; more go on from the same ones."""
    rng = numpy_generator(seed, "zoo")
    found: dict[str, Architecture] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        architecture = space.sample(rng)
        found.setdefault(space.canonical(architecture).key, architecture)
    return list(found.values())


class Zoo:
    """Proposes every architecture at every setting, one architecture after another; it searches nothing.

    An interrupted study so holds complete rows, and a longer one goes on from a shorter one.

    Args:
        settings: fidelity of every setting by name, in the order of measuring.
    """

    def __init__(
        self, architectures: list[Architecture], settings: Mapping[str, Fidelity], objective: Objective
    ) -> None:
        self._objective = objective
        self._left = [
            Proposal(architecture, fidelity, tag={"member": member, "setting": name})
            for member, architecture in reversed(list(enumerate(architectures)))
            for name, fidelity in reversed(list(settings.items()))
        ]

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns the next proposals."""
        return [self._left.pop() for _ in range(min(n, len(self._left)))]

    def tell(self, trial: Trial) -> None:
        """Takes nothing from a trial."""

    def score(self, trial: Trial) -> float:
        """Returns the primary objective, larger is better; minus infinity for a failure."""
        if trial.measurement is None:
            return float("-inf")
        return score([self._objective], trial.measurement.values)

    def obsolete_checkpoints(self) -> list[int]:
        """Returns nothing: no trial is continued."""
        return []

    def diagnostics(self) -> dict[str, float]:
        """Returns nothing."""
        return {}
