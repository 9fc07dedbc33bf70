"""Weight inheritance: candidates that start from tensors which others have trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class ShareKey:
    """What decides whether a trained tensor may be inherited.

    Attributes:
        layer: index of the layer.
        role: what the tensor is within it; a rule may exclude roles.
        shape: of the tensor.
        attributes: of its layer, by name; a rule says which of them must agree.
    """

    layer: int
    role: str
    shape: tuple[int, ...]
    attributes: Mapping[str, str]


class WeightInheritance(Capability):
    """A domain whose candidates can inherit weights.

    ``evaluate`` starts from ``context.inherited`` and returns tensors in ``Measurement.weights`` where
    ``context.keep_weights`` asks for them.

    Attributes:
        sharing_rules: rule name to the attributes of :class:`ShareKey` that must agree.
    """

    offers: ClassVar[str] = "weights to inherit"
    sharing_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def share_keys(self, architecture: Architecture) -> Mapping[str, ShareKey]:
        """Returns the key of every tensor of an architecture's network, by its name."""
