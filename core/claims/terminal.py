"""The tables of a study of claims for the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from nichenas.core.claims.decisions import ClaimResult
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.figures.page import cost
from nichenas.core.figures.page import p_value
from nichenas.core.report.terminal import print_uncut


def print_claims(summary: ClaimsSummary, folder: Path) -> None:
    """Prints the gates, the arms with their costs, and what became of the claims."""
    console = Console(markup=False)  # names of metrics may hold brackets
    for gate in summary.gates:
        console.print(gate.sentence(), highlight=False, soft_wrap=True)
    if summary.arms:
        table = Table(title=f"{summary.name}: mean ± half the 95% interval", title_justify="left")
        reported = [f"test {summary.reported}"] if summary.reported != summary.metric else []
        for column in ("", "runs", f"test {summary.metric}", *reported, "search s", *summary.cost_names):
            table.add_column(column, justify="right" if column else "left", no_wrap=True)
        for arm in summary.arms:
            name = f"{arm.name} (control of {arm.control})" if arm.control else arm.name
            test = "failed" if arm.test is None else str(arm.test)
            seconds = "–" if arm.control else f"{arm.seconds:,.0f}"
            costs = [cost(arm.costs.get(one)) for one in summary.cost_names]
            further = ["–" if arm.reported is None else str(arm.reported)] if reported else []
            table.add_row(name, f"{arm.runs} of {summary.seeds}", test, *further, seconds, *costs)
        for row in summary.baselines:
            empty = ["–"] * (1 + len(summary.cost_names))
            further = ["–" if row.reported is None else f"{row.reported:.4f}"] if reported else []
            count = f"{row.trainings} training{'s' if row.trainings > 1 else ''}"
            table.add_row(f"{row.name} (baseline)", count, f"{row.test:.4f}", *further, *empty)
        print_uncut(console, table)
    for note in (note for arm in summary.arms for note in arm.notes):
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for place, claim in enumerate(summary.claims):
        console.print(f"{'primary: ' if place == 0 else ''}{_sentence(claim)}", highlight=False, soft_wrap=True)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _sentence(claim: ClaimResult) -> str:
    says = f" ({claim.says})" if claim.says else ""
    head = f"{claim.arm} is better than {claim.against}{says}: {claim.verdict}"
    if claim.difference is None or claim.p is None:
        return head
    corrected = "" if claim.holm is None else f", {p_value(claim.holm)} by Holm's rule"
    pairs = f"{claim.difference.n} pair{'s' if claim.difference.n > 1 else ''}"
    return f"{head}; difference {claim.difference}, {pairs}, p {p_value(claim.p)}{corrected}"
