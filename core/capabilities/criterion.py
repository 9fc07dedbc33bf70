"""The figure by which a search ranks, where it is another than the one that is reported."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.objectives import Objective


class RankingCriterion(Capability):
    """A domain whose candidates can be ranked better than by its primary objective.

    The objective is what people want to know of a model; measured on few samples it may be too coarse to distinguish
    candidates. Strategies, incumbents and the final choice then go by the criterion, tables show the objective.
    """

    offers: ClassVar[str] = "a criterion that candidates are ranked by"

    @property
    @abstractmethod
    def criterion(self) -> Objective | None:
        """The criterion, known once the domain is prepared; none to rank by the primary objective.

        Every measurement has its value, and so do validation figures of full trainings of architectures.
        """


def criterion_of(domain: object) -> Objective | None:
    """Returns a domain's criterion; none where candidates are ranked by its objectives."""
    return domain.criterion if isinstance(domain, RankingCriterion) else None
