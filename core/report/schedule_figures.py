"""What a schedule did, for the report: measurements of every fidelity over the epochs that were spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from nichenas.core.domain import Trial
from nichenas.core.report.comparison import best_so_far
from nichenas.core.report.plots import COLOURS
from nichenas.core.report.plots import finish
from nichenas.core.report.plots import new_figure
from nichenas.core.report.plots import to_svg
from nichenas.core.report.record import RunRecord


@dataclass(frozen=True)
class Segment:
    """The trials of one part of trainings.

    Attributes:
        number: which part, from 1.
        epochs: that all of them trained.
        best: the best value; none where all failed.
    """

    number: int
    trials: int
    failed: int
    epochs: int
    best: float | None


@dataclass(frozen=True)
class ScheduleFigures:
    """Figures of a run whose trials were measured at several fidelities."""

    plot: Markup
    segments: list[Segment]
    epochs: int


def schedule_figures(record: RunRecord) -> ScheduleFigures | None:
    """Returns the figures of a run; none where all trials were measured at one fidelity."""
    if not record.scheduled:
        return None
    objective = record.objectives[0]
    levels = sorted({trial.proposal.fidelity.cost for trial in record.trials})
    unit = "epochs" if any(trial.epochs for trial in record.trials) else "trials"
    spent = record.spent(unit)
    figure, axes = new_figure()
    segments = []
    for number, level in enumerate(levels, 1):
        own = [(at, t) for at, t in zip(spent, record.last_stage, strict=True) if t.proposal.fidelity.cost == level]
        good = [(at, t.value(objective)) for at, t in own if not t.failed]
        if good:
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*zip(*good, strict=True), ".", color=colour, alpha=0.5, label=f"segment {number}")
        segments.append(_segment(number, [t for _, t in own], [value for _, value in good], objective.sign))
    values = record.values(objective)
    if any(value is not None for value in values):
        best = best_so_far(values, objective.sign)
        axes.step(np.array(spent), best, where="post", color=COLOURS[0], label="best complete so far")
    finish(axes, f"{unit} spent", f"validation {objective.name}", "outside")
    return ScheduleFigures(to_svg(figure), segments, sum(trial.epochs for trial in record.trials))


def _segment(number: int, trials: Sequence[Trial], values: Sequence[float], sign: float) -> Segment:
    best = max(values, key=lambda value: sign * value, default=None)
    failed = sum(trial.failed for trial in trials)
    return Segment(number, len(trials), failed, sum(trial.epochs for trial in trials), best)
