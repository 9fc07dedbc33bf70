"""Hand-made networks that are trained beside what a search finds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.space import Option
from nichenas.core.trial import Retrained


class Baselines(Capability):
    """A domain with baselines.

    Attributes:
        baselines: names that :meth:`train_baseline` takes; an instance may have others than its class.
    """

    offers: ClassVar[str] = "baselines"
    baselines: tuple[str, ...] = ()

    def baseline_choices(self, name: str) -> Mapping[str, Sequence[Option]]:
        """Returns the part of the search space in which one of :attr:`baselines` is tuned, as options by choice.

        Empty, as by default, for a baseline that cannot be tuned.
        """
        return {}

    @abstractmethod
    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Trains one of :attr:`baselines` as ``retrain`` trains an architecture."""


def baselines_of(domain: object) -> tuple[str, ...]:
    """Returns the names of a domain's baselines; none where it has none."""
    return domain.baselines if isinstance(domain, Baselines) else ()
