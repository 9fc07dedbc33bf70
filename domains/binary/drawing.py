"""Cells as drawings."""

from __future__ import annotations

from nichenas.core.trial import Drawing
from nichenas.domains.binary.genotypes import Genotype
from nichenas.domains.binary.operations import NONE


def draw_genotype(genotype: Genotype) -> Drawing:
    """Returns the cells side by side; every node tells its operations and their inputs."""
    nodes: dict[str, str] = {}
    edges: list[tuple[str, str, str]] = []
    named = [("normal", genotype.normal), ("reduction", genotype.reduction)]
    if genotype.each:
        named = [(str(position), cell) for position, cell in enumerate(genotype.each)]
    for kind, cell in named:
        short = kind[0] if not genotype.each else f"{kind}."
        title = f"cell {kind}" if genotype.each else f"{kind} cell"
        names = {0: "k-2", 1: "k-1"}
        for source, name in names.items():
            nodes[f"{short}{source}"] = f"{title}\ninput {name}"
        for node, operations in cell.nodes():
            names[node] = f"node {node - 2}"
            lines = [f"{name} ({names[source]})" for name, source in operations]
            nodes[f"{short}{node}"] = "\n".join([names[node], *lines])
            for source in {source: None for name, source in operations if name != NONE}:
                edges.append((f"{short}{source}", f"{short}{node}", ""))
        nodes[f"{short}out"] = f"{title}\noutput"
        edges += [(f"{short}{node}", f"{short}out", "") for node in cell.concat]
    return Drawing(nodes, edges)
