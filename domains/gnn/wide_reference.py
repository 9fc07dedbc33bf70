"""Networks of the wide space from PyG's own layers: the twin of the tests, and the other side of the benchmark.

Every layer is a copy with the same weights; what PyG has no layer for (GPRGNN, DAGNN, GRAND) is propagated by its GCN
propagation. All nodes are computed, from dense features.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch_geometric.nn import APPNP
from torch_geometric.nn import GATConv
from torch_geometric.nn import GCN2Conv
from torch_geometric.nn import GCNConv
from torch_geometric.nn import JumpingKnowledge
from torch_geometric.nn import SAGEConv
from torch_geometric.nn import SGConv
from torch_geometric.nn import SSGConv
from torch_geometric.utils import dropout_edge
from torch_geometric.utils import remove_self_loops

from nichenas.domains.gnn.wide_layers import Affine
from nichenas.domains.gnn.wide_layers import Convolution
from nichenas.domains.gnn.wide_model import WideNetwork


def _linear(own: Affine) -> nn.Module:
    inputs, outputs = own.weight.shape
    return _copied(nn.Linear(inputs, outputs), weight=own.weight.t(), bias=own.bias)


def _copied(layer: nn.Module, **tensors: Tensor) -> nn.Module:  # type: ignore[misc]
    named = dict(layer.named_parameters())
    for name, tensor in tensors.items():
        named[name.replace("__", ".")].data = tensor.detach().clone().contiguous()
    return layer


class _Layer(nn.Module):
    """A convolution of an interleaved network, with its linear residual connection where it has one."""

    def __init__(self, own: Convolution, heads: int, attention_dropout: float) -> None:
        super().__init__()
        inputs, outputs = own.weight.shape[0], own.outputs
        neighbours, *others = (part.t() for part in own.weight.split(outputs, 1))
        self.without_loops = own.kind == "sage"
        conv: nn.Module
        if own.kind == "gcn":
            conv = _copied(GCNConv(inputs, outputs, add_self_loops=False), lin__weight=neighbours, bias=own.bias)
        elif own.kind == "sage":
            root, *others = others
            weights = {"lin_l__weight": neighbours, "lin_l__bias": own.bias, "lin_r__weight": root}
            conv = _copied(SAGEConv(inputs, outputs), **weights)
        else:
            assert own.attention is not None
            conv = GATConv(inputs, outputs // heads, heads=heads, dropout=attention_dropout, add_self_loops=False)
            vectors = {"att_dst": own.attention.left[None], "att_src": own.attention.right[None]}
            conv = _copied(conv, lin__weight=neighbours, bias=own.bias, **vectors)
        self.conv = conv
        self.residual = None
        if others:
            self.residual = _copied(nn.Linear(inputs, outputs, bias=False), weight=others[0])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the outputs of all nodes."""
        edges = remove_self_loops(edge_index)[0] if self.without_loops else edge_index
        result: Tensor = self.conv(x, edges)
        return result if self.residual is None else result + self.residual(x)


class _Propagation(nn.Module):
    """A step of the symmetrically normalised adjacency, from a GCN convolution whose weight is the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _copied(GCNConv(width, width, bias=False, add_self_loops=False), lin__weight=torch.eye(width))
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the propagated features of all nodes."""
        result: Tensor = self.conv(x, edge_index)
        return result


class ReferenceWide(nn.Module):
    """The PyG twin of a network; its weights are copies. Edges are dropped before they are normalised."""

    def __init__(self, network: WideNetwork) -> None:
        super().__init__()
        spec = self.spec = network.spec
        features, outputs = network.in_features, network.out_features
        self.head = None if network.head is None else _linear(network.head)
        self.norms = copy.deepcopy(network.norms)
        own_input = getattr(network, "input", None)
        if spec.linear:
            kind, extra = (SGConv, ()) if spec.propagation == "sgc" else (SSGConv, (spec.teleport,))
            conv = kind(features, outputs, *extra, K=spec.steps, add_self_loops=False)
            self.conv = _copied(conv, lin__weight=network.input.weight.t(), lin__bias=network.input.bias)
            return
        self.input = None if own_input is None else _linear(own_input)
        if spec.propagation == "gcnii":
            layers = enumerate(network.matrices, 1)
            self.layers = nn.ModuleList(
                _copied(
                    GCN2Conv(spec.hidden, spec.teleport, spec.gcnii_lambda, index, add_self_loops=False), weight1=matrix
                )
                for index, matrix in layers
            )
        elif spec.interleaved:
            own = list(network.own_convolutions())
            last = len(own) - 1 if spec.readout == "convolution" else None
            self.layers = nn.ModuleList(
                _Layer(layer, 1 if index == last else spec.heads, spec.attention_dropout)
                for index, layer in enumerate(own)
            )
        else:
            self.inner = nn.ModuleList(_linear(layer) for layer in network.inner if isinstance(layer, Affine))
            self.propagation: nn.Module = _Propagation(features if spec.propagation == "grand" else outputs)
            if spec.propagation == "appnp":
                self.propagation = APPNP(spec.steps, spec.teleport, spec.edge_dropout, add_self_loops=False)
            elif spec.propagation == "gpr":
                self.gammas = nn.Parameter(network.gammas.detach().clone())
            elif spec.propagation == "dagnn":
                self.gate = _linear(network.gate)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the outputs of all nodes, ``(nodes, outputs)``; ``edge_index`` holds the self loops."""
        spec = self.spec
        x = functional.dropout(x, spec.feature_dropout, self.training)
        if spec.linear:
            result: Tensor = self.conv(x, edge_index)
            return result
        if spec.propagation == "gcnii":
            return self._gcnii(x, edge_index)
        return self._layered(x, edge_index) if spec.interleaved else self._decoupled(x, edge_index)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.spec.dropout, self.training)

    def _edges(self, edge_index: Tensor) -> Tensor:
        p = self.spec.edge_dropout
        return dropout_edge(edge_index, p, training=self.training)[0] if p else edge_index

    def _gcnii(self, x: Tensor, edge_index: Tensor) -> Tensor:
        assert self.input is not None
        assert self.head is not None
        x = start = torch.relu(self.input(x))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(self._drop(x), start, self._edges(edge_index))))
        result: Tensor = self.head(self._drop(x))
        return result

    def _layered(self, x: Tensor, edge_index: Tensor) -> Tensor:
        spec, kept = self.spec, list[Tensor]()
        start = None if spec.residual != "initial" or self.input is None else self.input(x)
        for index, layer in enumerate(self.layers):
            x = layer(x if index == 0 else self._drop(x), self._edges(edge_index))
            if index == len(self.norms):
                return x
            x = x if start is None else x + start
            x = getattr(functional, spec.activation)(self.norms[index](x))
            kept.append(x)
        if spec.readout in ("max", "concat"):
            x = JumpingKnowledge("max" if spec.readout == "max" else "cat")(kept)
        elif spec.readout == "sum":
            x = torch.stack(kept).sum(0)
        assert self.head is not None
        result: Tensor = self.head(self._drop(x))
        return result

    def _decoupled(self, x: Tensor, edge_index: Tensor) -> Tensor:
        spec = self.spec
        assert self.input is not None
        if self.training and spec.node_dropout:  # without the scale of dropout, which evaluation has instead
            x = x * (torch.rand_like(x[:, :1]) >= spec.node_dropout)
        else:
            x = x * (1 - spec.node_dropout)
        if spec.propagation == "grand":  # the features are propagated, as in the paper
            powers = [x]
            for _ in range(spec.steps):
                powers.append(self.propagation(powers[-1], self._edges(edge_index)))
            x = torch.stack(powers).mean(0)
        x = self.input(x)
        for layer in self.inner:
            x = layer(self._drop(torch.relu(x)))
        if spec.propagation == "grand":
            return x
        if spec.propagation == "appnp":
            result: Tensor = self.propagation(x, edge_index)
            return result
        hops = [self._drop(x) if spec.propagation == "gpr" else x]
        for _ in range(spec.steps):
            hops.append(self.propagation(hops[-1], self._edges(edge_index)))
        stacked = torch.stack(hops)
        weights = self.gammas[:, None, None] if spec.propagation == "gpr" else torch.sigmoid(self.gate(stacked))
        return (weights * stacked).sum(0)
