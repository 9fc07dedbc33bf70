"""The page of a study of reduced settings: how well each ranks a zoo of architectures, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from core.report.page import write_page
from core.report.plots import COLOURS
from core.report.plots import finish
from core.report.plots import new_figure
from core.report.plots import to_svg
from core.search.run_folder import read_json
from core.search.run_folder import read_yaml

ACROSS = 4  # scatter plots side by side


def write_proxies_page(folder: Path, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes ``report.html`` of a study and returns its path.

    Args:
        summary: what ``consistency.json`` holds.
        rows: the zoo, as in ``consistency.csv``.
    """
    return write_page(
        folder / "report.html",
        "proxies.html",
        summary=summary,
        factors=[factor for factor in ("channels", "resolution", "samples", "epochs") if _known(summary, factor)],
        costs=_cost_plot(summary),
        scatter=_scatter(summary["proxies"], summary["full"], rows, summary["metric"]),
        untrained=_scatter(summary["zero_cost"], summary["full"], rows, summary["metric"]),
        settings=(folder / "config.yaml").read_text(encoding="utf-8") if read_yaml(folder / "config.yaml") else "",
        environment=read_json(folder / "environment.json"),
    )


def _known(summary: Mapping[str, Any], factor: str) -> bool:
    return all(factor in sizes for sizes in summary["sizes"].values())


def _cost_plot(summary: Mapping[str, Any]) -> Markup:
    """Returns correlation against cost, with the 95% intervals; the wanted correlation and the full setting's own."""
    figure, axes = new_figure()
    shown = [
        (name, cost, found["spearman"])
        for name, cost in summary["cost"].items()
        if (found := summary["proxies"].get(name)) is not None and math.isfinite(found["spearman"]["value"])
    ]
    for index, (name, cost, one) in enumerate(shown):
        # Settings of one cost would lie on each other: they stand side by side around it.
        alike = [other for other, c, _ in shown if math.isclose(c, cost, rel_tol=0.1)]
        at = cost * 1.12 ** (alike.index(name) - (len(alike) - 1) / 2)
        colour = COLOURS[index % len(COLOURS)]
        bars = [[max(0.0, one["value"] - one["low"])], [max(0.0, one["high"] - one["value"])]]
        label = f"{name} (cheapest)" if name == summary["cheapest"] else name
        axes.errorbar([at], [one["value"]], yerr=bars, fmt="o", color=colour, capsize=2, linewidth=1, label=label)
    again = summary["proxies"].get("full again")
    if again and math.isfinite(again["spearman"]["value"]):
        axes.axhline(again["spearman"]["value"], color="#999", linewidth=1, label="full against full again")
    axes.axhline(summary["wanted"], color="#999", linestyle=":", linewidth=1, label="wanted")
    axes.set_xscale("log", base=2)
    finish(axes, "arithmetic, as a share of the full setting's", "Spearman's correlation", "outside")
    return to_svg(figure)


def _scatter(found: Mapping[str, Any], full: str, rows: Sequence[Mapping[str, Any]], metric: str) -> Markup | None:
    """Returns a small plot for each column of scores against the full setting; none where there is no column."""
    names = [name for name, one in found.items() if one is not None]
    if not names:
        return None
    down = -(-len(names) // ACROSS)
    figure = Figure(figsize=(9.6, 2.4 * down), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(down, ACROSS, index + 1)
        pairs = [(row[name], row[full]) for row in rows if row.get(name) is not None and row[full] is not None]
        axes.plot(*zip(*pairs, strict=True), ".", color=COLOURS[0], alpha=0.7)
        axes.set_title(f"{name}: {found[name]['spearman']['value']:.2f}", fontsize=9)
        axes.tick_params(labelsize=7)
        if index % ACROSS == 0:
            axes.set_ylabel(f"{metric}, full", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return to_svg(figure)
