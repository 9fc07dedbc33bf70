"""What a table of trained architectures knows beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class UntrainedScore:
    """A score of an untrained network.

    Attributes:
        value: more is meant to be better; none where it is not defined or not finite.
        seconds: that computing it took, of a network that is there already.
    """

    value: float | None
    seconds: float


class PrecomputedResults(Capability):
    """A domain whose measurements are looked up.

    Attributes:
        simulated_time: whether measurements say how long the training took (``Measurement.simulated_seconds``); a
            budget of seconds then counts these. An instance may differ from its class.
    """

    offers: ClassVar[str] = "precomputed results"
    simulated_time: bool = False

    def precomputed_scores(self, architecture: Architecture) -> Mapping[str, UntrainedScore]:
        """Returns scores of the untrained network that are known already, by name."""
        return {}

    def best_known(self) -> float | None:
        """Returns the best value of the primary objective in the whole space, where it is known."""
        return None


def simulates_time(domain: object) -> bool:
    """Returns whether a domain's seconds are those that a table tells."""
    return isinstance(domain, PrecomputedResults) and domain.simulated_time
