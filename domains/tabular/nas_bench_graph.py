"""NAS-Bench-Graph (Qin et al. 2022): 26,206 trained graph networks, their space, canonical form and number.

A cell has four nodes, each with one operation and one input (0 is the raw input, k the k-th node); all leaves go to the
output. What is the same network after identities (``skip``) are taken out has one number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace

OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
SKIP = OPERATIONS.index("skip")
PROTEINS_OPERATIONS = ("gcn", "sage", "arma", "fc", "skip")  # the table of proteins has no others
# Inputs of the four nodes in the nine structures that are left when equal ones are merged, in the order of numbering.
STRUCTURES = (
    (0, 0, 0, 0),
    (0, 0, 0, 1),
    (0, 0, 1, 1),
    (0, 0, 1, 2),
    (0, 0, 1, 3),
    (0, 1, 1, 1),
    (0, 1, 1, 2),
    (0, 1, 2, 2),
    (0, 1, 2, 3),
)
INVALID = 88888  # the network that has no operation at all

Tree = tuple[int, tuple["Tree", ...]]  # operation, and what follows it


def graph_space(operations: Sequence[str] = OPERATIONS) -> SearchSpace:
    """Returns the space of inputs and operations: 157,464 assignments of 26,206 networks, and one that is none.

    Args:
        operations: those of the nodes; of fewer there are fewer networks.
    """
    inputs = [Choice(f"in{node}", tuple(range(node + 1)), group="inputs") for node in (1, 2, 3)]
    nodes = [Choice(f"op{node}", tuple(operations), group="operations") for node in range(4)]
    return SearchSpace([*inputs, *nodes], canonical=_canonical)


def _canonical(architecture: Architecture) -> Architecture:
    inputs, operations = fields(architecture)
    found = canonical(inputs, operations)
    return _architecture(*found) if found is not None else _architecture((0, 1, 2, 3), (SKIP,) * 4)


def _architecture(inputs: Sequence[int], operations: Sequence[int]) -> Architecture:
    values: dict[str, str | int | float | bool | None] = {f"in{node}": inputs[node] for node in (1, 2, 3)}
    values.update({f"op{node}": OPERATIONS[operation] for node, operation in enumerate(operations)})
    return Architecture(values)


def fields(architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns inputs and indices of operations of the four nodes."""
    inputs = (0, *(int(str(architecture[f"in{node}"])) for node in (1, 2, 3)))
    return inputs, tuple(OPERATIONS.index(str(architecture[f"op{node}"])) for node in range(4))


def canonical(inputs: Sequence[int], operations: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Returns inputs and operations of the representative of all equal networks; none where nothing is left.

    Identities are taken out: what follows one follows what it followed; one at the end of a lone chain, or straight
    from the raw input to the output, says nothing. One that hands on a value which goes elsewhere too is a further
    leaf, and stays. Those that are missing to four nodes then stand in front of everything.

    Args:
        inputs: of the nodes, the first 0.
        operations: indices into :data:`OPERATIONS`.
    """
    children: dict[int, list[int]] = {node: [] for node in range(5)}
    for node, source in enumerate(inputs):
        children[source].append(node + 1)

    def follows(point: int) -> list[Tree]:
        result: list[Tree] = []
        for node in children[point]:
            below = follows(node)
            if operations[node - 1] == SKIP:
                result += below if children[node] else [(SKIP, ())]
            else:
                lone = below == [(SKIP, ())]
                result.append((operations[node - 1], () if lone else tuple(below)))
        return result

    trees = [tree for tree in follows(0) if tree != (SKIP, ())]
    return _written(tuple(sorted(trees))) if trees else None


@cache
def _written(trees: tuple[Tree, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns trees as four nodes: of all ways to number the nodes the first structure, and the least operations."""
    parents: list[int] = []
    operations: list[int] = []

    def place(tree: Tree, parent: int) -> None:
        parents.append(parent)
        operations.append(tree[0])
        own = len(parents)
        for child in tree[1]:
            place(child, own)

    missing = 4 - sum(_size(tree) for tree in trees)
    for front in range(missing):
        parents.append(front)
        operations.append(SKIP)
    for tree in trees:
        place(tree, missing)
    best: tuple[int, tuple[int, ...]] | None = None
    for order in itertools.permutations(range(4)):  # order[new place] = old place
        number = {old + 1: new + 1 for new, old in enumerate(order)} | {0: 0}
        inputs = tuple(number[parents[old]] for old in order)
        if inputs in STRUCTURES:
            found = STRUCTURES.index(inputs), tuple(operations[old] for old in order)
            best = found if best is None else min(best, found)
    assert best is not None
    return STRUCTURES[best[0]], best[1]


def _size(tree: Tree) -> int:
    return 1 + sum(_size(child) for child in tree[1])


def number(inputs: Sequence[int], operations: Sequence[int]) -> int:
    """Returns the key of a network in the tables: structure and operations as decimal digits."""
    found = canonical(inputs, operations)
    if found is None:
        return INVALID
    result = STRUCTURES.index(found[0])
    for operation in found[1]:
        result = 10 * result + operation
    return result
