"""What a report tells about a gradient search: the mixture over time, entropy, costs of edges, wiring patterns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import search_plot
from nichenas.core.figures.plots import to_svg
from nichenas.core.gradient.effect import effect_statements
from nichenas.core.gradient.effect import late_share
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.wiring import alive
from nichenas.core.gradient.wiring import depth
from nichenas.core.gradient.wiring import patterns
from nichenas.core.gradient.wiring import statements
from nichenas.core.gradient.wiring import width
from nichenas.core.methods.sections import Section
from nichenas.core.methods.sections import section
from nichenas.core.session.record import RunRecord
from nichenas.core.trial import Trial

COLUMNS = 5  # small plots in a row


@dataclass(frozen=True)
class GroupFigures:
    """One group of edges.

    Attributes:
        mixtures: a small plot an edge.
        costs: cumulated cost of every edge, summed over cells; empty where none was recorded.
        patterns: in words; empty where they cannot be told.
        living: width and depth at the end, in words.
    """

    name: str
    mixtures: Markup
    costs: Markup
    patterns: list[str]
    living: str


@dataclass(frozen=True)
class GradientFigures:
    """The whole section.

    Attributes:
        shape: entropy, margin and the share of operations without weights over the epochs.
        scores: of the supernet and of its discretised form.
        samples: loss minus entropy over the epochs, by split; empty where it was not recorded.
        effect: what the search did, in words; empty until the run has ended.
    """

    groups: list[GroupFigures]
    shape: Markup
    scores: Markup
    samples: Markup
    effect: list[str]


def gradient_sections(record: RunRecord) -> list[Section]:
    """Returns the sections of a run; none before its first epoch."""
    trials = sorted((trial for trial in record.trials if trial.stage == 0), key=lambda trial: trial.number)
    measured = [trial.measurement for trial in trials if trial.measurement is not None]
    epochs = [measurement.diagnostics for measurement in measured]
    if not epochs:
        return []
    groups = [EdgeGroup.from_dict(fields) for fields in epochs[0]["groups"].values()]
    if len({json.dumps(epoch.get("parameters")) for epoch in epochs}) == 1 < len(epochs):  # no mixture to see
        groups = []
    values = [measurement.values for measurement in measured]
    figures = GradientFigures(
        [_figures(group, epochs) for group in groups],
        _shape(groups, epochs),
        _scores(values),
        _samples(epochs),
        _effect(record, epochs),
    )
    return [section("gradient.html", "details", figures=figures)]


def selection_section(record: RunRecord, trials: Sequence[Trial]) -> list[Section]:
    """Returns the scores of the architectures that were tried in the supernet, which follow the epochs."""
    metric = record.objectives[0]
    values = [None if trial.failed else trial.value(metric) for trial in sorted(trials, key=lambda t: t.number)]
    plot = search_plot(values, metric.name, metric.sign, None, "scored architecture")
    note = "Every architecture that was tried in the trained supernet, one at a time, and the best so far."
    return [Section(Markup('<p class="note">{}</p><figure>{}</figure>').format(note, plot))]


def _effect(record: RunRecord, epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    effect = record.result.further.get("effect") if record.result is not None else None
    if effect is None:
        return []
    shares = [epoch.get("distinguished") for epoch in epochs]
    return effect_statements(effect, late_share(shares), 1 if record.objectives[0].direction == "maximize" else -1)


def _figures(group: EdgeGroup, epochs: Sequence[Mapping[str, Any]]) -> GroupFigures:
    history = [epoch["mixture"][group.name] for epoch in epochs]
    found = patterns(group, history)
    living = ""
    if found is not None:
        now = alive(group, history[-1])
        living = f"at the end {width(group, now)} edges from inputs live; the longest living path: {depth(group, now)}"
    return GroupFigures(
        group.name,
        _mixtures(group, np.array(history)),
        costs=_costs(group, epochs),
        patterns=statements(group, found) if found is not None else [],
        living=living,
    )


def _mixtures(group: EdgeGroup, history: Any) -> Markup:
    rows = -(-len(group.edges) // COLUMNS)
    figure = Figure(figsize=(9.4, 1.45 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    steps = np.arange(len(history))
    for index, axis in enumerate(axes.flat):
        if index >= len(group.edges):
            axis.set_visible(False)
            continue
        for k, name in enumerate(group.operations):
            style = "--" if name in group.parameter_free else "-"
            axis.plot(
                steps,
                history[:, index, k],
                style,
                color=colours[k % 10],
                linewidth=1,
                label=name if index == 0 else None,
            )
        axis.set_title("{} → {}".format(*group.edges[index]), fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.2)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return to_svg(figure)


def _costs(group: EdgeGroup, epochs: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [epoch.get("wiring", {}).get("edge_costs", {}).get(group.name) for epoch in epochs]
    if any(row is None for row in rows):
        return Markup("")
    table = np.array(rows).sum(1).cumsum(0)  # (epochs, edges)
    figure, axes = new_figure()
    for edge, (source, target) in enumerate(group.edges):
        outer = source < group.inputs
        axes.plot(
            table[:, edge],
            color=COLOURS[0] if outer else COLOURS[1],
            alpha=0.75,
            linewidth=1,
            label={True: "from an input", False: "between nodes"}[outer] if edge in _firsts(group) else None,
        )
        axes.annotate(
            f"{source}→{target}",
            (len(table) - 1, table[-1, edge]),
            fontsize=6,
            annotation_clip=False,
            xytext=(3, 0),
            textcoords="offset points",
        )
    finish(axes, "epoch", "cumulated cost of an edge", legend="best")
    return to_svg(figure)


def _firsts(group: EdgeGroup) -> set[int]:
    outer = [i for i, (source, _) in enumerate(group.edges) if source < group.inputs]
    inner = [i for i in range(len(group.edges)) if i not in outer]
    return {edges[0] for edges in (outer, inner) if edges}


def _shape(groups: Sequence[EdgeGroup], epochs: Sequence[Mapping[str, Any]]) -> Markup:
    figure, axes = new_figure()
    for colour, group in zip(COLOURS, groups, strict=False):
        free = [k for k, name in enumerate(group.operations) if name in group.parameter_free]
        limit = float(np.log(len(group.operations)))
        axes.plot([e["entropy"][group.name] / limit for e in epochs], color=colour, label=f"entropy, {group.name}")
        axes.plot([e["margin"][group.name] for e in epochs], ":", color=colour, label=f"margin, {group.name}")
        share = [np.array(e["mixture"][group.name])[:, free].sum(1).mean() for e in epochs]
        axes.plot(share, "--", color=colour, label=f"without weights, {group.name}")
    axes.set_ylim(0, 1.02)
    finish(axes, "epoch", "share", legend="best")
    return to_svg(figure)


def _scores(values: Sequence[Mapping[str, float]]) -> Markup:
    figure, axes = new_figure()
    names = [name for name in values[0] if "supernet" in name and not name.startswith("loss")]
    for colour, name in zip(COLOURS, names, strict=False):
        axes.plot([row[name] for row in values], color=colour, label=name)
    finish(axes, "epoch", "validation", legend="best")
    return to_svg(figure)


def _samples(epochs: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [epoch.get("wiring", {}).get("samples", {}) for epoch in epochs]
    splits = [split for split in ("train", "held-out") if all(split in row for row in rows)]
    if not splits:
        return Markup("")
    figure, axes = new_figure()
    for colour, split in zip(COLOURS, splits, strict=False):
        for part, style in (("all", "-"), ("right", ":"), ("wrong", "--")):
            curve = [row[split].get(part, {}).get("difference", float("nan")) for row in rows]
            axes.plot(curve, style, color=colour, label=f"{split}, {part} samples")
    axes.set_yscale("symlog", linthresh=0.1)
    finish(axes, "epoch", "cross-entropy − entropy", legend="best")
    return to_svg(figure)
