"""What the network of an architecture costs, without training it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.space import Architecture


class Costing(Capability):
    """A domain that counts what a network costs."""

    offers: ClassVar[str] = "costs of its networks"
    cost_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def architecture_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns what the network that is trained in full costs, by :attr:`cost_names`; the same at every call."""

    def deployment_costs(self, architecture: Architecture) -> Mapping[str, float]:
        """Returns what was measured of the network in the form that it is used in, on this machine.

        Such as ``milliseconds`` of one input with one thread; nothing by default.
        """
        return {}
