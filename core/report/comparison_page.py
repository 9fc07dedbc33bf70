"""The page of a comparison of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from nichenas.core.figures.anytime import band
from nichenas.core.figures.page import write_page
from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import limit
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import to_svg
from nichenas.core.report.comparison import StrategyFigures
from nichenas.core.report.comparison import interval
from nichenas.core.session.record import RunRecord


def write_comparison_page(
    folder: Path, summary: Mapping[str, Any], sides: Sequence[StrategyFigures], first: RunRecord
) -> Path:
    """Writes ``report.html`` of a comparison and returns its path.

    Args:
        summary: what ``comparison.json`` holds.
        sides: the figures behind it.
        first: any of the runs, for settings, environment and baselines.
    """
    measures = {entry["name"]: entry["measures"] for entry in summary["strategies"]}
    rows = [
        {
            "name": side.name,
            "measures": measures[side.name] if measures[side.name] != summary["searched"] else "",
            "runs": len(side.best),
            "best": interval(side.best),
            "mean": interval(side.mean),
            "last": interval(side.last),
            "test": interval(side.test) if side.test else None,
            "tests": side.test,
            "rank": entry["mean_rank"],
            "regret": entry.get("regret", {}),
            "failed": sum(side.failed),
            "seconds": sum(side.seconds),
            "simulated": float(np.mean(side.simulated)) if side.simulated else None,
        }
        for side, entry in zip(sides, summary["strategies"], strict=True)
    ]
    return write_page(
        folder / "report.html",
        "comparison.html",
        summary=summary,
        rows=rows,
        after=sorted({int(n) for row in rows for n in row["regret"]}),
        plot=comparison_plot(sides, summary["searched"], summary["unit"]),
        baselines=first.result.baselines if first.result is not None else (),
        settings=yaml.safe_dump(first.config, sort_keys=False, allow_unicode=True),
        environment=first.environment,
    )


def comparison_plot(sides: Sequence[StrategyFigures], metric: str, unit: str) -> Markup:
    """Returns the mean best-so-far curve of every strategy with its 95% interval.

    Args:
        unit: of what is spent.
    """
    figure, axes = new_figure()
    for colour, side in zip(COLOURS * len(sides), sides, strict=False):
        spent, mean, low, high = band(side.curves)
        axes.plot(spent, mean, color=colour, label=side.name)
        axes.fill_between(spent, low, high, color=colour, alpha=0.15, linewidth=0)
    finish(axes, unit, f"best validation {metric} so far", "lower right" if len(sides) < 4 else "outside")
    limit(axes, [band(side.curves)[1] for side in sides])
    return to_svg(figure)
