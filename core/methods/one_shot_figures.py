"""What a report tells about a one-shot search: scores, losses and resets over the iterations, entropy of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import to_svg
from nichenas.core.methods.sections import Section
from nichenas.core.methods.sections import section
from nichenas.core.session.record import RunRecord
from nichenas.core.trial import Trial


@dataclass(frozen=True)
class OneShotFigures:
    """The whole section.

    Attributes:
        scores: every figure of the scored architectures over the iterations.
        losses: of the shared training over its steps.
        entropy: of every choice over the iterations; empty where the strategy has no policy.
        resets: iteration, step in it, and reason of each.
        beams: architectures that each stage left, best first, with the figure they were chosen by.
    """

    scores: Markup
    losses: Markup
    entropy: Markup
    resets: list[Mapping[str, Any]]
    beams: list[tuple[int, list[Trial]]]


def one_shot_sections(record: RunRecord) -> list[Section]:
    """Returns the sections of a run; none where nothing was scored."""
    good = sorted((trial for trial in record.trials if not trial.failed), key=lambda trial: trial.number)
    if not good:
        return []
    records = [entry for trial in good for entry in _diagnostics(trial).get("iterations", [])]
    resets: list[Mapping[str, Any]] = [
        {"iteration": entry["iteration"], "stage": entry["stage"], **event}
        for entry in records
        for event in entry["resets"]
    ]
    figures = OneShotFigures(
        _scores(good, resets), _losses(records), entropy=_entropy(good), resets=resets, beams=_beams(good)
    )
    return [section("one_shot.html", figures=figures, metric=record.objectives[0].name)]


def _diagnostics(trial: Trial) -> Mapping[str, Any]:
    assert trial.measurement is not None
    return trial.measurement.diagnostics


def _iteration(trial: Trial) -> int | None:
    number = trial.record.get("iteration")
    return None if number is None else int(number)


def _stage_starts(trials: Sequence[Trial]) -> list[int]:
    """Returns the first iteration of every stage but the first."""
    first: dict[int, int] = {}
    for trial in trials:
        number = _iteration(trial)
        if number is not None:
            first.setdefault(trial.stage, number)
    return [number for stage, number in sorted(first.items()) if stage > 0]


def _scores(trials: Sequence[Trial], resets: Sequence[Mapping[str, Any]]) -> Markup:
    assert trials[0].measurement is not None
    names = list(trials[0].measurement.values)
    told = [trial for trial in trials if _iteration(trial) is not None]
    figure = Figure(figsize=(7.2, 2.6 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        by_iteration: dict[int, list[float]] = {}
        for trial in told:
            assert trial.measurement is not None
            by_iteration.setdefault(_iteration(trial) or 0, []).append(trial.measurement.values[name])
        points = [(number, value) for number, values in by_iteration.items() for value in values]
        axes.plot(*zip(*points, strict=True), ".", color=COLOURS[0], alpha=0.3) if points else None
        axes.plot(
            list(by_iteration), [float(np.mean(v)) for v in by_iteration.values()], color=COLOURS[0], label="mean"
        )
        for position, start in enumerate(_stage_starts(trials)):
            axes.axvline(start - 0.5, color="#999", linestyle="--", label="next stage" if position == 0 else None)
        for position, event in enumerate(resets):
            label = "weights reinitialised" if position == 0 else None
            axes.axvline(event["iteration"], color=COLOURS[1], alpha=0.6, label=label)
        finish(axes, "iteration", name, legend="best")
    return to_svg(figure)


def _losses(records: Sequence[Mapping[str, Any]]) -> Markup:
    figure, axes = new_figure()
    for colour, name in zip(COLOURS, records[0]["losses"] if records else (), strict=False):
        steps: list[float] = []
        values: list[float] = []
        done = 0
        for record in records:
            curve = record["losses"].get(name, [])
            steps += [done + record["steps"] * (i + 0.5) / len(curve) for i in range(len(curve))]
            values += curve
            done += record["steps"]
        axes.plot(steps, values, color=colour, label=name, linewidth=1)
    done, stage = 0, 0
    for record in records:
        if record["stage"] != stage:
            axes.axvline(done, color="#999", linestyle="--")
            stage = record["stage"]
        for event in record["resets"]:
            axes.axvline(done + event["step"], color=COLOURS[1], alpha=0.6)
        done += record["steps"]
    finish(axes, "steps of the shared training", "loss (mean of a stretch)", legend="best")
    return to_svg(figure)


def _entropy(trials: Sequence[Trial]) -> Markup:
    curves: dict[str, dict[int, list[float]]] = {}
    for trial in trials:
        number = _iteration(trial)
        for name, value in _diagnostics(trial).get("entropy", {}).items():
            if number is not None:
                curves.setdefault(name, {}).setdefault(number, []).append(value)
    if not curves:
        return Markup("")
    figure, axes = new_figure()
    styles = ("-", "--", ":")
    for index, (name, by_iteration) in enumerate(curves.items()):
        axes.plot(
            list(by_iteration),
            [float(np.mean(v)) for v in by_iteration.values()],
            styles[index // len(COLOURS) % len(styles)],
            color=COLOURS[index % len(COLOURS)],
            label=name,
        )
    axes.set_ylim(bottom=0)
    finish(axes, "iteration", "entropy, nats", legend="best")
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="best")
    return to_svg(figure)


def _beams(trials: Sequence[Trial]) -> list[tuple[int, list[Trial]]]:
    stages: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.final:
            stages.setdefault(trial.stage, []).append(trial)
    return sorted(stages.items())
