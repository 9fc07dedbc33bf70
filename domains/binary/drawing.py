"""Cells as drawings."""

from __future__ import annotations

from core.domain import Drawing
from domains.binary.genotypes import Genotype
from domains.binary.operations import NONE


def draw_genotype(genotype: Genotype) -> Drawing:
    """Returns the normal and the reduction cell, side by side; operations are nodes, so that they can be read."""
    nodes: dict[str, str] = {}
    edges: list[tuple[str, str, str]] = []
    for kind, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        short = kind[0]
        nodes[f"{short}0"] = f"{kind}\ncell k-2"
        nodes[f"{short}1"] = f"{kind}\ncell k-1"
        for node, operations in cell.nodes():
            nodes[f"{short}{node}"] = f"{node - 2}"
            for name, source in operations:
                if name != NONE:
                    edges.append((f"{short}{source}", f"{short}{node}", name))
        nodes[f"{short}out"] = "output"
        edges += [(f"{short}{node}", f"{short}out", "") for node in cell.concat]
    return Drawing(nodes, edges)
