"""Layers of the wide space's networks: linear maps, convolutions with sparse products, norms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.gnn.graph import Block
from nichenas.domains.gnn.model import gat_scores
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.network import glorot
from nichenas.domains.gnn.operations import dropout
from nichenas.domains.gnn.operations import row_softmax
from nichenas.domains.gnn.operations import sparse_matmul
from nichenas.domains.gnn.wide_space import WideSpec


def propagate(block: Block, kind: str, x: Tensor, p: float, noise: Noise | None) -> Tensor:
    """Returns the normalised adjacency times ``x``, ``(destinations, width)``.

    Args:
        kind: ``gcn`` for symmetric normalisation with self loops, ``neighbours`` for the mean without them.
        x: of the sources, ``(sources, width)``.
        p: probability of dropping an edge; those kept are scaled up.
    """
    if noise is None or p == 0:
        return block.product(kind, x)
    return sparse_matmul(block.pattern, dropout(block.constant(kind), p, noise.inner), x)


class Affine(nn.Module):
    """A linear map, ``(n, inputs)`` to ``(n, outputs)``, with Glorot's initial weights and bias 0."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = glorot(generator, inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the map of ``x``."""
        return torch.addmm(self.bias, x, self.weight)


class GATAttention(nn.Module):
    """GAT's attention over what its maps made of the sources, ``(sources, heads * outputs)``."""

    def __init__(self, heads: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.left = glorot(generator, outputs, 1, heads, outputs)
        self.right = glorot(generator, outputs, 1, heads, outputs)

    def forward(self, mapped: Tensor, block: Block, p: float, noise: Noise | None) -> Tensor:
        """Returns the weighted neighbours, ``(destinations, heads * outputs)``; ``p`` drops coefficients."""
        heads, outputs = self.left.shape
        pattern = block.pattern.heads(heads)
        z = mapped.view(-1, heads, outputs)
        values = row_softmax(pattern, gat_scores((z * self.left).sum(-1), (z * self.right).sum(-1), block))
        values = values if noise is None else dropout(values, p, noise.inner)
        return sparse_matmul(pattern, values, mapped.reshape(-1, outputs)).view(-1, heads * outputs)


class Convolution(nn.Module):
    """A GCN, GAT or GraphSAGE convolution, with the linear map of a residual connection where it has one.

    Its maps of the input lie side by side in one weight: that of the neighbours, that of the node itself (GraphSAGE),
    and the residual one.

    Args:
        kind: ``gcn``, ``gat`` or ``sage``.
        heads: of GAT; their outputs are concatenated.
    """

    def __init__(
        self, kind: str, inputs: int, outputs: int, generator: torch.Generator, *, heads: int = 1, residual: bool
    ) -> None:
        super().__init__()
        self.kind, self.outputs = kind, outputs
        parts = 1 + (kind == "sage") + residual
        self.weight = nn.Parameter(torch.cat([glorot(generator, inputs, outputs).detach() for _ in range(parts)], 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.attention = GATAttention(heads, outputs // heads, generator) if kind == "gat" else None

    def forward(self, mapped: Tensor, block: Block, spec: WideSpec, noise: Noise | None) -> Tensor:
        """Returns the convolution of what :attr:`weight` mapped, ``(destinations, outputs)``."""
        neighbours, *own = mapped.split(self.outputs, 1)
        if self.attention is not None:
            result = self.attention(neighbours.contiguous(), block, spec.attention_dropout, noise)
        else:
            kind = "gcn" if self.kind == "gcn" else "neighbours"
            result = propagate(block, kind, neighbours.contiguous(), spec.edge_dropout, noise)
        result = result + self.bias
        for part in own:
            result = result + block.at_destinations(part)
        return result


def norm_of(kind: str, width: int) -> nn.Module:
    """Returns the norm of that name, of so many channels."""
    norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
    return norms[kind](width)
