"""Node features, sparse or dense, that project without ever being copied into a dense matrix.

Bag-of-words features are about 1% dense; kept as CSR, a projection costs only the stored values, and dropout
acts on these alone: a zero stays zero under dropout, so the distribution is the same.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nichenas.domains.gnn.operations import dropout
from nichenas.domains.gnn.operations import sparse_matmul
from nichenas.domains.gnn.patterns import Pattern
from nichenas.domains.gnn.patterns import row_starts

SPARSE_BELOW = 0.25  # share of non-zero values at which both forms took equally long in one thread (widths 16 to 256)


class Features(Protocol):
    """Features of the input nodes of one receptive field."""

    def project(self, weight: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
        """Returns the features under dropout times ``weight``, ``(nodes, weight columns)``."""
        ...

    def dense(self) -> Tensor:
        """Returns the features as a matrix, ``(nodes, features)``."""
        ...


class SparseFeatures:
    """Features kept as CSR.

    Args:
        pattern: where the values stand, ``nodes x features``.
        values: of every entry, ``(E,)``.
    """

    def __init__(self, pattern: Pattern, values: Tensor) -> None:
        self.pattern = pattern
        self.values = values

    def project(self, weight: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
        """Returns the features under dropout times ``weight``, ``(nodes, weight columns)``."""
        return sparse_matmul(self.pattern, dropout(self.values, p, generator), weight)

    def dense(self) -> Tensor:
        """Returns the features as a matrix, ``(nodes, features)``."""
        return self.pattern.matrix(self.values).to_dense()


class DenseFeatures:
    """Features kept as a matrix, ``(nodes, features)``."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def project(self, weight: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
        """Returns the features under dropout times ``weight``, ``(nodes, weight columns)``."""
        return dropout(self.matrix, p, generator) @ weight

    def dense(self) -> Tensor:
        """Returns the matrix."""
        return self.matrix


def features_of(x: Tensor, nodes: Tensor) -> Features:
    """Returns the features of some nodes in the faster form.

    Args:
        x: features of all nodes, ``(all nodes, features)``, dense.
        nodes: those wanted, ``(n,)``.
    """
    part = x if len(nodes) == len(x) else x[nodes]  # all nodes come in order, and need no copy
    row, col = part.nonzero(as_tuple=True)
    if row.numel() >= SPARSE_BELOW * part.numel():
        return DenseFeatures(part)
    # Rows and columns are views of one array, all of which the pattern would hold for its columns.
    pattern = Pattern(row_starts(row, part.shape[0]), col.clone(), part.shape[1])
    return SparseFeatures(pattern, part[row, col])


def feature_bytes(density: float, nodes: int, width: int) -> int:
    """Returns what the features of so many nodes take in the form that :func:`features_of` gives them.

    Args:
        density: share of their values that are not zero.
    """
    if density >= SPARSE_BELOW:
        return 4 * nodes * width
    # Of every entry the value, row and column as int64, and as int32 column, row and order in the transpose; then row
    # starts as both, and those of the transpose.
    return round(density * nodes * width) * (4 + 2 * 8 + 3 * 4) + (8 + 4) * nodes + 4 * width
