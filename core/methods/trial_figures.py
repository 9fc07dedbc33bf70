"""What a scheduler did, for the report: measurements of every fidelity over the epochs that were spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from nichenas.core.figures.anytime import best_so_far
from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import to_svg
from nichenas.core.methods.sections import Section
from nichenas.core.methods.sections import section
from nichenas.core.session.record import RunRecord
from nichenas.core.trial import Trial


@dataclass(frozen=True)
class Rung:
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
class SchedulerFigures:
    """Figures of a run whose trials were measured at several fidelities."""

    plot: Markup
    rungs: list[Rung]
    epochs: int


def scheduler_section(record: RunRecord) -> Section | None:
    """Returns the section of a run; none where all trials were measured at one fidelity."""
    if len({trial.proposal.fidelity for trial in record.trials}) < 2:
        return None
    objective = record.objectives[0]
    levels = sorted({trial.proposal.fidelity.cost for trial in record.trials})
    unit = "epochs" if any(trial.epochs for trial in record.trials) else "trials"
    spent = record.spent(unit)
    figure, axes = new_figure()
    rungs = []
    for number, level in enumerate(levels, 1):
        own = [(at, t) for at, t in zip(spent, record.last_stage, strict=True) if t.proposal.fidelity.cost == level]
        good = [(at, t.value(objective)) for at, t in own if not t.failed]
        if good:
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*zip(*good, strict=True), ".", color=colour, alpha=0.5, label=f"rung {number}")
        rungs.append(_rung(number, [t for _, t in own], [value for _, value in good], objective.sign))
    values = record.values(objective)
    if any(value is not None for value in values):
        best = best_so_far(values, objective.sign)
        axes.step(np.array(spent), best, where="post", color=COLOURS[0], label="best complete so far")
    finish(axes, f"{unit} spent", f"validation {objective.name}", "outside")
    figures = SchedulerFigures(to_svg(figure), rungs, sum(trial.epochs for trial in record.trials))
    return section("scheduler.html", figures=figures, metric=objective.name)


def _rung(number: int, trials: Sequence[Trial], values: Sequence[float], sign: float) -> Rung:
    best = max(values, key=lambda value: sign * value, default=None)
    failed = sum(trial.failed for trial in trials)
    return Rung(number, len(trials), failed=failed, epochs=sum(trial.epochs for trial in trials), best=best)
