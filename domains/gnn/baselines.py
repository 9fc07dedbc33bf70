"""Hand-made networks from PyG's own layers, trained by the same rules, for the table beside a search's result.

Sizes and training follow each paper's setting for citation graphs: GCN (Kipf and Welling 2017), GAT (Velickovic
et al. 2018), APPNP (Gasteiger et al. 2019), GPRGNN (Chien et al. 2021), GCNII (Chen et al. 2020; of 16 layers);
GraphSAGE (Hamilton et al. 2017) has none for these graphs and takes GCN's.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch_geometric.nn import APPNP
from torch_geometric.nn import GATConv
from torch_geometric.nn import GCN2Conv
from torch_geometric.nn import GCNConv
from torch_geometric.nn import MessagePassing
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.training import NodeTraining
from nichenas.domains.gnn.training import TrainSettings
from nichenas.domains.gnn.training import node_loss
from nichenas.domains.gnn.training import score_and_loss

CITATION = {"learning_rate": 0.01, "dropout": 0.5}
NAMES = ("GCN", "GAT", "GraphSAGE", "APPNP", "GPRGNN", "GCNII")
GCNII_LAYERS = 16


class Baseline(nn.Module):
    """Convolutions with dropout before each and an activation between them."""

    def __init__(self, layers: Sequence[nn.Module], activation: Callable[[Tensor], Tensor], dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.activation = activation
        self.p = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the outputs of all nodes; ``edge_index`` holds the self loops."""
        for position, layer in enumerate(self.layers):
            x = functional.dropout(x, self.p, self.training)
            x = layer(x, edge_index)
            if position + 1 < len(self.layers):
                x = self.activation(x)
        return x


class Propagated(nn.Module):
    """A perceptron of 64 hidden units, then a propagation of its outputs (APPNP, GPRGNN)."""

    def __init__(self, features: int, outputs: int, propagation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, 64), nn.Linear(64, outputs)
        self.propagation, self.p = propagation, dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the outputs of all nodes; ``edge_index`` holds the self loops."""
        x = torch.relu(self.first(functional.dropout(x, self.p, self.training)))
        x = self.second(functional.dropout(x, self.p, self.training))
        result: Tensor = self.propagation(x, edge_index)
        return result


class GPRPropagation(MessagePassing):
    """A weighted sum of ``steps`` propagations; the weights are trained, from those of personalised PageRank."""

    def __init__(self, steps: int = 10, teleport: float = 0.1, dropout: float = 0.5) -> None:
        super().__init__(aggr="add")
        powers = [teleport * (1 - teleport) ** k for k in range(steps)]
        self.gammas = nn.Parameter(torch.tensor([*powers, (1 - teleport) ** steps]))
        self.p = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the sum for all nodes."""
        x = functional.dropout(x, self.p, self.training)
        edge_index, weight = gcn_norm(edge_index, None, x.shape[0], add_self_loops=False, dtype=x.dtype)
        total = self.gammas[0] * x
        for gamma in self.gammas[1:]:
            x = self.propagate(edge_index, x=x, weight=weight)
            total = total + gamma * x
        return total

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        """Returns the weighted neighbours."""
        return weight[:, None] * x_j


class GCNII(nn.Module):
    """GCNII of 64 hidden units."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last, self.p = nn.Linear(features, 64), nn.Linear(64, outputs), dropout
        self.layers = nn.ModuleList(
            GCN2Conv(64, 0.1, 0.5, layer, add_self_loops=False) for layer in range(1, GCNII_LAYERS + 1)
        )

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the outputs of all nodes; ``edge_index`` holds the self loops."""
        x = start = torch.relu(self.first(functional.dropout(x, self.p, self.training)))
        for layer in self.layers:
            x = torch.relu(layer(functional.dropout(x, self.p, self.training), start, edge_index))
        result: Tensor = self.last(functional.dropout(x, self.p, self.training))
        return result


def make_baseline(name: str, features: int, outputs: int, settings: TrainSettings) -> tuple[nn.Module, TrainSettings]:
    """Returns the network of a baseline and its training settings.

    Args:
        name: one of :data:`NAMES`.
        settings: those of the search; epochs, patience, the choice of the epoch and weight decay are kept.
    """
    changed = settings if name == "GAT" else settings.model_copy(update=CITATION)
    p = changed.dropout
    if name == "GCN":
        plain = [GCNConv(features, 16, add_self_loops=False), GCNConv(16, outputs, add_self_loops=False)]
        return Baseline(plain, torch.relu, p), changed
    if name == "GraphSAGE":
        return Baseline([SAGEConv(features, 16), SAGEConv(16, outputs)], torch.relu, p), changed
    if name == "APPNP":
        return Propagated(features, outputs, APPNP(10, 0.1, add_self_loops=False), p), changed
    if name == "GPRGNN":
        return Propagated(features, outputs, GPRPropagation(dropout=p), p), changed
    if name == "GCNII":
        return GCNII(features, outputs, 0.6), changed
    first = GATConv(features, 8, heads=8, dropout=p, add_self_loops=False)
    last = GATConv(64, outputs, heads=1, concat=False, dropout=p, add_self_loops=False)
    return Baseline([first, last], functional.elu, p), changed


class PlainTraining(NodeTraining):
    """A plain training on whole graphs, with the rules of the space's networks.

    The network is called with all node features and the edge index with self loops of a graph. It draws from torch's
    global generator, so its training cannot be continued.
    """

    fused = None

    def advance(self) -> None:
        """Trains an epoch."""
        self.network.train()
        for part in self.train:
            self.optimiser.zero_grad()
            node_loss(self.network(part.x, part.graph.edge_index)[part.nodes], part.labels).backward()
            self.optimiser.step()

    def validate(self) -> dict[str, float]:
        """Returns score and loss."""
        score, loss = evaluate_plain(self.network, self.validation, self.metric)
        return {"score": score, "loss": loss}


@torch.no_grad()
def evaluate_plain(network: nn.Module, parts: Sequence[LabelledNodes], metric: str = "accuracy") -> tuple[float, float]:
    """Returns (score, mean loss) of a network in evaluation mode."""
    network.eval()
    found = ((network(part.x, part.graph.edge_index)[part.nodes], part.labels) for part in parts)
    return score_and_loss(found, metric)
