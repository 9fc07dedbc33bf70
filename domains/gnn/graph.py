"""Graphs and receptive fields, which are built once and shared by every candidate.

A *receptive field* keeps, for given target nodes and a number of layers, only the nodes and edges that can influence
the targets: layer outputs that nobody reads are never computed, and the function at the targets stays exactly the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from nichenas.domains.gnn.patterns import FixedMatrix
from nichenas.domains.gnn.patterns import Pattern
from nichenas.domains.gnn.patterns import row_starts

Divisor = Literal["one", "count", "total"]


@dataclass
class Block:
    """The edges of one layer: from its source nodes to the destination nodes that are read afterwards.

    Attributes:
        pattern: destination rows, source columns; with self loops, complete neighbourhoods.
        own: position of every destination among the sources, ``(rows,)``.
        gcn: ``1 / sqrt(|N(i)| |N(j)|)`` of every entry, from the degrees of the whole graph, ``(E,)``.
        mean: ``1 / |N(i)|`` of every destination, ``(rows,)``.
    """

    pattern: Pattern
    own: Tensor
    gcn: Tensor
    mean: Tensor
    _constants: dict[tuple[str, Divisor], Tensor] = field(init=False, default_factory=dict)
    _matrices: dict[str, FixedMatrix] = field(init=False, default_factory=dict)

    def constant(self, attention: str, divisor: Divisor = "one") -> Tensor:
        """Returns fixed coefficients, ``(E,)``, cached.

        Args:
            attention: ``const``; ``gcn``; or ``neighbours`` for the mean of the neighbours without the node itself.
            divisor: of every row: ``one``, its number of neighbours (``count``), or the sum of its coefficients
                (``total``).
        """
        key = (attention, divisor)
        if key not in self._constants:
            values = self.gcn if attention == "gcn" else torch.ones_like(self.gcn)
            if attention == "neighbours":
                row = self.pattern.row
                others = (self.mean.reciprocal() - 1).clamp(min=1)  # a node without neighbours has the mean 0
                values = (self.pattern.col != self.own[row]) / others[row]
            if divisor == "total":
                totals = values.new_zeros(self.pattern.rows).index_add_(0, self.pattern.row, values)
                values = values / totals[self.pattern.row]
            self._constants[key] = values * self.mean[self.pattern.row] if divisor == "count" else values
        return self._constants[key]

    def product(self, attention: str, x: Tensor) -> Tensor:
        """Returns fixed coefficients times ``x``, ``(destinations, width)``; see :meth:`constant`."""
        return self._matrix(attention) @ x

    def _matrix(self, attention: str) -> FixedMatrix:
        if attention not in self._matrices:
            values = self.constant(attention)
            self._matrices[attention] = FixedMatrix(self.pattern, values)
        return self._matrices[attention]

    def recurrence(self, attention: str, x: Tensor, steps: int, start: float, step: float) -> Tensor:
        """Returns ``z`` after so many steps ``z = start * x + step * A z`` from ``z = x``, of a block of all nodes.

        Nothing of the steps is kept for the gradient, which is the same recurrence with the transpose.
        """
        return self._matrix(attention).recurrence(x, steps, start, step)

    @cached_property
    def same(self) -> bool:
        """Whether destinations are the sources, in the same order."""
        return self.pattern.rows == self.pattern.columns

    def at_destinations(self, x: Tensor) -> Tensor:
        """Returns the rows of ``x``, ``(sources, width)``, that belong to the destinations."""
        return x if self.same else x.index_select(0, self.own)


@dataclass
class ReceptiveField:
    """What n layers need to compute the outputs at some target nodes.

    Attributes:
        inputs: the nodes whose features are read, sorted, ``(sources of the first block,)``.
        blocks: one a layer, first layer first.
        targets: the nodes whose outputs come out, sorted, ``(rows of the last block,)``.
    """

    inputs: Tensor
    blocks: list[Block]
    targets: Tensor

    def everywhere(self) -> ReceptiveField:
        """Returns a field of the whole graph with all nodes as targets."""
        return ReceptiveField(self.inputs, self.blocks, self.inputs)


class Graph:
    """One graph with self loops added, edges sorted by destination, duplicates removed.

    Args:
        edge_index: source and destination of every edge, ``(2, edges)``, int64.
        nodes: number of nodes.
        dtype: of the coefficients.
    """

    def __init__(self, edge_index: Tensor, nodes: int, dtype: torch.dtype = torch.float32) -> None:
        source, destination = edge_index[0].long(), edge_index[1].long()
        keep = source != destination
        loops = torch.arange(nodes, device=edge_index.device)
        code = torch.cat([destination[keep] * nodes + source[keep], loops * (nodes + 1)]).unique()
        self.row, self.col = code // nodes, code % nodes
        self.nodes = nodes
        self.degree = torch.bincount(self.row, minlength=nodes).to(dtype)

    @property
    def device(self) -> torch.device:
        """Where the graph lies."""
        return self.row.device

    @property
    def edge_index(self) -> Tensor:
        """Source and destination of every edge with self loops, sorted by destination, ``(2, edges)``."""
        return torch.stack([self.col, self.row])

    def receptive_field(self, targets: Tensor, layers: int, prune: bool = True) -> ReceptiveField:
        """Returns what ``layers`` layers need to compute the outputs at ``targets``, ``(n,)``.

        Args:
            prune: without it all layers but the last see the whole graph, as batch statistics need.
        """
        wanted = targets.unique()
        blocks: list[Block] = []
        for _ in range(layers):
            if blocks and blocks[0].same:  # everything that can be reached is: further layers have the same edges
                blocks.insert(0, blocks[0])
                continue
            is_row = self._mask(wanted)
            edges = is_row[self.row].nonzero().flatten()
            sources = self.col[edges].unique() if prune else torch.arange(self.nodes, device=self.device)
            blocks.insert(0, self._block(edges, wanted, sources))
            wanted = sources
        return ReceptiveField(wanted, blocks, targets.unique())

    @cached_property
    def whole(self) -> Block:
        """The edges from all nodes to all nodes."""
        nodes = torch.arange(self.nodes, device=self.device)
        return self._block(torch.arange(self.row.numel(), device=self.device), nodes, nodes)

    def whole_field(self, targets: Tensor) -> ReceptiveField:
        """Returns all nodes and edges once, for networks that propagate many times and are read at ``targets``."""
        return ReceptiveField(torch.arange(self.nodes, device=self.device), [self.whole], targets.unique())

    def _mask(self, nodes: Tensor) -> Tensor:
        mask = torch.zeros(self.nodes, dtype=torch.bool, device=self.device)
        mask[nodes] = True
        return mask

    def _block(self, edges: Tensor, rows: Tensor, sources: Tensor) -> Block:
        position = torch.full((self.nodes,), -1, dtype=torch.int64, device=self.device)
        position[rows] = torch.arange(rows.numel(), device=self.device)
        row, col = position[self.row[edges]], self.col[edges]
        position[sources] = torch.arange(sources.numel(), device=self.device)
        pattern = Pattern(row_starts(row, rows.numel()), position[col], sources.numel())
        gcn = (self.degree[self.row[edges]] * self.degree[col]).rsqrt()
        return Block(pattern, position[rows], gcn, self.degree[rows].reciprocal())
