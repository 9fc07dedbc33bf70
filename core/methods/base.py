"""What a search method is: one object with its options, its needs of a domain, its run, and its part of the report.

A method is made from its validated section of the configuration. Adding one is one file: a subclass of :class:`Method`,
registered by name, installed under the entry point group ``nichenas.methods``, or named by its dotted path in
``search.method``.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from pydantic import Field

from nichenas.core.capabilities.base import Capability
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.methods.sections import Section
from nichenas.core.methods.sections import search_section
from nichenas.core.objectives import Objective
from nichenas.core.proxies.factors import Levels
from nichenas.core.registry import Registry
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.settings import Settings
from nichenas.core.space import SearchSpace
from nichenas.core.validation import validated


class MethodSettings(Settings):
    """The ``search`` section of one method; a key that it does not have is refused.

    Attributes:
        method: name of the method; where it is not given, other keys tell it.
        options: of strategies, schedulers and methods, by name; those that this run does not use are checked all the
            same, so that a comparison can have those of all its arms.
    """

    method: str
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Method(ABC):
    """One way to search.

    Args:
        options: the validated ``search`` section.
        seed: of the run.
        levels: of proxy settings.

    Attributes:
        Options: schema of the ``search`` section.
        PartOptions: schema of the method's own part of ``search.options``; none where it has none.
        summary: one line for lists, with the source.
        unit: what the journal has a row for.
        needs: capabilities that a domain must have.
        measures_candidates: whether proposals are measured one by one, so that ``run.order`` applies.
    """

    Options: ClassVar[type[MethodSettings]] = MethodSettings
    PartOptions: ClassVar[type[Settings] | None] = None
    summary: ClassVar[str] = ""
    unit: str = "trial"
    needs: ClassVar[tuple[type[Capability], ...]] = ()
    measures_candidates: ClassVar[bool] = False

    def __init__(self, options: Any, seed: int = 0, levels: Levels | None = None) -> None:
        self.options = options
        self.seed = seed
        self.levels: Levels = levels or {}

    @classmethod
    def check_needs(cls, kind: str, domain: type[Domain]) -> None:
        """Refuses a domain that lacks a capability.

        Args:
            kind: its name, for the message.

        Raises:
            ConfigError: with the methods that it can be searched with.
        """
        for capability in cls.needs:
            if not issubclass(domain, capability):
                others = ", ".join(suited_methods(domain))
                raise ConfigError(
                    f"the domain '{kind}' has no {capability.offers}; methods that it can be searched with: {others}",
                    "search.method",
                )

    def check(self, kind: str, domain: type[Domain]) -> None:  # noqa: B027  (most need nothing)
        """Refuses what cannot be combined, before any data is loaded.

        Raises:
            ConfigError: with its key.
        """

    def prepare(self, domain: Domain) -> None:  # noqa: B027  (most need nothing)
        """Refuses what only a domain with its data can tell, before anything is written.

        Raises:
            ConfigError: with its key.
        """

    def searched_space(self, domain: Domain) -> SearchSpace:
        """Returns the part of the domain's space that is searched; by default, the whole.

        Raises:
            ConfigError: where the domain has no such part, with its key.
        """
        return domain.space

    def objectives(self, domain: Domain) -> tuple[Objective, ...]:
        """Returns what the search measures, the first one counting most."""
        return domain.objectives

    def criterion(self, domain: Domain) -> Objective | None:
        """Returns what candidates are ranked by where it is not their primary objective; by default, none."""
        return None

    @property
    def trains_candidates(self) -> bool:
        """Whether some architectures are trained alone in the search, so that ``run.limits`` apply."""
        return self.measures_candidates

    @abstractmethod
    def budget(self) -> Budget:
        """Returns when the search ends."""

    @abstractmethod
    def run(self, session: Session) -> SearchState:
        """Searches, or continues to where the budget is spent, and returns how far the search is.

        Raises:
            RunFolderError: when the session's journal is not that of this search.
            Interrupted: on Ctrl-C; what is finished is kept.
        """

    def facts(self, domain: Domain, journal: Journal) -> dict[str, Any]:
        """Returns what else belongs into the result of a search that has ended, as JSON."""
        return {}

    def sections(self, record: RunRecord, baseline: RunRecord | None = None) -> list[Section]:
        """Returns the method's part of a run's report.

        Args:
            baseline: a random search with the same budget, to be drawn beside.
        """
        return [search_section(record, self.unit, baseline)]


METHODS: Registry[type[Method]] = Registry("method", "nichenas.methods", Method)


def method_name(search: Mapping[str, Any]) -> str:
    """Returns the method of a ``search`` section: ``method``, or what ``strategy`` and ``sharing`` say."""
    if "method" in search:
        return str(search["method"])
    if search.get("strategy") == "gradient":
        return "gradient"
    return "one-shot" if search.get("sharing") == "supernet" else "trial"


def suited_methods(domain: type[Domain]) -> list[str]:
    """Returns the names of the methods whose needs a class of domains meets."""
    return [name for name in METHODS if all(issubclass(domain, need) for need in METHODS[name].needs)]


def part_options(registries: Sequence[Registry[Any]], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Settings]:
    """Returns the validated options of strategies, schedulers and the like by their names.

    Raises:
        ConfigError: for a name of no registry, or options that its part does not have.
    """
    found: dict[str, Settings] = {}
    for name, given in options.items():
        key = f"search.options.{name}"
        schema = next((schema for registry in registries if (schema := _schema(registry, name)) is not None), None)
        if schema is None:
            kinds = " or ".join(registry.kind for registry in registries)
            names = [other for registry in registries for other in registry if _schema(registry, other) is not None]
            raise ConfigError(unknown_name_message(kinds, name, names), key)
        found[name] = validated(schema, given, ("search", "options", name))
    return found


def _schema(registry: Registry[Any], name: str) -> type[Settings] | None:
    try:
        part = registry[name]
    except ConfigError:
        return None
    schema: type[Settings] | None = part.PartOptions if issubclass(part, Method) else part.Options
    return schema
