"""How large receptive fields are, and the bytes that they take, counted without building them.

A field of many layers in a large graph is itself large: whether a network can be afforded is asked of these numbers
before anything is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nichenas.domains.gnn.graph import Graph

INDEX, SHORT, VALUE = 8, 4, 4  # bytes of an int64, an int32 and a float32


@dataclass(frozen=True)
class LayerExtent:
    """The size of a :class:`~nichenas.domains.gnn.graph.Block`: destinations, sources, and edges between them.

    Attributes:
        whole_of: identity of the graph whose nodes and edges these all are, which keeps one such block.
    """

    rows: int
    columns: int
    entries: int
    whole_of: int | None = None

    def bytes(self, heads: int) -> int:
        """Returns what the arrays of the block take, those of the pattern of several heads among them.

        For every edge, a pattern has row and column, and in short its column, its row in the transpose and the order
        of the transpose; a block has coefficients, twice more as a matrix and its transpose. For every node there are
        row starts, in short too, the position of destinations among sources, and their means.
        """
        nodes, own = self.rows + self.columns, self.rows
        pattern = self.entries * (2 * INDEX + 3 * SHORT) + own * INDEX + nodes * SHORT
        taken = pattern + self.entries * 3 * VALUE + own * (INDEX + VALUE)
        if heads > 1:  # the pattern of the heads, and its order of entries
            taken += heads * (pattern + self.entries * INDEX)
        return taken


@dataclass(frozen=True)
class Extent:
    """The size of a :class:`~nichenas.domains.gnn.graph.ReceptiveField`.

    Attributes:
        layers: one a layer, first layer first.
        blocks: those that are really kept; layers that see the same edges share one.
        inputs: number of nodes whose features are read.
        targets: number of nodes whose outputs come out.
        feature_bytes: what the features of the inputs take.
    """

    layers: tuple[LayerExtent, ...]
    blocks: tuple[LayerExtent, ...]
    inputs: int
    targets: int
    feature_bytes: int = 0


def total_bytes(extents: Sequence[Extent], heads: int = 1) -> int:
    """Returns what the arrays of all blocks and the features take, with attention of so many heads."""
    blocks = [block for extent in extents for block in extent.blocks]
    own = [block for block in blocks if block.whole_of is None]
    whole = {block.whole_of: block for block in blocks if block.whole_of is not None}
    return sum(block.bytes(heads) for block in (*own, *whole.values())) + sum(one.feature_bytes for one in extents)


def field_extent(graph: Graph, targets: Tensor, layers: int, prune: bool = True) -> Extent:
    """Returns the size of what :meth:`~nichenas.domains.gnn.graph.Graph.receptive_field` builds of the arguments."""
    wanted = _mask(graph, targets)
    found: list[LayerExtent] = []
    rows = reached = int(wanted.sum())
    while len(found) < layers and not (found and found[0].rows == found[0].columns):
        edges = wanted[graph.row]
        sources = _mask(graph, graph.col[edges]) if prune else torch.ones_like(wanted)
        reached = int(sources.sum())
        found.insert(0, LayerExtent(int(wanted.sum()), reached, int(edges.sum())))
        wanted = sources
    shared = (found[0],) * (layers - len(found)) if found else ()
    return Extent((*shared, *found), tuple(found), reached, rows)


def whole_extent(graph: Graph, targets: Tensor, layers: int = 1) -> Extent:
    """Returns the size of all nodes and edges once, seen by so many layers."""
    block = LayerExtent(graph.nodes, graph.nodes, graph.row.numel(), id(graph))
    return Extent((block,) * layers, (block,), graph.nodes, targets.unique().numel())


def _mask(graph: Graph, nodes: Tensor) -> Tensor:
    mask = torch.zeros(graph.nodes, dtype=torch.bool, device=graph.device)
    mask[nodes] = True
    return mask
