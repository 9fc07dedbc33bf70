"""Predictions of a trained network for the data of its domain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nichenas.core.capabilities.base import Capability
from nichenas.core.space import Architecture


@dataclass(frozen=True)
class Predictions:
    """What a network predicts.

    Attributes:
        kind: of the items, such as ``node``.
        items: their names, ``(items,)``.
        classes: their names, ``(classes,)``.
        probabilities: ``(items, classes)``.
        exclusive: whether every item is of one class, so that rows sum to 1; else of any number of them.
    """

    kind: str
    items: Sequence[str]
    classes: Sequence[str]
    probabilities: Tensor
    exclusive: bool = True

    def labels(self) -> list[str]:
        """Returns the name of the most probable class of every item; of several labels those above 1/2, by ``;``."""
        if self.exclusive:
            return [self.classes[index] for index in self.probabilities.argmax(1).tolist()]
        return [
            ";".join(name for name, chosen in zip(self.classes, row, strict=True) if chosen)
            for row in (self.probabilities > 1 / 2).tolist()
        ]


class Predicting(Capability):
    """A domain whose networks predict something for all items of its data, those without a label too."""

    offers: ClassVar[str] = "predictions to write"

    @abstractmethod
    def predict(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> Predictions:
        """Returns what an architecture's network predicts with trained weights."""
