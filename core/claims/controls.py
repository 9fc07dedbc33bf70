"""Random architectures that stand beside found ones: what of these is not chance shows in the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nichenas.core.capabilities.costing import Costing
from nichenas.core.claims.settings import WITHIN
from nichenas.core.claims.settings import ControlSettings
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace

TRIES = 300


@dataclass(frozen=True)
class DrawnControl:
    """What was drawn for a found architecture.

    Attributes:
        architecture: none where no other one could be drawn.
        note: what is not as the control says; empty where all is.
    """

    architecture: Architecture | None
    note: str = ""


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
    control: ControlSettings, domain: Domain, space: SearchSpace, found: Architecture, rng: np.random.Generator
) -> DrawnControl:
    """Returns a random architecture that has in common with a found one what the control says, and is another one.

    Draws are rejected until one costs about the same; after :data:`TRIES` of them the nearest is taken.

    Args:
        space: that was searched.
    """
    same, nearest, least = domain.space.canonical(found), None, np.inf
    within = WITHIN if control.within is None else control.within
    wanted = _cost(domain, found, control.cost)
    for _ in range(TRIES):
        drawn = redrawn(space, found, control.redraw, rng)
        if domain.space.canonical(drawn) == same:
            continue
        away = abs(_cost(domain, drawn, control.cost) - wanted)
        if away <= within * wanted:
            return DrawnControl(drawn)
        if away < least:
            nearest, least = drawn, away
    if nearest is None:
        return DrawnControl(None, f"none of {TRIES} random architectures is another one than the found one")
    off = f"{least / wanted:.0%}" if wanted else f"{least:,.0f}"
    return DrawnControl(nearest, f"{control.cost} differ by {off}, the nearest of {TRIES}")


def _cost(domain: Domain, architecture: Architecture, name: str | None) -> float:
    if name is None:
        return 0.0
    assert isinstance(domain, Costing)
    return domain.architecture_costs(architecture)[name]


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
