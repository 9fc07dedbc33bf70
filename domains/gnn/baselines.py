"""Hand-made networks from PyG's own layers, at the settings of the wide space's well-known members.

They are the plain form of the baselines, which are trained by the faster networks of the space unless
``domain.pyg_baselines`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.training import NodeTraining
from nichenas.domains.gnn.training import TrainSettings
from nichenas.domains.gnn.training import node_loss
from nichenas.domains.gnn.training import score_and_loss
from nichenas.domains.gnn.wide import WideFamily
from nichenas.domains.gnn.wide_reference import ReferenceWide
from nichenas.domains.gnn.wide_space import known_wide


def make_baseline(name: str, features: int, outputs: int, settings: TrainSettings) -> tuple[nn.Module, TrainSettings]:
    """Returns the network of a baseline and its training settings; initial weights come from torch's global generator.

    Args:
        name: of a well-known member of the wide space.
        settings: those of the search; epochs, patience and the choice of the epoch are kept.
    """
    family, architecture = WideFamily(features, outputs, settings), known_wide()[name]
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return ReferenceWide(family.network(architecture, generator)), family.train_settings(architecture)


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

    def outputs(self) -> list[tuple[Tensor, Tensor]]:
        """Returns those of the network as it is."""
        return plain_outputs(self.network, self.validation)


def evaluate_plain(network: nn.Module, parts: Sequence[LabelledNodes], metric: str = "accuracy") -> tuple[float, float]:
    """Returns (score, mean loss) of a network in evaluation mode."""
    return score_and_loss(plain_outputs(network, parts), metric)


@torch.no_grad()
def plain_outputs(network: nn.Module, parts: Sequence[LabelledNodes]) -> list[tuple[Tensor, Tensor]]:
    """Returns the outputs of a network in evaluation mode, and the labels, of the labelled nodes of every graph."""
    network.eval()
    return [(network(part.x, part.graph.edge_index)[part.nodes], part.labels) for part in parts]
