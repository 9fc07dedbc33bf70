"""Hand-made networks from PyG's own layers, trained by the same rules, for the table beside a search's result.

Sizes and training follow each paper's setting for citation graphs: GCN (Kipf and Welling 2017), GAT (Velickovic
et al. 2018); GraphSAGE (Hamilton et al. 2017) has none for these graphs and takes GCN's.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch_geometric.nn import GATConv
from torch_geometric.nn import GCNConv
from torch_geometric.nn import SAGEConv

from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.training import NodeTraining
from nichenas.domains.gnn.training import TrainSettings
from nichenas.domains.gnn.training import node_loss
from nichenas.domains.gnn.training import score_and_loss

CITATION = {"learning_rate": 0.01, "dropout": 0.5}


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


def make_baseline(name: str, features: int, outputs: int, settings: TrainSettings) -> tuple[Baseline, TrainSettings]:
    """Returns the network of a baseline and its training settings.

    Args:
        name: ``GCN``, ``GAT`` or ``GraphSAGE``.
        settings: those of the search; epochs, patience and weight decay are kept.
    """
    changed = settings if name == "GAT" else settings.model_copy(update=CITATION)
    p = changed.dropout
    if name == "GCN":
        plain = [GCNConv(features, 16, add_self_loops=False), GCNConv(16, outputs, add_self_loops=False)]
        return Baseline(plain, torch.relu, p), changed
    if name == "GraphSAGE":
        return Baseline([SAGEConv(features, 16), SAGEConv(16, outputs)], torch.relu, p), changed
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
