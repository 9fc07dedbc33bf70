"""The page of a study of proxies: how well each ranks a sample of architectures, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from nichenas.core.proxies.consistency import Consistency
from nichenas.core.proxies.consistency import Correlation
from nichenas.core.proxies.study_settings import REPEATED
from nichenas.core.proxies.study_summary import Difference
from nichenas.core.proxies.study_summary import Study
from nichenas.core.proxies.study_summary import StudySummary

ACROSS = 4  # scatter plots side by side
FIRST = ("channels", "resolution", "samples")  # columns of sizes, before a domain's own factors and the epochs


@dataclass(frozen=True)
class Distinguished:
    """Two settings whose correlations differ by more than chance explains."""

    better: str
    worse: str
    gap: Correlation


@dataclass(frozen=True)
class _Axis:
    """A kind of cost, as it is plotted.

    Attributes:
        costs: by setting or score; none where it is not known.
        cheapest: name of the cheapest proxy that is good enough.
        base: of the logarithmic axis.
        alike: relative difference of costs up to which points stand side by side; they would lie on each other.
    """

    label: str
    costs: Mapping[str, float | None]
    cheapest: str | None
    base: int
    alike: float


def write_proxies_page(folder: Path, study: Study) -> Path:
    """Writes ``report.html`` of a study and returns its path."""
    summary = study.summary
    return write_page(
        folder / "report.html",
        "proxies.html",
        summary=summary,
        repeated=REPEATED,
        factors=_factors(summary),
        distinguished=distinguished(summary.differences),
        costs=_cost_plots(summary),
        scatter=_scatter(study, summary.proxies),
        untrained=_scatter(study, summary.zero_cost, by_rank=True),
        settings=(folder / "config.yaml").read_text(encoding="utf-8") if read_yaml(folder / "config.yaml") else "",
        environment=read_json(folder / "environment.json"),
    )


def _factors(summary: StudySummary) -> list[str]:
    """Returns the factors of which every setting has a size: standard ones, the domain's own, epochs."""
    known = [name for name in summary.sizes[summary.full] if all(name in own for own in summary.sizes.values())]
    own = [name for name in known if name not in (*FIRST, "epochs")]
    return [name for name in (*FIRST, *own, "epochs") if name in known]


def distinguished(differences: Sequence[Difference]) -> list[Distinguished]:
    """Returns the pairs whose interval excludes 0, the better setting first, the largest difference first."""
    found = []
    for pair in differences:
        sign, gap = (1 if pair.gap.value > 0 else -1), pair.gap
        low, high = sorted((sign * gap.low, sign * gap.high))
        better, worse = (pair.one, pair.other)[::sign]
        if low > 0:
            found.append(Distinguished(better, worse, Correlation(sign * gap.value, low, high)))
    return sorted(found, key=lambda pair: -pair.gap.value)


def _cost_plots(summary: StudySummary) -> list[Markup]:
    """Returns correlation against arithmetic, and against seconds, where scores of untrained networks have theirs."""
    seconds = {**{name: summary.seconds[name] for name in summary.cost}, **summary.zero_cost_seconds}
    arithmetic = "arithmetic, as a share of the full setting's"
    plots = [
        _cost_plot(summary, _Axis(arithmetic, summary.cost, summary.cheapest, base=2, alike=0.1)),
        _cost_plot(summary, _Axis("seconds", seconds, summary.cheapest_by_seconds, base=10, alike=0.0)),
    ]
    return [plot for plot in plots if plot is not None]


def _cost_plot(summary: StudySummary, axis: _Axis) -> Markup | None:
    """Returns correlation against cost, with the 95% intervals; the required one and the full setting's own.

    None where nothing has a cost.
    """
    columns = {**summary.proxies, **summary.zero_cost}
    shown = [
        (name, cost, found.spearman)
        for name, cost in axis.costs.items()
        if cost and (found := columns.get(name)) is not None and math.isfinite(found.spearman.value)
    ]
    if not shown:
        return None
    figure, axes = new_figure()
    for index, (name, cost, one) in enumerate(shown):
        group = [other for other, c, _ in shown if other == name or abs(c - cost) < axis.alike * cost]
        at = cost * 1.12 ** (group.index(name) - (len(group) - 1) / 2)
        colour = COLOURS[index % len(COLOURS)]
        bars = [[max(0.0, one.value - one.low)], [max(0.0, one.high - one.value)]]
        text = f"{name} (cheapest)" if name == axis.cheapest else name
        mark = ("o" if name in summary.proxies else "x", "s", "^")[index // len(COLOURS) % 3]
        axes.errorbar([at], [one.value], yerr=bars, fmt=mark, color=colour, capsize=2, linewidth=1, label=text)
    repeated = summary.repeated
    if repeated is not None and math.isfinite(repeated.spearman.value):
        axes.axhline(repeated.spearman.value, color="#999", linewidth=1, label=REPEATED)
    axes.axhline(summary.min_correlation, color="#999", linestyle=":", linewidth=1, label="required")
    axes.set_xscale("log", base=axis.base)
    finish(axes, axis.label, "Spearman's correlation", "outside")
    return to_svg(figure)


def _scatter(study: Study, found: Mapping[str, Consistency | None], by_rank: bool = False) -> Markup | None:
    """Returns a small plot for each column of scores against the full setting; none where there is no column.

    Args:
        by_rank: plots the scores' ranks: the values of some span many orders of magnitude.
    """
    columns = {name: one for name, one in found.items() if one is not None}
    if not columns:
        return None
    full, down = study.summary.full, -(-len(columns) // ACROSS)
    figure = Figure(figsize=(9.6, 2.4 * down), layout="constrained")
    for index, (name, one) in enumerate(columns.items()):
        axes = figure.add_subplot(down, ACROSS, index + 1)
        both = [(row.values.get(name), row.values[full]) for row in study.rows]
        pairs = [(score, value) for score, value in both if score is not None and value is not None]
        scores, values = [score for score, _ in pairs], [value for _, value in pairs]
        axes.plot(stats.rankdata(scores) if by_rank else scores, values, ".", color=COLOURS[0], alpha=0.7)
        axes.set_title(f"{name}: {one.spearman.value:.2f}", fontsize=9)
        axes.tick_params(labelsize=7)
        if index % ACROSS == 0:
            axes.set_ylabel(f"{study.summary.metric}, full", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return to_svg(figure)
