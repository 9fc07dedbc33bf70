"""The search space: a normal and a reduction cell, every node two operations on two different earlier nodes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import Kept
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.space import SpaceError
from nichenas.domains.binary.genotypes import INPUTS
from nichenas.domains.binary.genotypes import Cell
from nichenas.domains.binary.genotypes import Genotype

KINDS = ("normal", "reduction")


def cell_names(cells: int) -> tuple[str, ...]:
    """Returns the names of cells that are searched one by one."""
    return tuple(f"cell{position}" for position in range(cells))


def cell_space(operations: Sequence[str], nodes: int, kinds: Sequence[str] = KINDS) -> SearchSpace:
    """Returns the space of cells with so many intermediate nodes.

    Choices: ``<kind>.<node>.inputs``, a pair of earlier nodes such as ``0,2``, and ``<kind>.<node>.first`` and
    ``.second``, the operations on the lower and the higher of them. Every cell is written in one way only.

    Args:
        operations: that a derived cell may hold.
        kinds: of cells; :func:`cell_names` where all are searched one by one.
    """
    choices = []
    for kind in kinds:
        for node in range(INPUTS, INPUTS + nodes):
            pairs = tuple(f"{a},{b}" for a, b in itertools.combinations(range(node), 2))
            choices.append(Choice(f"{kind}.{node}.inputs", pairs, group=f"{kind} inputs"))
            for place in ("first", "second"):
                choices.append(Choice(f"{kind}.{node}.{place}", tuple(operations), group=f"{kind} operation"))
    return SearchSpace(choices)


def genotype_of(architecture: Architecture, nodes: int, kinds: Sequence[str] = KINDS) -> Genotype:
    """Returns the cells of an architecture."""
    cells = []
    for kind in kinds:
        operations: list[tuple[str, int]] = []
        for node in range(INPUTS, INPUTS + nodes):
            first, second = (int(n) for n in str(architecture[f"{kind}.{node}.inputs"]).split(","))
            operations.append((str(architecture[f"{kind}.{node}.first"]), first))
            operations.append((str(architecture[f"{kind}.{node}.second"]), second))
        cells.append(Cell(tuple(operations), tuple(range(INPUTS, INPUTS + nodes))))
    return Genotype(cells[0], cells[-1], () if tuple(kinds) == KINDS else tuple(cells))


def architecture_of(genotype: Genotype, space: SearchSpace) -> Architecture:
    """Returns the architecture of a genotype.

    Raises:
        SpaceError: when it is not in the space: two operations on one node, another concatenation, ...
    """
    values: dict[str, str] = {}
    for kind, cell in zip(KINDS, (genotype.normal, genotype.reduction), strict=True):
        nodes = len(cell.operations) // 2
        if cell.concat != tuple(range(INPUTS, INPUTS + nodes)):
            raise SpaceError(f"the {kind} cell's output is not the concatenation of all its nodes")
        for node, operations in cell.nodes():
            (first, a), (second, b) = sorted(operations, key=lambda pair: pair[1])
            values.update({f"{kind}.{node}.inputs": f"{a},{b}", f"{kind}.{node}.first": first})
            values[f"{kind}.{node}.second"] = second
    return space.architecture(values)


def kept_of(architecture: Architecture, groups: Sequence[EdgeGroup]) -> Kept:
    """Returns the edges and operations of an architecture, in the order of edges."""
    kept = {}
    for group in groups:
        operations: dict[tuple[int, int], str] = {}
        for node in group.incoming():
            name = f"{group.name}.{node}"
            sources = str(architecture[f"{name}.inputs"]).split(",")
            for source, place in zip(sources, ("first", "second"), strict=True):
                operations[int(source), node] = str(architecture[f"{name}.{place}"])
        kept[group.name] = tuple((e, operations[edge]) for e, edge in enumerate(group.edges) if edge in operations)
    return kept


def architecture_of_kept(
    kept: Kept, groups: Sequence[EdgeGroup], space: SearchSpace, kinds: Sequence[str] = KINDS
) -> Architecture:
    """Returns the architecture of what a discretisation keeps: two edges a node, one operation each.

    A group that the search network did not have, for want of cells of that kind, gets the cell of the other.

    Raises:
        SpaceError: when a node has another number of edges.
    """
    values: dict[str, str] = {}
    by_name = {group.name: group for group in groups}
    for kind in kinds:
        name = kind if kind in by_name else next(iter(by_name))
        group = by_name[name]
        inputs: dict[int, list[tuple[int, str]]] = {}
        for edge, operation in kept[name]:
            source, target = group.edges[edge]
            inputs.setdefault(target, []).append((source, operation))
        for node in group.incoming():
            found = sorted(inputs.get(node, []))
            if len(found) != 2:
                raise SpaceError(f"node {node} of the {kind} cell has {len(found)} edges; the space has two a node")
            (a, first), (b, second) = found
            values.update({f"{kind}.{node}.inputs": f"{a},{b}", f"{kind}.{node}.first": first})
            values[f"{kind}.{node}.second"] = second
    return space.architecture(values)
