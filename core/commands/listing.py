"""What there is to choose from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.config_files import shipped_configs
from nichenas.core.config_files import shipped_studies
from nichenas.core.domain_lookup import domain_targets
from nichenas.core.domain_lookup import load_target
from nichenas.core.errors import ConfigError
from nichenas.core.methods import METHODS
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.strategies import STRATEGIES


def print_parts() -> None:
    """Prints domains with their data sets, strategies, and shipped configurations."""
    console = Console()
    domains = _table("domain", "data set", "")
    for kind, target in sorted(domain_targets().items()):
        try:
            cls = load_target(target)
        except ConfigError as error:
            domains.add_row(kind, "", f"broken: {error}")
            continue
        known = cls.datasets() if issubclass(cls, NamedDatasets) else {}
        for position, (name, about) in enumerate(known.items() or [("", "")]):
            domains.add_row(kind if position == 0 else "", name, about)
    console.print(domains)
    for registry in (METHODS, STRATEGIES, SCHEDULERS):
        parts = _table(registry.kind, "")
        for name in registry:
            parts.add_row(name, registry[name].summary)  # type: ignore[attr-defined]
        console.print(parts)
    console.print(f"zero-cost proxies: {', '.join(ZERO_COST)}", highlight=False)
    configs = _table("shipped configuration")
    for name in shipped_configs():
        configs.add_row(name)
    console.print(configs)
    studies = _table("shipped study")
    for name in shipped_studies():
        studies.add_row(name)
    console.print(studies)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
