"""The same layers in PyG's own terms: messages, gather and scatter on the whole graph, dense features.

This is the twin that every fast path is tested against and the other side of the evaluation benchmark. It
takes its parameters from an :class:`~nichenas.domains.gnn.model.AGNN`, so that both compute the same function.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import degree
from torch_geometric.utils import scatter
from torch_geometric.utils import softmax

from nichenas.domains.gnn.model import ACTIVATION as FAST_ACTIVATION
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.model import GAT_SLOPE
from nichenas.domains.gnn.model import AGNNLayer
from nichenas.domains.gnn.space import FIXED_ATTENTIONS

ACTIVATION = {**FAST_ACTIVATION, "elu": functional.elu, "softplus": functional.softplus}


class ReferenceLayer(MessagePassing):
    """An AGNN layer as a PyG message passing layer, sharing the parameters of a fast one.

    Shapes:
        - input: node features ``(nodes, inputs)``, edge index with self loops ``(2, edges)``.
        - output: ``(nodes, spec.width)``.
    """

    def __init__(self, layer: AGNNLayer, dropout: float) -> None:
        super().__init__(aggr=layer.spec.aggregate, node_dim=0)
        self.fast = layer
        self.p = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the layer's output for all nodes."""
        layer, spec = self.fast, self.fast.spec
        x = functional.dropout(x, self.p, self.training)
        z = (x @ layer.weight).view(-1, spec.heads, spec.outputs)
        h = self.propagate(edge_index, z=z, nodes=x.shape[0])
        if spec.combine == "mlp":
            hidden = torch.cat([z, h], -1) @ layer.mlp_in + layer.mlp_in_bias
            combined = torch.relu(hidden) @ layer.mlp_out + layer.mlp_out_bias
            h = h + combined if layer.repaired else combined
        out = (h.mean(1) if spec.last else h.flatten(1)) + layer.bias
        if layer.skip is not None:
            out = out + x @ layer.skip
        if layer.batch_norm is not None:
            out = layer.batch_norm(out)
        return ACTIVATION[spec.activation](out)

    def message(self, z_i: Tensor, z_j: Tensor, edge_index_i: Tensor, edge_index_j: Tensor, nodes: int) -> Tensor:
        """Returns ``a_ij W x_j`` of every edge, ``(edges, heads, outputs)``."""
        kind, count = self.fast.spec.attention, degree(edge_index_i, nodes, dtype=z_j.dtype)
        if kind == "const":
            coefficients = z_j.new_ones(len(z_j), 1)
        elif kind == "gcn":
            coefficients = (count[edge_index_i] * count[edge_index_j]).rsqrt()[:, None]
        else:
            coefficients = softmax(self._scores(z_i, z_j), edge_index_i, num_nodes=nodes)
        if self.fast.repaired and self.fast.spec.aggregate != "sum":
            total = scatter(coefficients, edge_index_i, 0, nodes, "sum")
            coefficients = coefficients / total[edge_index_i] * count[edge_index_i, None]
        if kind not in FIXED_ATTENTIONS:
            coefficients = functional.dropout(coefficients, self.p, self.training)
        return z_j * coefficients[..., None]

    def _scores(self, z_i: Tensor, z_j: Tensor) -> Tensor:
        """Returns attention before the softmax, ``(edges, heads)``."""
        kind, vectors = self.fast.spec.attention, self.fast.attention
        left, right = vectors["left"], vectors["right"]
        if kind == "cos":
            return ((z_i * left) * (z_j * right)).sum(-1)
        if kind == "linear":
            return torch.tanh((z_j * left + z_j * right).sum(-1))
        if kind == "gene-linear":
            return (vectors["gene"] * torch.tanh(z_i * left + z_j * right)).sum(-1)
        scores = functional.leaky_relu((z_i * left).sum(-1) + (z_j * right).sum(-1), GAT_SLOPE)
        if kind == "sym-gat":
            back = (z_j * left).sum(-1) + (z_i * right).sum(-1)
            scores = scores + functional.leaky_relu(back, GAT_SLOPE)
        return scores


class ReferenceAGNN(nn.Module):
    """The PyG twin of a network; shares its parameters."""

    def __init__(self, network: AGNN, dropout: float = 0.0) -> None:
        super().__init__()
        fast = [layer for layer in network.layers if isinstance(layer, AGNNLayer)]
        self.layers = nn.ModuleList(ReferenceLayer(layer, dropout) for layer in fast)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the outputs of all nodes, ``(nodes, outputs)``; ``edge_index`` holds the self loops."""
        for layer in self.layers:
            x = layer(x, edge_index)
        return x
