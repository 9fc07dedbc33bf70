"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nichenas.core.figures.page import p_value
from nichenas.core.proxies.study_summary import StudySummary
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.session.results import RetrainedResult
from nichenas.core.session.results import RunResult
from nichenas.core.session.results import Statistics


def print_notes(notes: Sequence[str]) -> None:
    """Prints what users should know of their data, on stderr."""
    for note in notes:
        Console(stderr=True, markup=False).print(f"note: {note}", highlight=False, soft_wrap=True)


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
            label = result.name_of(entry) + (" (chosen)" if chosen else "")
            _row(table, label, entry, result.metric, "bold" if chosen else "")
        for entry in result.baselines:
            _row(table, f"{entry.label} (baseline)", entry, result.metric, "")
        console.print(table)
        if result.better_baselines:
            better = ", ".join(result.better_baselines)
            text = f"better than the chosen one by the validation figure that decides: {better}"
            console.print(text, highlight=False, soft_wrap=True)
        for entry in result.trainings:
            if entry.failures:
                label = result.name_of(entry)
                text = f"{label}: {len(entry.failures)} final trainings failed, the first: {entry.failures[0]}"
                console.print(text, highlight=False, soft_wrap=True)
    else:
        name = result.searched
        console.print(f"validation {name} of the best: {result.validation[name]:.4f}", highlight=False)
    console.print(Text(str(result.chosen)))
    report = folder / "report.html"  # of an architecture alone there is none
    where = f"report: {report}" if report.exists() else f"folder: {folder}"
    console.print(where, highlight=False, soft_wrap=True)


def _row(table: Table, label: str, entry: RetrainedResult, metric: str, style: str) -> None:
    def spread(part: Statistics) -> str:
        found = part.get(metric)
        if not found:
            return "failed"
        return f"{found['mean']:.4f} ± {found['std']:.4f}" if found["n"] > 1 else f"{found['mean']:.4f}"

    count = int(entry.test[metric]["n"]) if metric in entry.test else 0
    table.add_row(label, str(count), spread(entry.validation), spread(entry.test), style=style)


def print_comparison(summary: ComparisonSummary, folder: Path) -> None:
    """Prints a comparison."""
    console = Console(markup=False)  # names of metrics may hold brackets
    table = Table(title=f"{summary.name}: mean ± half the 95% interval", title_justify="left")
    best, test = f"best validation {summary.searched}", f"test {summary.metric}"
    for column in ("arm", "runs", best, "mean of all trials", test, "failed"):
        first = column == "arm"
        table.add_column(column, justify="left" if first else "right", no_wrap=first)
    for arm in summary.arms:
        # A supernet's score is not that of a network of its own.
        name = arm.name if arm.measures == summary.searched else f"{arm.name} ({arm.measures})"
        cells = ["–" if found is None else str(found) for found in (arm.best_validation, arm.mean_validation, arm.test)]
        table.add_row(name, str(arm.best_validation.n), *cells, str(sum(arm.failed)))
    print_uncut(console, table)
    if summary.unequal:
        console.print(f"budgets are not equal: {summary.budget}", highlight=False, soft_wrap=True)
    if summary.known_starts:
        console.print(
            f"every run begins with the same {summary.known_starts} well-known architectures (search.start.known)",
            highlight=False,
            soft_wrap=True,
        )
    for pair in summary.pairs:
        parts = [f"{part} {p_value(p.plain)} ({p_value(p.holm)})" for part, p in pair.tests.items()]
        if parts:
            text = f"{pair.one} against {pair.other}: p (Holm) of " + ", ".join(parts)
            console.print(text, highlight=False, soft_wrap=True)
    if any(pair.tests for pair in summary.pairs):
        least = f"with {len(summary.arms[0].spent)} runs an arm it cannot be below {summary.smallest_p:.3g}"
        console.print(f"p: {summary.test_of_significance}; {least}", highlight=False, soft_wrap=True)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def print_proxies(summary: StudySummary, folder: Path) -> None:
    """Prints how well settings and scores of untrained networks rank a sample of architectures."""
    console = Console(markup=False)
    table = Table(title=f"{summary.name}: {summary.measured} architectures, full setting {summary.full}")
    for column in ("", "arithmetic", "seconds", "Spearman (95% interval)", "Kendall"):
        table.add_column(column, justify="right" if column else "left")
    for name, one in {**summary.proxies, **summary.zero_cost}.items():
        cost, seconds = summary.cost.get(name), {**summary.seconds, **summary.zero_cost_seconds}.get(name)
        cells = ["–" if cost is None else f"{cost:.4f}", "–" if seconds is None else f"{seconds:.3g}"]
        if one is None:
            table.add_row(name, *cells, "fewer than 4 values", "–")
            continue
        rho = one.spearman
        cells += [f"{rho.value:.2f} ({rho.low:.2f} to {rho.high:.2f})", f"{one.kendall.value:.2f}"]
        table.add_row(name, *cells, style="bold" if name == summary.cheapest else "")
    print_uncut(console, table)
    for what, found in (("least arithmetic", summary.cheapest), ("fewest seconds", summary.cheapest_by_seconds)):
        text = f"{what} with a correlation of {summary.min_correlation:g} or more: {found or 'none of these'}"
        console.print(text, highlight=False)
    if summary.failed_probes is not None:
        failed = f"{summary.failed_probes.count} of {summary.architectures} untrained networks could not be scored"
        console.print(f"{failed}; the first reason: {summary.failed_probes.first}", highlight=False, soft_wrap=True)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def print_uncut(console: Console, table: Table) -> None:
    """Prints a table as wide as it is: figures that are cut to fit a narrow terminal say nothing."""
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    Console(markup=False, width=max(console.width, needed)).print(table)
