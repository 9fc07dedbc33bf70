"""The tables of a study of claims for the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from nichenas.core.claims.summary import ClaimResult
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.figures.page import p_value
from nichenas.core.report.terminal import print_uncut


def print_claims(summary: ClaimsSummary, folder: Path) -> None:
    """Prints the gate, the arms with their costs, and what became of the claims."""
    console = Console(markup=False)  # names of metrics may hold brackets
    if summary.gate is not None:
        console.print(summary.gate.sentence(), highlight=False, soft_wrap=True)
    if summary.arms:
        table = Table(title=f"{summary.name}: mean ± half the 95% interval", title_justify="left")
        for column in ("", "runs", f"test {summary.metric}", "search s", *summary.cost_names):
            table.add_column(column, justify="right" if column else "left", no_wrap=True)
        for arm in summary.arms:
            name = f"{arm.name} (control of {arm.control})" if arm.control else arm.name
            costs = [_short(arm.costs[cost]) if cost in arm.costs else "–" for cost in summary.cost_names]
            seconds = "–" if arm.control else f"{arm.seconds:,.0f}"
            test = ("0", "failed") if arm.test is None else (str(arm.test.n), str(arm.test))
            table.add_row(name, *test, seconds, *costs)
        print_uncut(console, table)
    for place, claim in enumerate(summary.claims):
        console.print(f"{'primary: ' if place == 0 else ''}{_sentence(claim)}", highlight=False, soft_wrap=True)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _sentence(claim: ClaimResult) -> str:
    head = f"{claim.arm} is better than {claim.against}: {claim.verdict}"
    if claim.difference is None or claim.p is None:
        return head
    corrected = "" if claim.holm is None else f", {p_value(claim.holm)} by Holm's rule"
    mean, half = claim.difference.mean, claim.difference.half
    return f"{head} ({mean:+.4f} ± {half:.4f}, {claim.difference.n} pairs, p {p_value(claim.p)}{corrected})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"
