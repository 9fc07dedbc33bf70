"""Graph structures that are built once and shared by every candidate: CSR patterns and receptive fields.

A *pattern* is the sparsity of a rectangular matrix whose rows are destination nodes and whose columns are
source nodes; entries of a row lie side by side, so edges are sorted by destination. A *receptive field* keeps,
for given target nodes and a number of layers, only the nodes and edges that can influence the targets: layer
outputs that nobody reads are never computed, and the function at the targets stays exactly the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import Literal

import torch
from torch import Tensor

Divisor = Literal["one", "count", "total"]
LARGE = 2_000_000  # entries of a pattern of several heads that is not kept beside others


@dataclass(frozen=True)
class RowsByDegree:
    """The rows of a pattern in ascending order of their numbers of entries.

    Attributes:
        inverse: position of every row in this order, ``(rows,)``.
        entries: those of the first row in this order, those of the second, and so on, ``(E,)``.
        columns: of these entries, ``(E,)``.
        sizes: every number of entries that a row has, ascending, and how many rows have it.
    """

    inverse: Tensor
    entries: Tensor
    columns: Tensor
    sizes: list[tuple[int, int]]


@dataclass
class Pattern:
    """The sparsity of a ``rows x columns`` matrix with E entries in row order, and of its transpose.

    Attributes:
        crow: row starts, ``(rows + 1,)``, int64.
        col: column of every entry, ``(E,)``, int64.
        columns: number of columns.
    """

    crow: Tensor
    col: Tensor
    columns: int
    row: Tensor = field(init=False)
    t_crow: Tensor = field(init=False)
    t_col: Tensor = field(init=False)
    t_order: Tensor = field(init=False)
    _expanded: dict[int, Pattern] = field(init=False, default_factory=dict)
    _head_order: dict[int, Tensor] = field(init=False, default_factory=dict)
    _short: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        nodes = torch.arange(self.rows, device=self.crow.device)
        self.row = nodes.repeat_interleave(self.crow.diff())
        self.t_order = self.col.argsort(stable=True)
        self.t_col = self.row[self.t_order]
        self.t_crow = row_starts(self.col, self.columns)
        # Sparse products on the CPU want int32, and would convert at every call.
        short = torch.int32 if self.col.numel() < 2**31 else torch.int64
        self._short = tuple(index.to(short) for index in (self.crow, self.col, self.t_crow, self.t_col))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.crow.numel() - 1

    @property
    def entries(self) -> int:
        """Number of entries E."""
        return self.col.numel()

    @cached_property
    def rows_by_degree(self) -> RowsByDegree:
        """The rows in the order of their numbers of entries."""
        degrees = self.crow.diff()
        order = degrees.argsort(stable=True)
        degrees = degrees[order]
        first = self.crow[:-1][order] - (degrees.cumsum(0) - degrees)  # less the entries of rows before
        entries = torch.arange(self.entries, device=self.col.device) + first.repeat_interleave(degrees)
        numbers, counts = degrees.unique_consecutive(return_counts=True)
        sizes = list(zip(numbers.tolist(), counts.tolist(), strict=True))
        return RowsByDegree(order.argsort(), entries, self.col[entries], sizes)

    def matrix(self, values: Tensor) -> Tensor:
        """Returns the sparse CSR matrix with these values, ``(E,)``."""
        crow, col = self._short[:2]
        return torch.sparse_csr_tensor(crow, col, values, size=(self.rows, self.columns), check_invariants=False)

    def transposed(self, values: Tensor) -> Tensor:
        """Returns the transpose of :meth:`matrix` as CSR, ``columns x rows``."""
        crow, col = self._short[2:]
        return torch.sparse_csr_tensor(
            crow,
            col,
            values.index_select(0, self.t_order),
            size=(self.columns, self.rows),
            check_invariants=False,
        )

    def row_incidence(self, like: Tensor) -> Tensor:
        """Returns the ``rows x E`` matrix that sums entries by row."""
        order = torch.arange(self.entries, device=self.col.device)
        return _incidence(self.crow, order, like)

    def column_incidence(self, like: Tensor) -> Tensor:
        """Returns the ``columns x E`` matrix that sums entries by column."""
        return _incidence(self.t_crow, self.t_order, like)

    def heads(self, heads: int) -> Pattern:
        """Returns the pattern of ``heads`` interleaved copies of this graph, cached.

        Node i of head h becomes node ``i * heads + h``, so a dense ``(nodes, heads, d)`` tensor is, without
        moving anything, the ``(nodes * heads, d)`` one of the copies: attention with many heads is
        attention with one head on this pattern.
        """
        if heads == 1:
            return self
        if heads not in self._expanded:
            if self.entries * heads > LARGE:  # one at a time: each takes several times the memory of the graph
                self._expanded.clear()
                self._head_order.clear()
            head = torch.arange(heads, device=self.col.device)
            row = (self.row[:, None] * heads + head).flatten()
            col = (self.col[:, None] * heads + head).flatten()
            order = row.argsort(stable=True)
            self._head_order[heads] = order
            self._expanded[heads] = Pattern(row_starts(row, self.rows * heads), col[order], self.columns * heads)
        return self._expanded[heads]

    def to_heads(self, values: Tensor) -> Tensor:
        """Returns values given as ``(E, heads)`` in the entry order of :meth:`heads`, ``(E * heads,)``."""
        if values.shape[1] == 1:
            return values.flatten()
        self.heads(values.shape[1])
        return values.flatten().index_select(0, self._head_order[values.shape[1]])


def row_starts(row: Tensor, rows: int) -> Tensor:
    """Returns the CSR row starts, ``(rows + 1,)``, of entries with these rows."""
    counts = torch.bincount(row, minlength=rows)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _incidence(crow: Tensor, col: Tensor, like: Tensor) -> Tensor:
    ones = torch.ones(col.numel(), dtype=like.dtype, device=like.device)
    size = (crow.numel() - 1, col.numel())
    return torch.sparse_csr_tensor(crow, col, ones, size=size, check_invariants=False)


@dataclass(frozen=True)
class FixedMatrix:
    """A sparse matrix that is not trained, with its transpose at hand for gradients; both CSR."""

    matrix: Tensor
    transpose: Tensor

    def __matmul__(self, dense: Tensor) -> Tensor:
        result: Tensor = _FixedProduct.apply(self, dense)
        return result


class _FixedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: FixedMatrix, dense: Tensor) -> Tensor:
        ctx.fixed = fixed
        return fixed.matrix @ dense

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.fixed.transpose @ grads[0].contiguous()


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: FixedMatrix, dense: Tensor, steps: int, start: float, step: float) -> Tensor:
        ctx.fixed, ctx.rest = fixed, (steps, start, step)
        return _recurrence(fixed.matrix, dense, steps, start, step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # A polynomial of the matrix: its transpose is the same one of the transposed matrix.
        return None, _recurrence(ctx.fixed.transpose, grads[0].contiguous(), *ctx.rest), None, None, None


def _recurrence(matrix: Tensor, dense: Tensor, steps: int, start: float, step: float) -> Tensor:
    scaled = dense if start == 1 else start * dense
    x = dense
    for _ in range(steps):
        x = torch.addmm(scaled, matrix, x, alpha=step)
    return x


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
            self._matrices[attention] = FixedMatrix(self.pattern.matrix(values), self.pattern.transposed(values))
        return self._matrices[attention]

    def recurrence(self, attention: str, x: Tensor, steps: int, start: float, step: float) -> Tensor:
        """Returns ``z`` after so many steps ``z = start * x + step * A z`` from ``z = x``, of a block of all nodes.

        Nothing of the steps is kept for the gradient, which is the same recurrence with the transpose.
        """
        result: Tensor = _Recurrence.apply(self._matrix(attention), x, steps, start, step)
        return result

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
