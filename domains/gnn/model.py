"""The network of an architecture of AGNN's space, computed on receptive fields.

A layer is ``x_i' = ACT(COMBINE(W x_i, AGG_j(a_ij W x_j)) + bias)`` with j over the neighbours of i and i itself;
heads are concatenated, in the output layer averaged. Attention functions follow AGNN's table, which is that of
GraphNAS; ``const`` and ``gcn`` are used raw, the others are soft-maxed over the neighbourhood with dropout on
the coefficients. Ours, where the paper is not explicit: the ``mlp`` combiner is a two-layer perceptron on the
pair (own, aggregated) with 128 hidden ReLU units shared by the heads, and the output layer is activated too,
as in GraphNAS.

Some of these operations hardly train: ``mean`` divides soft-maxed coefficients, which sum to 1, by the number of
neighbours again, ``max`` compares messages that they have made about as small, and the combiner maps small signals
through two layers. GraphNAS's aggregations are like them, with two linear maps of the messages. With ``operations:
repaired`` two things deviate, and are ours:

- ``mean`` and ``max`` read coefficients that are scaled to the mean 1 over the neighbourhood, ``b_ij = |N(i)| a_ij /
  sum_k a_ik``: ``mean`` is the mean weighted by attention, ``sum_j a_ij W x_j / sum_j a_ij``, and ``max`` with uniform
  attention the plain maximum over the neighbours, as in GraphSAGE (Hamilton et al. 2017). ``sum`` is as published.
- The ``mlp`` combiner is residual (He et al. 2016): the perceptron's output is added to the aggregated neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from nichenas.domains.gnn.features import Features
from nichenas.domains.gnn.graph import Block
from nichenas.domains.gnn.graph import Divisor
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.maximum import row_max
from nichenas.domains.gnn.network import NodeNetwork
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.network import glorot
from nichenas.domains.gnn.operations import dropout
from nichenas.domains.gnn.operations import edge_dot
from nichenas.domains.gnn.operations import edge_sum
from nichenas.domains.gnn.operations import edge_tanh_dot
from nichenas.domains.gnn.operations import elu
from nichenas.domains.gnn.operations import row_softmax
from nichenas.domains.gnn.operations import softplus
from nichenas.domains.gnn.operations import sparse_matmul
from nichenas.domains.gnn.space import LayerSpec

MLP_HIDDEN = 128
GAT_SLOPE = 0.2  # of the leaky ReLU inside gat and sym-gat (GAT, section 2.1)

ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda x: x,
    "softplus": softplus,
    "leaky_relu": functional.leaky_relu,
    "relu6": functional.relu6,
    "elu": elu,
}

# Which attention vectors, each (heads, outputs), a function has: left reads the node itself, right its neighbour.
ATTENTION_VECTORS: dict[str, tuple[str, ...]] = {
    "const": (),
    "gcn": (),
    "gat": ("left", "right"),
    "sym-gat": ("left", "right"),
    "cos": ("left", "right"),
    "linear": ("left", "right"),
    "gene-linear": ("left", "right", "gene"),
}


def gat_scores(of_own: Tensor, of_neighbour: Tensor, block: Block) -> Tensor:
    """Returns GAT's attention before the softmax, ``(E * heads,)`` in the order of the pattern of heads.

    Args:
        of_own: what every source adds as the node itself, ``(sources, heads)``.
        of_neighbour: what it adds as a neighbour, ``(sources, heads)``.
    """
    pattern = block.pattern.heads(of_own.shape[1])
    return functional.leaky_relu(edge_sum(pattern, of_own.index_select(0, block.own), of_neighbour), GAT_SLOPE)


class AGNNLayer(nn.Module):
    """One layer.

    Args:
        spec: what the layer is.
        generator: draws the initial weights (Glorot uniform, biases 0).
        batch_norm: normalise the output over the nodes.
        skip: add a linear map of the layer's input to its output.

    Shapes:
        - input: projected features of the source nodes, ``(sources, heads * outputs)``.
        - output: ``(destinations, spec.width)``.
    """

    def __init__(
        self, spec: LayerSpec, generator: torch.Generator, batch_norm: bool = False, skip: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.repaired = spec, spec.operations == "repaired"
        out, heads = spec.outputs, spec.heads
        self.weight = glorot(generator, spec.inputs, heads * out)
        vectors = ATTENTION_VECTORS[spec.attention]
        self.attention = nn.ParameterDict({v: glorot(generator, out, 1, heads, out) for v in vectors})
        self.bias = nn.Parameter(torch.zeros(spec.width))
        if spec.combine == "mlp":
            self.mlp_in = glorot(generator, 2 * out, MLP_HIDDEN)
            self.mlp_in_bias = nn.Parameter(torch.zeros(MLP_HIDDEN))
            self.mlp_out = glorot(generator, MLP_HIDDEN, out)
            self.mlp_out_bias = nn.Parameter(torch.zeros(out))
        self.skip = glorot(generator, spec.inputs, spec.width) if skip else None
        self.batch_norm = nn.BatchNorm1d(spec.width) if batch_norm else None

    def forward(self, projected: Tensor, block: Block, skipped: Tensor | None, noise: Noise | None) -> Tensor:
        """Returns the layer's output.

        Args:
            projected: ``W x`` of the source nodes, ``(sources, heads * outputs)``.
            block: the edges.
            skipped: the skip connection's part for the source nodes, ``(sources, width)``.
            noise: dropout; none in evaluation.
        """
        spec = self.spec
        heads, out = spec.heads, spec.outputs
        aggregated = self._aggregate(projected, block, noise).view(-1, heads, out)
        if spec.combine == "mlp":
            own = projected.index_select(0, block.own).view(-1, heads, out)
            hidden = own @ self.mlp_in[:out] + aggregated @ self.mlp_in[out:] + self.mlp_in_bias
            combined = torch.relu(hidden) @ self.mlp_out + self.mlp_out_bias
            aggregated = aggregated + combined if self.repaired else combined
        result = (aggregated.mean(1) if spec.last else aggregated.flatten(1)) + self.bias
        if skipped is not None:
            result = result + skipped.index_select(0, block.own)
        if self.batch_norm is not None:
            result = self.batch_norm(result)
        return ACTIVATION[spec.activation](result)

    def _aggregate(self, projected: Tensor, block: Block, noise: Noise | None) -> Tensor:
        spec = self.spec
        pattern = block.pattern
        if not self.attention:
            values = block.constant(spec.attention, self._divisor())
            if spec.aggregate == "max":
                return self._scaled_max(row_max(pattern, values, projected), block)
            return sparse_matmul(pattern, values, projected)
        scores = self._scores(projected.view(-1, spec.heads, spec.outputs), block)
        pattern = pattern.heads(spec.heads)
        values = row_softmax(pattern, scores)
        if noise is not None:
            values = dropout(values, noise.p, noise.inner)
        dense = projected.reshape(-1, spec.outputs)
        if spec.aggregate == "max":
            return self._scaled_max(row_max(pattern, values, dense), block)
        result = sparse_matmul(pattern, values, dense)
        if spec.aggregate == "mean" and not self.repaired:
            result = result.view(block.mean.numel(), -1) * block.mean[:, None]
        return result

    def _divisor(self) -> Divisor:
        """Returns what fixed coefficients are divided by."""
        if self.spec.aggregate == "sum" or (self.spec.aggregate == "max" and not self.repaired):
            return "one"
        return "total" if self.repaired else "count"

    def _scaled_max(self, result: Tensor, block: Block) -> Tensor:
        """Returns the maxima over coefficients that sum to 1 as those over coefficients of mean 1, if repaired."""
        # The number of neighbours is positive, so it may be multiplied after the maximum, row by row.
        return result.view(block.mean.numel(), -1) / block.mean[:, None] if self.repaired else result

    def _scores(self, z: Tensor, block: Block) -> Tensor:
        """Returns attention before the softmax, ``(E * heads,)`` in the order of the pattern of heads."""
        kind, left, right = self.spec.attention, self.attention["left"], self.attention["right"]
        heads = self.spec.heads
        pattern = block.pattern.heads(heads)
        if kind == "cos":
            own = (z * left).index_select(0, block.own)
            return edge_dot(pattern, own.reshape(-1, own.shape[-1]), (z * right).reshape(-1, own.shape[-1]))
        if kind == "linear":
            of_source = torch.tanh((z * (left + right)).sum(-1))
            return of_source.flatten().index_select(0, pattern.col)
        if kind == "gene-linear":
            own = (z * left).index_select(0, block.own)
            return block.pattern.to_heads(edge_tanh_dot(block.pattern, own, z * right, self.attention["gene"]))
        by_left, by_right = (z * left).sum(-1), (z * right).sum(-1)
        scores = gat_scores(by_left, by_right, block)
        return scores + gat_scores(by_right, by_left, block) if kind == "sym-gat" else scores


class AGNN(NodeNetwork):
    """The network of an architecture.

    Args:
        specs: its layers.
        generator: draws the initial weights, on the CPU whatever the device, so that they are the same on all.
        batch_norm: normalise after every hidden layer; needs receptive fields that are not pruned.
        skip: linear skip connections around hidden layers.
    """

    first_weight = "layers.0.weight"

    def __init__(
        self,
        specs: Sequence[LayerSpec],
        generator: torch.Generator,
        batch_norm: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            AGNNLayer(spec, generator, batch_norm and not spec.last, skip and not spec.last) for spec in specs
        )

    def forward(self, field: ReceptiveField, features: Features, noise: Noise | None = None) -> Tensor:
        """Returns the outputs at the targets of the field, ``(targets, outputs)``.

        Args:
            field: nodes and edges.
            features: of ``field.inputs``.
            noise: dropout; none in evaluation.
        """
        x = torch.empty(0)
        for position, (layer, block) in enumerate(zip(self.layers, field.blocks, strict=True)):
            assert isinstance(layer, AGNNLayer)
            if position:
                x = dropout(x, noise.p, noise.inner) if noise else x
                z = x @ layer.weight
                skipped = None if layer.skip is None else x @ layer.skip
            else:
                z, skipped = _projected(layer, features, noise)
            x = layer(z.contiguous(), block, skipped, noise)
        return x


def _projected(first: AGNNLayer, features: Features, noise: Noise | None) -> tuple[Tensor, Tensor | None]:
    """Returns the features times the first layer's weight, and times that of its skip connection if it has one."""
    p, generator = (noise.p, noise.features) if noise else (0.0, None)
    if first.skip is None:
        return features.project(first.weight, p, generator), None
    both = features.project(torch.cat([first.weight, first.skip], 1), p, generator)
    z, skipped = both.split([first.weight.shape[1], first.skip.shape[1]], 1)
    return z, skipped
