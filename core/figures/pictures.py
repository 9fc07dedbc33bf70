"""Pictures and curves that full trainings left in the run folder, for the report."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from nichenas.core.figures.plots import COLOURS
from nichenas.core.figures.plots import finish
from nichenas.core.figures.plots import new_figure
from nichenas.core.figures.plots import to_svg

LARGEST = 2 * 2**20  # bytes of a picture that goes into a page
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Pictures:
    """What one full training left.

    Attributes:
        label: of the architecture or baseline.
        images: name and data address of every picture.
        curves: figures over the training, by name.
    """

    label: str
    images: list[tuple[str, str]]
    curves: Mapping[str, Sequence[tuple[float, float]]]


def pictures_of(folder: Path, labels: Sequence[str], names: Sequence[str]) -> list[Pictures]:
    """Returns what the first training of every label left, in the order of the labels.

    Args:
        folder: of all artifacts; only what is found by listing it is opened.
        names: of pictures, without their ending; others are not shown.
    """
    if not folder.is_dir():
        return []
    there = {entry.name: entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()}
    found = []
    for label in labels:
        place = there.get(f"{label}-0")
        if place is None:
            continue
        files = {file.name: file for file in place.iterdir() if file.is_file() and not file.is_symlink()}
        images = [(name, _address(files[f"{name}.png"])) for name in names if f"{name}.png" in files]
        found.append(Pictures(label, [(n, a) for n, a in images if a], _curves(files.get("curves.json"))))
    return found


def _address(file: Path) -> str:
    if file.stat().st_size > LARGEST:
        return ""
    content = file.read_bytes()
    return "data:image/png;base64," + base64.b64encode(content).decode() if content.startswith(SIGNATURE) else ""


def _curves(file: Path | None) -> dict[str, list[tuple[float, float]]]:
    """Returns the curves in a file; nothing where it is damaged."""
    if file is None:
        return {}
    try:
        held = json.loads(file.read_text(encoding="utf-8"))["step"]
        return {str(name): [(float(x), float(y)) for x, y in points] for name, points in held.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def curve_plots(found: Sequence[Pictures], names: Mapping[str, str], limit: int = 6) -> list[Markup]:
    """Returns a plot a curve, with a line for each of the first trainings.

    Args:
        names: what a label is called in the legend.
        limit: how many curves are drawn at most.
    """
    titles: list[str] = []
    for pictures in found:
        titles += [name for name in pictures.curves if name not in titles]
    plots = []
    for title in titles[:limit]:
        figure, axes = new_figure()
        for index, pictures in enumerate(found):
            points = [(x, y) for x, y in pictures.curves.get(title, []) if math.isfinite(y)]
            if points:
                style = "-" if index < len(COLOURS) else "--"
                colour = COLOURS[index % len(COLOURS)]
                label = names.get(pictures.label, pictures.label)
                axes.plot(*zip(*points, strict=True), style, color=colour, label=label, linewidth=1)
        finish(axes, "step", title)
        axes.legend(frameon=False, fontsize=8, loc="best", ncols=2)
        plots.append(to_svg(figure))
    return plots
