"""What every domain is: seven members. All else that the core can use is a capability.

A domain declares a space and objectives and measures architectures on *validation* data; it alone knows what
the networks are. Test data is wrapped in :class:`~nichenas.core.context.TestData`, which opens only inside a
retraining. Capabilities (:mod:`nichenas.core.capabilities`) are mixed in: ``class MyDomain(Domain, Baselines)``.
"""

from __future__ import annotations

import itertools
from abc import ABC
from abc import abstractmethod
from typing import Any
from typing import ClassVar

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.objectives import Objective
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.trial import Drawing
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained


class Domain(ABC):
    """One kind of network, its data and its training.

    A domain is made from its own settings and an :class:`Environment`; :meth:`prepare` then loads the data.
    Instances are used by one thread at a time. Whatever is drawn comes from the context's generators, so
    the same context gives the same measurement.

    Attributes:
        Settings: schema of the ``domain`` section of a configuration, without ``kind``.
    """

    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: Any, environment: Environment) -> None:
        self.settings = settings
        self.environment = environment

    def prepare(self) -> None:  # noqa: B027  (a domain without data need not do anything)
        """Loads the data; called once, before anything is written.

        Raises:
            DataError: when it is missing or damaged.
        """

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The space that is searched."""

    @property
    @abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """What is measured; the first is the primary objective."""

    @abstractmethod
    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Trains an architecture and measures it on validation data.

        Raises:
            CandidateFailure: when this candidate cannot be measured.
        """

    @abstractmethod
    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Trains an architecture at the full setting and measures it on validation and test data."""

    def draw(self, architecture: Architecture) -> Drawing:
        """Returns a picture of an architecture; by default its choices, one below the other."""
        nodes = {name: f"{name}: {value}" for name, value in architecture.items()}
        return Drawing(nodes, [(a, b, "") for a, b in itertools.pairwise(nodes)])
