"""Random architectures that stand beside found ones: what of these is not chance shows in the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nichenas.core.capabilities.costing import Costing
from nichenas.core.claims.settings import ControlSettings
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace

TRIES = 1000


def check_control(name: str, control: ControlSettings, domain: Domain) -> None:
    """Refuses a control that the domain cannot have.

    Raises:
        ConfigError: for a group or a cost that it does not know.
    """
    for group in control.redraw or ():
        if group not in domain.space.groups:
            message = unknown_name_message("group of choices", group, domain.space.groups)
            raise ConfigError(message, f"controls.{name}.redraw")
    if control.cost is not None:
        if not isinstance(domain, Costing):
            raise ConfigError(f"the domain has no {Costing.offers}; allowed: null", f"controls.{name}.cost")
        if control.cost not in domain.cost_names:
            message = unknown_name_message("cost", control.cost, domain.cost_names)
            raise ConfigError(message, f"controls.{name}.cost")


def draw_control(
    name: str, control: ControlSettings, domain: Domain, found: Architecture, rng: np.random.Generator
) -> Architecture:
    """Returns a random architecture that has in common with a found one what the control says, and is another one.

    Raises:
        ConfigError: when none of :data:`TRIES` is near enough in its costs, or another one.
    """
    space, same = domain.space, domain.space.canonical(found)
    if control.cost is not None:
        assert isinstance(domain, Costing)
        wanted = domain.architecture_costs(found)[control.cost]
    for _ in range(TRIES):
        drawn = redrawn(space, found, control.redraw, rng)
        if space.canonical(drawn) == same:
            continue
        if control.cost is None:
            return drawn
        assert isinstance(domain, Costing)
        if abs(domain.architecture_costs(drawn)[control.cost] - wanted) <= control.within * wanted:
            return drawn
    near = "" if control.cost is None else f" with {control.cost} within {control.within:.0%} of {wanted:,.0f}"
    raise ConfigError(f"controls.{name}: none of {TRIES} random architectures is another one{near}")


def redrawn(
    space: SearchSpace, found: Architecture, groups: Sequence[str] | None, rng: np.random.Generator
) -> Architecture:
    """Returns an architecture with the choices of some groups drawn at random, the others as they are.

    Args:
        groups: none for all.
    """
    kept = {name: value for name, value in found.items() if groups is not None and space[name].group not in groups}

    def drawn(choice: Choice) -> Option:
        return choice.options[int(rng.integers(len(choice.options)))]

    return space.complete(kept, drawn)
