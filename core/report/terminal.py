"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nichenas.core.figures.page import p_value
from nichenas.core.session.results import RetrainedResult
from nichenas.core.session.results import RunResult
from nichenas.core.session.results import Statistics


def print_result(result: RunResult, folder: Path) -> None:
    """Prints the outcome of a search: the final trainings, the chosen architecture, and where the report is."""
    console = Console(markup=False)  # names of metrics may hold brackets
    parts = [f"{result.trials} {result.unit}s", f"{result.failed} failed"]
    parts += [f"{result.seconds:.1f} s"] if result.seconds else []
    if result.simulated_seconds is not None:
        parts.append(f"{result.simulated_seconds:,.0f} s of simulated training time")
    console.print(f"{result.name}: {', '.join(parts)}", highlight=False)
    if result.retrained:
        table = Table()
        for column in ("", "seeds", f"validation {result.metric}", f"test {result.metric}"):
            table.add_column(column, justify="left" if not column else "right")
        for entry in result.retrained:
            chosen = entry.label == result.key
            label = f"{result.unit} {entry.trial}" if entry.trial is not None else entry.label
            _row(table, label + (" (chosen)" if chosen else ""), entry, result.metric, "bold" if chosen else "")
        for entry in result.baselines:
            _row(table, f"{entry.label} (baseline)", entry, result.metric, "")
        console.print(table)
    else:
        name = result.searched
        console.print(f"best validation {name}: {result.validation[name]:.4f}", highlight=False)
    console.print(Text(str(result.chosen)))
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _row(table: Table, label: str, entry: RetrainedResult, metric: str, style: str) -> None:
    def spread(part: Statistics) -> str:
        found = part.get(metric)
        return f"{found['mean']:.4f} ± {found['std']:.4f}" if found else "failed"

    count = int(entry.test[metric]["n"]) if metric in entry.test else 0
    table.add_row(label, str(count), spread(entry.validation), spread(entry.test), style=style)


def print_comparison(summary: Mapping[str, Any], folder: Path) -> None:
    """Prints a comparison of strategies."""
    console = Console(markup=False)  # names of metrics may hold brackets
    metric = summary["metric"]
    table = Table(title=f"{summary['name']}: mean ± half the 95% interval", title_justify="left")
    for column in (
        "strategy",
        "runs",
        f"best validation {summary['searched']}",
        "mean of all trials",
        f"test {metric}",
        "failed",
    ):
        first = column == "strategy"
        table.add_column(column, justify="left" if first else "right", no_wrap=first)
    for entry in summary["strategies"]:
        cells = [_interval(entry[part]) for part in ("best_validation", "mean_validation", "test")]
        # A supernet's score is not that of a network of its own.
        name = entry["name"] if entry["measures"] == summary["searched"] else f"{entry['name']} ({entry['measures']})"
        table.add_row(name, str(entry["best_validation"]["n"]), *cells, str(sum(entry["failed"])))
    console.print(table)
    for pair in summary["pairs"]:
        parts = [
            f"{part} {p_value(pair[f'p_{part}'])} ({p_value(pair[f'holm_{part}'])})"
            for part in ("best", "mean", "test")
            if f"p_{part}" in pair
        ]
        text = f"{pair['one']} against {pair['other']}: p (Holm) of " + ", ".join(parts)
        console.print(text, highlight=False, soft_wrap=True)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def print_proxies(summary: Mapping[str, Any], folder: Path) -> None:
    """Prints how well settings and scores of untrained networks rank a zoo."""
    console = Console(markup=False)
    table = Table(title=f"{summary['name']}: {summary['measured']} architectures, full setting {summary['full']}")
    for column in ("", "arithmetic", "seconds", "Spearman (95% interval)", "Kendall"):
        table.add_column(column, justify="right" if column else "left")
    for name, one in {**summary["proxies"], **summary["zero_cost"]}.items():
        cost = summary["cost"].get(name)
        seconds = (summary["seconds"] | summary["zero_cost_seconds"]).get(name)
        cells = ["–" if cost is None else f"{cost:.4f}", "–" if seconds is None else f"{seconds:.3g}"]
        if one is None:
            table.add_row(name, *cells, "not defined here", "–")
            continue
        rho = one["spearman"]
        cells += [f"{rho['value']:.2f} ({rho['low']:.2f} to {rho['high']:.2f})", f"{one['kendall']['value']:.2f}"]
        table.add_row(name, *cells, style="bold" if name == summary["cheapest"] else "")
    console.print(table)
    for what, found in (("least arithmetic", "cheapest"), ("fewest seconds", "cheapest_by_seconds")):
        text = f"{what} with a correlation of {summary['wanted']:g} or more: {summary[found] or 'none of these'}"
        console.print(text, highlight=False)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _interval(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "–"
    if found["n"] < 2:
        return f"{found['mean']:.4f}"
    return f"{found['mean']:.4f} ± {(found['high'] - found['low']) / 2:.4f}"
