"""The page of a study of reduced settings: how well each ranks a zoo of architectures, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from scipy import stats

from nichenas.core.figures.page import write_page
from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import to_svg
from nichenas.core.files import read_json
from nichenas.core.files import read_yaml

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
        apart=_apart(summary["differences"]),
        costs=_cost_plots(summary),
        scatter=_scatter(summary["proxies"], summary["full"], rows, summary["metric"]),
        untrained=_scatter(summary["zero_cost"], summary["full"], rows, summary["metric"], by_rank=True),
        settings=(folder / "config.yaml").read_text(encoding="utf-8") if read_yaml(folder / "config.yaml") else "",
        environment=read_json(folder / "environment.json"),
    )


def _known(summary: Mapping[str, Any], factor: str) -> bool:
    return all(factor in sizes for sizes in summary["sizes"].values())


def _apart(differences: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the pairs whose interval excludes 0, the better setting first, the largest difference first."""
    found = []
    for pair in differences:
        sign = 1 if pair["value"] > 0 else -1
        value, low, high = sign * pair["value"], *sorted((sign * pair["low"], sign * pair["high"]))
        better, worse = (pair["one"], pair["other"])[::sign]
        if low > 0:
            found.append({"better": better, "worse": worse, "value": value, "low": low, "high": high})
    return sorted(found, key=lambda pair: -pair["value"])


def _cost_plots(summary: Mapping[str, Any]) -> list[Markup]:
    """Returns correlation against arithmetic, and against seconds, where scores of untrained networks have theirs."""
    seconds = {**{name: summary["seconds"][name] for name in summary["cost"]}, **summary["zero_cost_seconds"]}
    plots = [
        _cost_plot(summary, summary["cost"], "cheapest", "arithmetic, as a share of the full setting's", 2, 0.1),
        _cost_plot(summary, seconds, "cheapest_by_seconds", "seconds", 10, 0.0),
    ]
    return [plot for plot in plots if plot is not None]


def _cost_plot(
    summary: Mapping[str, Any], costs: Mapping[str, float | None], cheapest: str, label: str, base: int, alike: float
) -> Markup | None:
    """Returns correlation against cost, with the 95% intervals; the wanted correlation and the full setting's own.

    None where nothing has a cost.

    Args:
        cheapest: key of the summary that says which is.
        base: of the logarithmic axis of costs.
        alike: relative difference of costs up to which points stand side by side; they would lie on each other.
    """
    figure, axes = new_figure()
    columns = summary["proxies"] | summary["zero_cost"]
    shown = [
        (name, cost, found["spearman"])
        for name, cost in costs.items()
        if cost and (found := columns.get(name)) is not None and math.isfinite(found["spearman"]["value"])
    ]
    if not shown:
        return None
    for index, (name, cost, one) in enumerate(shown):
        group = [other for other, c, _ in shown if other == name or abs(c - cost) < alike * cost]
        at = cost * 1.12 ** (group.index(name) - (len(group) - 1) / 2)
        colour = COLOURS[index % len(COLOURS)]
        bars = [[max(0.0, one["value"] - one["low"])], [max(0.0, one["high"] - one["value"])]]
        text = f"{name} (cheapest)" if name == summary[cheapest] else name
        mark = ("o" if name in summary["proxies"] else "x", "s", "^")[index // len(COLOURS) % 3]
        axes.errorbar([at], [one["value"]], yerr=bars, fmt=mark, color=colour, capsize=2, linewidth=1, label=text)
    again = summary["proxies"].get("full again")
    if again and math.isfinite(again["spearman"]["value"]):
        axes.axhline(again["spearman"]["value"], color="#999", linewidth=1, label="full against full again")
    axes.axhline(summary["wanted"], color="#999", linestyle=":", linewidth=1, label="wanted")
    axes.set_xscale("log", base=base)
    finish(axes, label, "Spearman's correlation", "outside")
    return to_svg(figure)


def _scatter(
    found: Mapping[str, Any], full: str, rows: Sequence[Mapping[str, Any]], metric: str, by_rank: bool = False
) -> Markup | None:
    """Returns a small plot for each column of scores against the full setting; none where there is no column.

    Args:
        by_rank: plots the scores' ranks: the values of some span many orders of magnitude.
    """
    names = [name for name, one in found.items() if one is not None]
    if not names:
        return None
    down = -(-len(names) // ACROSS)
    figure = Figure(figsize=(9.6, 2.4 * down), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(down, ACROSS, index + 1)
        pairs = [(row[name], row[full]) for row in rows if row.get(name) is not None and row[full] is not None]
        scores, values = zip(*pairs, strict=True)
        axes.plot(stats.rankdata(scores) if by_rank else scores, values, ".", color=COLOURS[0], alpha=0.7)
        axes.set_title(f"{name}: {found[name]['spearman']['value']:.2f}", fontsize=9)
        axes.tick_params(labelsize=7)
        if index % ACROSS == 0:
            axes.set_ylabel(f"{metric}, full", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return to_svg(figure)
