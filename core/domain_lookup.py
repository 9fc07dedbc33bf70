"""Finding a domain by name: in the package ``domains``, by entry point ``nichenas.domains``, by dotted path."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any

from nichenas.core.context import Environment
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import shortened
from nichenas.core.errors import unknown_name_message
from nichenas.core.registry import as_target
from nichenas.core.registry import import_target

ENTRY_POINTS = "nichenas.domains"
PACKAGE = "nichenas.domains"  # each of its packages names its class in DOMAIN


def domain_targets() -> dict[str, str]:
    """Returns the known domains: name to ``module:attribute``."""
    targets = {}
    package = importlib.util.find_spec(PACKAGE)
    for module in pkgutil.iter_modules(package.submodule_search_locations if package else None):
        if module.ispkg:
            targets[module.name] = f"{PACKAGE}.{module.name}:DOMAIN"
    for name, value in _installed():
        targets.setdefault(name, value)
    return targets


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Returns name and value of the entry points; looking through all installed packages takes a while."""
    return tuple((point.name, point.value) for point in importlib.metadata.entry_points(group=ENTRY_POINTS))


def find_domain(kind: str) -> tuple[str, type[Domain]]:
    """Returns the target (``module:attribute``) and class of a domain.

    Args:
        kind: a name of :func:`domain_targets`, or ``module:Class``, or a dotted path.

    Raises:
        ConfigError: when there is none, it cannot be imported, or is no domain.
    """
    targets = domain_targets()
    target = targets.get(kind) or as_target(kind)
    if target is None:
        message = unknown_name_message("domain", kind, targets)
        raise ConfigError(f"{message}, or the dotted path of a class", "domain.kind")
    return target, load_target(target)


def load_target(target: str) -> type[Domain]:
    """Returns the class at ``module:attribute``.

    Raises:
        ConfigError: when it cannot be imported or is no domain.
    """
    try:
        found = import_target(target, "domain")
    except ConfigError as error:
        raise ConfigError(error.message, "domain.kind") from None
    if not (isinstance(found, type) and issubclass(found, Domain)):
        raise ConfigError(f"'{shortened(target)}' is not a subclass of nichenas.core.domain.Domain", "domain.kind")
    return found


@dataclass(frozen=True)
class DomainRecipe:
    """How to make a domain, in this process or in a worker.

    Attributes:
        target: ``module:attribute`` of its class.
        settings: validated.
    """

    target: str
    settings: Any
    environment: Environment

    @property
    def module(self) -> str:
        """The module of the class; workers are forked from a process that has imported it."""
        return self.target.partition(":")[0]

    def __call__(self) -> Domain:
        """Returns the domain, its data loaded."""
        domain = load_target(self.target)(self.settings, self.environment)
        domain.prepare()
        return domain
