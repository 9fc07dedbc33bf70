"""What there is to choose from."""

from __future__ import annotations

from nichenas.core.config_files import shipped_configs
from nichenas.core.domain_lookup import domain_targets
from nichenas.core.domain_lookup import load_target
from nichenas.core.errors import ConfigError
from nichenas.core.gradient.options import GRADIENT
from nichenas.core.gradient.options import SUMMARY
from nichenas.core.proxies import SCHEDULES
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.strategies import STRATEGIES
from rich.console import Console
from rich.table import Table


def print_parts() -> None:
    """Prints domains with their data sets, strategies, and shipped configurations."""
    console = Console()
    domains = _table("domain", "data set", "")
    for kind, target in sorted(domain_targets().items()):
        try:
            known = load_target(target).datasets()
        except ConfigError as error:
            domains.add_row(kind, "", f"broken: {error}")
            continue
        for position, (name, about) in enumerate(known.items() or [("", "")]):
            domains.add_row(kind if position == 0 else "", name, about)
    console.print(domains)
    strategies = _table("strategy", "")
    for name in STRATEGIES:
        strategies.add_row(name, STRATEGIES[name].summary)
    strategies.add_row("", "each with search.sharing=supernet too, where a domain has shared weights (one-shot search)")
    strategies.add_row(GRADIENT, f"{SUMMARY}; for domains with a supernet")
    console.print(strategies)
    schedules = _table("schedule", "")
    for name in SCHEDULES:
        schedules.add_row(name, SCHEDULES[name].summary)
    console.print(schedules)
    console.print(f"zero-cost proxies: {', '.join(ZERO_COST)}", highlight=False)
    configs = _table("shipped configuration")
    for name in shipped_configs():
        configs.add_row(name)
    console.print(configs)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
