"""Plots of the reports, as SVG that is part of the page."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nichenas.core.figures.anytime import best_so_far

COLOURS = ("#1f5fa8", "#c4572e", "#2f8f5b", "#7a4fa0", "#8a6d1b", "#4a4a4a")
LABEL = 36  # characters of a label that an axis has room for


def search_plot(
    values: Sequence[float | None],
    metric: str,
    sign: float,
    baseline: Sequence[float | None] | None = None,
    unit: str = "trial",
) -> Markup:
    """Returns the value of every trial and the best so far; of the random baseline too, where there is one.

    Args:
        values: in the order of trials, none where one failed.
        sign: +1 where more is better, -1 where less is.
        baseline: values of an equal-budget random search.
        unit: what a value belongs to.
    """
    figure, axes = new_figure()
    trials = np.arange(1, len(values) + 1)
    good = [(number, value) for number, value in zip(trials, values, strict=True) if value is not None]
    if good:
        axes.plot(*zip(*good, strict=True), ".", color=COLOURS[0], alpha=0.35, label=f"{unit}")
        axes.step(trials, best_so_far(values, sign), where="post", color=COLOURS[0], label="best so far")
    if baseline:
        curve = best_so_far(baseline, sign)
        axes.step(
            np.arange(1, len(curve) + 1), curve, where="post", color=COLOURS[1], linestyle="--", label="random search"
        )
    failed = [number for number, value in zip(trials, values, strict=True) if value is None]
    if failed:
        axes.plot(failed, [0.01] * len(failed), "x", color="#999", transform=axes.get_xaxis_transform(), label="failed")
    finish(axes, unit, f"validation {metric}")
    return to_svg(figure)


def training_plot(curves: Sequence[tuple[str, Sequence[tuple[int, float]]]], metric: str) -> Markup:
    """Returns the validation curves of some trials over their training epochs."""
    figure, axes = new_figure()
    for colour, (label, curve) in zip(COLOURS * len(curves), curves, strict=False):
        if curve:
            axes.plot(*zip(*curve, strict=True), color=colour, label=label, linewidth=1)
    finish(axes, "epoch", f"validation {metric}")
    return to_svg(figure)


def new_figure() -> tuple[Figure, Any]:
    """Returns a figure of the reports' size and its axes."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    return figure, figure.add_subplot()


def finish(axes: Any, x: str, y: str, legend: str = "lower right") -> None:
    """Labels axes the way all plots of the reports are.

    Args:
        legend: where it stands in the axes; ``outside`` is to the right of them.
    """
    axes.set_xlabel(x)
    axes.set_ylabel(textwrap.fill(y, LABEL))
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        outside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "fontsize": 8}
        axes.legend(frameon=False, **(outside if legend == "outside" else {"loc": legend}))


def limit(axes: Any, means: Sequence[NDArray[np.float64]]) -> None:
    """Leaves the first tenth of the curves out of the range: early trials would squeeze the rest flat."""
    late = np.concatenate([mean[len(mean) // 10 :] for mean in means])
    late = late[np.isfinite(late)]
    if len(late) and np.ptp(late) > 0:
        margin = 0.15 * float(np.ptp(late))
        axes.set_ylim(float(late.min()) - margin, float(late.max()) + 2 * margin)


def to_svg(figure: Figure) -> Markup:
    """Returns a figure as SVG for a page."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nichenas", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    # The XML head names the address of a DTD; a page needs neither.
    return Markup(text[text.index("<svg") :])  # noqa: S704  (made by matplotlib, which escapes text)
