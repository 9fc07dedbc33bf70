"""Sparsity patterns of adjacency matrices in CSR form, and products with them.

A *pattern* is the sparsity of a rectangular matrix whose rows are destination nodes and whose columns are source nodes;
entries of a row lie side by side, so edges are sorted by destination. Products are plain ones, without a gradient, but
those of a :class:`FixedMatrix`.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nichenas.domains.gnn import native

HALF = (torch.bfloat16, torch.float16)
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
        row: row of every entry, ``(E,)``, int64.
        t_order: entries in the order of the transpose, ``(E,)``.
    """

    crow: Tensor
    col: Tensor
    columns: int
    row: Tensor = field(init=False)
    t_order: Tensor = field(init=False)
    _expanded: dict[int, Pattern] = field(init=False, default_factory=dict)
    _head_order: dict[int, Tensor] = field(init=False, default_factory=dict)
    _csr: tuple[Tensor, Tensor] = field(init=False)
    _transposed: tuple[Tensor, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        nodes = torch.arange(self.rows, device=self.crow.device)
        self.row = nodes.repeat_interleave(self.crow.diff())
        order = self.col.argsort(stable=True)
        # Sparse products on the CPU want int32, and would convert at every call.
        kind = torch.int32 if self.entries < 2**31 else torch.int64
        self.t_order = order.to(kind)
        self._csr = self.crow.to(kind), self.col.to(kind)
        self._transposed = row_starts(self.col, self.columns).to(kind), self.row[order].to(kind)

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
        crow, col = self._csr
        return torch.sparse_csr_tensor(crow, col, values, size=(self.rows, self.columns), check_invariants=False)

    def transposed(self, values: Tensor, *, in_order: bool = False) -> Tensor:
        """Returns the transpose of :meth:`matrix` as CSR, ``columns x rows``; see :meth:`transposed_times`."""
        crow, col = self._transposed
        return torch.sparse_csr_tensor(
            crow,
            col,
            values if in_order else values.index_select(0, self.t_order),
            size=(self.columns, self.rows),
            check_invariants=False,
        )

    def times(self, values: Tensor, dense: Tensor, *, added: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Returns ``added + factor * matrix(values) @ dense``, ``(rows, d)``; ``added`` is 0 where there is none.

        Raises:
            ValueError: for operands of other sizes.
        """
        _check(dense, added, self.columns, self.rows)
        if native.usable(values, dense):
            return native.csr_times_dense(*self._csr, values, dense, added=added, factor=factor)
        return sparse_product(self.matrix(values), dense, added, factor)

    def transposed_times(
        self,
        values: Tensor,
        dense: Tensor,
        *,
        added: Tensor | None = None,
        factor: float = 1.0,
        in_order: bool = False,
    ) -> Tensor:
        """Returns the same with the transpose, ``(columns, d)``.

        Args:
            in_order: whether the values are in the order of the transpose already.
        """
        _check(dense, added, self.rows, self.columns)
        if native.usable(values, dense):
            order = None if in_order else self.t_order
            return native.csr_times_dense(*self._transposed, values, dense, order=order, added=added, factor=factor)
        return sparse_product(self.transposed(values, in_order=in_order), dense, added, factor)

    def row_incidence(self, like: Tensor) -> Tensor:
        """Returns the ``rows x E`` matrix that sums entries by row."""
        order = torch.arange(self.entries, device=self.col.device, dtype=self.t_order.dtype)
        return _incidence(self._csr[0], order, like)

    def column_incidence(self, like: Tensor) -> Tensor:
        """Returns the ``columns x E`` matrix that sums entries by column."""
        return _incidence(self._transposed[0], self.t_order, like)

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


def _check(dense: Tensor, added: Tensor | None, rows: int, results: int) -> None:
    """Refuses what the kernels would read behind its end."""
    if len(dense) != rows or (added is not None and added.shape != (results, dense.shape[1])):
        shapes = tuple(dense.shape), None if added is None else tuple(added.shape)
        raise ValueError(f"a product of {rows} rows to {results} cannot take {shapes[0]} and add {shapes[1]}")


def sparse_product(matrix: Tensor, dense: Tensor, added: Tensor | None = None, factor: float = 1.0) -> Tensor:
    """Returns ``added + factor * matrix @ dense`` of a CSR matrix by torch's own product, in half precision too."""
    if dense.dtype in HALF and dense.device.type == "cpu":  # torch has no such product there
        full = None if added is None else added.float()
        return sparse_product(matrix.to(torch.float32), dense.float(), full, factor).to(dense.dtype)
    if added is not None:
        return torch.addmm(added, matrix, dense, alpha=factor)
    product = matrix @ dense
    return product if factor == 1 else product.mul_(factor)


@dataclass(frozen=True)
class FixedMatrix:
    """A sparse matrix that is not trained; products with it have a gradient.

    Attributes:
        pattern: of the matrix.
        values: of its entries, ``(E,)``.
    """

    pattern: Pattern
    values: Tensor

    def __matmul__(self, dense: Tensor) -> Tensor:
        result: Tensor = _FixedProduct.apply(self, dense)
        return result

    def recurrence(self, dense: Tensor, steps: int, start: float, step: float) -> Tensor:
        """Returns ``z`` after so many steps ``z = start * dense + step * self @ z`` from ``z = dense``.

        Nothing of the steps is kept for the gradient, which is the same recurrence with the transpose.
        """
        result: Tensor = _Recurrence.apply(self, dense, steps, start, step)
        return result

    def times(self, dense: Tensor, added: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Returns ``added + factor * self @ dense`` without a gradient."""
        if native.usable(self.values, dense):
            return self.pattern.times(self.values, dense, added=added, factor=factor)
        return sparse_product(self._matrix, dense, added, factor)

    def transposed_times(self, dense: Tensor, added: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Returns the same with the transpose."""
        if native.usable(self.values, dense):
            return self.pattern.transposed_times(
                self._transposed_values, dense, added=added, factor=factor, in_order=True
            )
        return sparse_product(self._transpose, dense, added, factor)

    def __getstate__(self) -> dict[str, Any]:
        """Returns what a copy is made of: torch cannot copy the sparse matrices that are made at the first product."""
        return {"pattern": self.pattern, "values": self.values}

    @cached_property
    def _matrix(self) -> Tensor:
        return self.pattern.matrix(self.values)

    @cached_property
    def _transposed_values(self) -> Tensor:
        return self.values.index_select(0, self.pattern.t_order)

    @cached_property
    def _transpose(self) -> Tensor:
        return self.pattern.transposed(self._transposed_values, in_order=True)


class _FixedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: FixedMatrix, dense: Tensor) -> Tensor:
        ctx.fixed = fixed
        return fixed.times(dense)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.fixed.transposed_times(grads[0].contiguous())


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fixed: FixedMatrix, dense: Tensor, steps: int, start: float, step: float) -> Tensor:
        ctx.fixed, ctx.steps, ctx.start, ctx.step = fixed, steps, start, step
        scaled = dense if start == 1 else start * dense
        x = dense
        for _ in range(steps):
            x = fixed.times(x, scaled, step)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # A polynomial of the matrix: its transpose is the same one of the transposed matrix.
        grad = grads[0].contiguous()
        scaled = grad if ctx.start == 1 else ctx.start * grad
        for _ in range(ctx.steps):
            grad = ctx.fixed.transposed_times(grad, scaled, ctx.step)
        return None, grad, None, None, None
