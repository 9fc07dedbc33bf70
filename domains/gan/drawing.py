"""Generators as drawings."""

from __future__ import annotations

from nichenas.core.trial import Drawing
from nichenas.domains.gan.genotypes import Genotype


def draw_genotype(genotype: Genotype, bottom: int) -> Drawing:
    """Returns the cells one below the other, with the shortcuts in them and the skips between them.

    Args:
        bottom: pixels a side before the first cell.
    """
    nodes = {"z": f"noise\nlinear to {bottom} x {bottom}"}
    edges: list[tuple[str, str, str]] = []
    below = "z"
    for index, cell in enumerate(genotype.cells):
        number, size = index + 1, bottom * 2 ** (index + 1)
        norm = {"none": "no norm", "batch": "batch norm", "instance": "instance norm"}[cell.norm]
        order = {"pre": "norm, ReLU, conv 3x3", "post": "conv 3x3, norm, ReLU"}[cell.block]
        order = order.replace("norm", norm) if cell.norm != "none" else order.replace("norm, ", "")
        first, second = f"c{number}a", f"c{number}b"
        nodes[first] = f"cell {number}: {size} x {size}\n{cell.up} x2\n{order}"
        nodes[second] = f"cell {number}\n{order}"
        edges += [(below, first, ""), (first, second, "")]
        for source in cell.skips:
            edges.append((f"c{source + 1}a", second, f"skip, {cell.up}"))
        if cell.shortcut:
            nodes[f"c{number}s"] = f"cell {number}\n+ shortcut"
            edges += [(second, f"c{number}s", ""), (below, f"c{number}s", cell.up)]
            below = f"c{number}s"
        else:
            below = second
    nodes["image"] = "batch norm, ReLU\nconv 3x3, tanh"
    edges.append((below, "image", ""))
    return Drawing(nodes, edges)
