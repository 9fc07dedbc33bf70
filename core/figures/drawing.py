"""Architectures as SVG: nodes in layers from top to bottom, edges between them."""

from __future__ import annotations

from markupsafe import Markup
from markupsafe import escape

from nichenas.core.trial import Drawing

CHARACTER = 6.6  # width of a character of the label's font, pixels
LINE = 15.0
PADDING = 10.0
GAP_X = 24.0
GAP_Y = 34.0
LANE = 16.0  # between edges that go around nodes


def to_svg(drawing: Drawing) -> Markup:
    """Returns a drawing as one ``<svg>`` element, all text escaped.

    A node lies one layer below the lowest of those that lead to it; parts that are not connected lie side by side.
    An edge that would run behind another node goes around it on the right.

    Raises:
        ValueError: when an edge names an unknown node, or the graph has a cycle.
    """
    layers = _layers(drawing)
    size = {name: _size(label) for name, label in drawing.nodes.items()}
    place: dict[str, tuple[float, float]] = {}
    lanes: dict[int, float] = {}  # where an edge goes around, by its position
    start, height = PADDING, 0.0
    for part in _parts(drawing):
        rows: dict[int, list[str]] = {}
        for name in part:
            rows.setdefault(layers[name], []).append(name)
        widths = {layer: sum(size[n][0] for n in names) + GAP_X * (len(names) - 1) for layer, names in rows.items()}
        total = max(widths.values())
        top = PADDING
        for layer in sorted(rows):
            left = start + (total - widths[layer]) / 2
            for name in rows[layer]:
                place[name] = (left, top)
                left += size[name][0] + GAP_X
            top += max(size[name][1] for name in rows[layer]) + GAP_Y
        right = start + total
        taken = LANE
        for index, (source, target, label) in enumerate(drawing.edges):
            if source in part:
                edge = _behind(place, size, part, source, target)
                if edge is not None:
                    lanes[index] = edge + taken
                    taken += LANE + len(label) * CHARACTER
                    right = max(right, lanes[index] + len(label) * CHARACTER)
        start = right + 2 * GAP_X
        height = max(height, top - GAP_Y + PADDING)
    width = start - 2 * GAP_X + PADDING
    parts = [
        Markup('<svg class="drawing" xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" ').format(
            w=width, h=height
        ),
        Markup('viewBox="0 0 {w:.0f} {h:.0f}" role="img">').format(w=width, h=height),
        Markup('<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '),
        Markup('orient="auto"><path d="M0 0L8 4L0 8z" class="head"/></marker></defs>'),
    ]
    for index, (source, target, label) in enumerate(drawing.edges):
        ends = place[source], size[source], place[target], size[target], label
        parts.append(_around(lanes[index], *ends) if index in lanes else _edge(*ends))
    for name, text in drawing.nodes.items():
        parts.append(_node(place[name], size[name], text))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _behind(
    place: dict[str, tuple[float, float]],
    size: dict[str, tuple[float, float]],
    part: list[str],
    source: str,
    target: str,
) -> float | None:
    """Returns the right border of the nodes beside an edge that would run behind one; none for other edges."""
    x1, y1 = place[source][0] + size[source][0] / 2, place[source][1] + size[source][1]
    x2, y2 = place[target][0] + size[target][0] / 2, place[target][1]
    hidden, border = False, 0.0
    for name in part:
        (left, top), (width, height) = place[name], size[name]
        if name in (source, target) or top + height <= y1 or top >= y2:
            continue
        border = max(border, left + width)
        share = (top + height / 2 - y1) / (y2 - y1)
        x = x1 + share * share * (3 - 2 * share) * (x2 - x1)  # about where the curve is at that height
        hidden = hidden or left < x < left + width
    if not hidden:
        return None
    return max(border, place[source][0] + size[source][0], place[target][0] + size[target][0])


def _around(
    lane: float,
    start: tuple[float, float],
    start_size: tuple[float, float],
    end: tuple[float, float],
    end_size: tuple[float, float],
    label: str,
) -> Markup:
    """Returns an edge from one right side to the other, by way of a vertical lane."""
    x1, y1 = start[0] + start_size[0], start[1] + start_size[1] / 2
    x2, y2 = end[0] + end_size[0], end[1] + end_size[1] / 2
    path = Markup(
        '<path class="edge" marker-end="url(#arrow)" '
        'd="M{:.1f} {:.1f}C{lane:.1f} {:.1f} {lane:.1f} {:.1f} {lane:.1f} {:.1f}V{:.1f}'
        'C{lane:.1f} {:.1f} {lane:.1f} {:.1f} {:.1f} {:.1f}"/>'
    ).format(x1, y1, y1, y1, y1 + LANE, y2 - LANE, y2, y2, x2, y2, lane=lane)
    text = Markup('<text class="label" x="{:.1f}" y="{:.1f}">{}</text>').format(
        lane + 4, (y1 + y2) / 2 + 4, escape(label)
    )
    return path + text


def _parts(drawing: Drawing) -> list[list[str]]:
    """Returns the connected parts, nodes and parts in the order of the drawing."""
    part = {name: name for name in drawing.nodes}

    def root(name: str) -> str:
        while part[name] != name:
            name = part[name]
        return name

    for source, target, _ in drawing.edges:
        part[root(target)] = root(source)
    found: dict[str, list[str]] = {}
    for name in drawing.nodes:
        found.setdefault(root(name), []).append(name)
    return list(found.values())


def _layers(drawing: Drawing) -> dict[str, int]:
    incoming: dict[str, list[str]] = {name: [] for name in drawing.nodes}
    for source, target, _ in drawing.edges:
        if source not in incoming or target not in incoming:
            raise ValueError(f"an edge names an unknown node: {source} -> {target}")
        incoming[target].append(source)
    layers: dict[str, int] = {}
    while len(layers) < len(incoming):
        ready = [n for n, sources in incoming.items() if n not in layers and all(s in layers for s in sources)]
        if not ready:
            raise ValueError("the drawing has a cycle")
        for name in ready:
            layers[name] = max((layers[s] + 1 for s in incoming[name]), default=0)
    return layers


def _size(label: str) -> tuple[float, float]:
    lines = label.split("\n")
    return max(len(line) for line in lines) * CHARACTER + 2 * PADDING, len(lines) * LINE + PADDING


def _node(place: tuple[float, float], size: tuple[float, float], label: str) -> Markup:
    x, y = place
    box = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="5"/>').format(x, y, *size)
    lines = [
        Markup('<text x="{:.1f}" y="{:.1f}">{}</text>').format(x + size[0] / 2, y + LINE * (i + 1), escape(line))
        for i, line in enumerate(label.split("\n"))
    ]
    return Markup("").join([box, *lines])


def _edge(
    start: tuple[float, float],
    start_size: tuple[float, float],
    end: tuple[float, float],
    end_size: tuple[float, float],
    label: str,
) -> Markup:
    x1, y1 = start[0] + start_size[0] / 2, start[1] + start_size[1]
    x2, y2 = end[0] + end_size[0] / 2, end[1]
    bend = (y2 - y1) / 2
    path = Markup(
        '<path class="edge" marker-end="url(#arrow)" d="M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}"/>'
    ).format(x1, y1, x1, y1 + bend, x2, y2 - bend, x2, y2)
    text = Markup('<text class="label" x="{:.1f}" y="{:.1f}">{}</text>').format(
        (x1 + x2) / 2 + 6, (y1 + y2) / 2 + 4, escape(label)
    )
    return path + text
