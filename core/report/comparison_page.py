"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from markupsafe import Markup

from nichenas.core.figures.anytime import band
from nichenas.core.figures.page import write_page
from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import limit
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import to_svg
from nichenas.core.report.comparison import ArmFigures
from nichenas.core.report.comparison_summary import TESTED
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.session.record import RunRecord


def write_comparison_page(
    folder: Path, summary: ComparisonSummary, figures: Sequence[ArmFigures], first: RunRecord
) -> Path:
    """Writes ``report.html`` of a comparison and returns its path.

    Args:
        figures: of the arms, for their curves.
        first: any of the runs, for settings, environment and baselines.
    """
    return write_page(
        folder / "report.html",
        "comparison.html",
        summary=summary,
        tested=TESTED,
        after=sorted({n for arm in summary.arms for n in arm.regret}),
        plot=comparison_plot(figures, summary.searched, summary.unit),
        notes=first.notes,
        baselines=first.result.baselines if first.result is not None else (),
        settings=yaml.safe_dump(first.config, sort_keys=False, allow_unicode=True),
        environment=first.environment,
    )


def comparison_plot(figures: Sequence[ArmFigures], metric: str, unit: str) -> Markup:
    """Returns the mean best-so-far curve of every arm with its 95% interval.

    Args:
        unit: of what is spent.
    """
    figure, axes = new_figure()
    for colour, arm in zip(COLOURS * len(figures), figures, strict=False):
        spent, mean, low, high = band(arm.curves)
        axes.plot(spent, mean, color=colour, label=arm.name)
        axes.fill_between(spent, low, high, color=colour, alpha=0.15, linewidth=0)
    finish(axes, unit, f"best validation {metric} so far", "lower right" if len(figures) < 4 else "outside")
    limit(axes, [band(arm.curves)[1] for arm in figures])
    return to_svg(figure)
