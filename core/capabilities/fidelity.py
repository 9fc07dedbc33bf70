"""Reduced fidelity: cheaper measurements, and trainings that can be continued."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import STANDARD_FACTORS
from nichenas.core.fidelity import Factor
from nichenas.core.fidelity import Fidelity
from nichenas.core.fidelity import relative_cost


class ReducedFidelity(Capability):
    """A domain that can measure at less than the full setting.

    Attributes:
        factors: that ``evaluate`` honours: names of :data:`~nichenas.core.fidelity.STANDARD_FACTORS`, or factors of the
            domain's own. An instance may have others than its class.
        resumable: whether ``evaluate`` can continue the training of a proposal's parent.
    """

    offers: ClassVar[str] = "reduced fidelity"
    factors: tuple[str | Factor, ...] = ()
    resumable: ClassVar[bool] = False

    @abstractmethod
    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns what a fidelity is in whole units, by factor; sizes that cannot be had are rounded.

        ``epochs`` are those of a training (or whatever it counts, such as steps), ``samples`` training samples,
        ``channels`` the width and ``resolution`` the pixels a side. Factors that the domain does not honour need not
        be there; without ``epochs`` it cannot be searched on a budget of epochs.
        """

    def relative_cost(self, fidelity: Fidelity) -> float:
        """Returns a training's arithmetic as a share of the full setting's, from the sizes that there really are.

        A width or resolution that had to be rounded, or is bounded from below, costs what it is, not what was asked
        for. A domain whose trainings do not follow the factors' exponents overrides this.
        """
        full, given = self.resolve_fidelity(FULL), self.resolve_fidelity(fidelity)
        return relative_cost({factor: given[factor] / full[factor] for factor in full}, factors_of(self))

    @classmethod
    def final_training_settings(cls, settings: Any) -> Any:
        """Returns settings with which ``evaluate`` trains as a full training does; a study compares with it."""
        return settings


def factors_of(domain: object) -> dict[str, Factor]:
    """Returns the factors of a domain, or of a class of them, by name: the standard ones and its own."""
    own = [STANDARD_FACTORS[factor] if isinstance(factor, str) else factor for factor in _declared(domain)]
    return {**STANDARD_FACTORS, **{factor.name: factor for factor in own}}


def honoured(domain: object) -> frozenset[str]:
    """Returns the names of the factors that a domain can reduce."""
    return frozenset(factor if isinstance(factor, str) else factor.name for factor in _declared(domain))


def _declared(domain: object) -> tuple[str | Factor, ...]:
    cls = domain if isinstance(domain, type) else type(domain)
    found = getattr(domain, "factors", ()) if issubclass(cls, ReducedFidelity) else ()
    if isinstance(found, property):  # which says nothing of the class
        return ()
    for factor in found:
        if isinstance(factor, str) and factor not in STANDARD_FACTORS:
            message = unknown_name_message("factor", factor, STANDARD_FACTORS)
            raise ConfigError(f"{cls.__name__}.factors: {message}; others are declared as Factor(name, letter)")
    return tuple(found)


def sizes(domain: object, fidelity: Fidelity) -> Mapping[str, int]:
    """Returns what a fidelity is in whole units; nothing for a domain that measures at the full setting alone."""
    return domain.resolve_fidelity(fidelity) if isinstance(domain, ReducedFidelity) else {}
