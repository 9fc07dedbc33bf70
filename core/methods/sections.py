"""Parts of a run's report that search methods write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from nichenas.core.figures.page import render
from nichenas.core.figures.plots import search_plot
from nichenas.core.session.record import RunRecord


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        html: escaped already.
        place: ``search`` comes first, ``details`` after the drawings of architectures.
    """

    html: Markup
    place: Literal["search", "details"] = "search"


def section(template: str, place: Literal["search", "details"] = "search", **values: object) -> Section:
    """Returns a section from a template of :mod:`nichenas.core.figures`."""
    return Section(render(template, **values), place)


def search_section(record: RunRecord, unit: str, baseline: RunRecord | None) -> Section:
    """Returns the value of every trial and the best so far, beside a random search where there is one."""
    metric = record.objectives[0]
    other = None if baseline is None else baseline.values(baseline.objectives[0])
    plot = search_plot(record.values(metric), metric.name, metric.sign, other, unit)
    return Section(Markup("<figure>{}</figure>").format(plot))
