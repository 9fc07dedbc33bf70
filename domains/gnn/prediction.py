"""What a trained network predicts for every node of its graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

import torch
from torch import Tensor

from nichenas.core.capabilities.predicting import Predictions
from nichenas.core.errors import ConfigError
from nichenas.core.space import Architecture
from nichenas.core.training.calibration import temperature_of
from nichenas.domains.gnn.data import NodeTask
from nichenas.domains.gnn.families import Family
from nichenas.domains.gnn.training import Piece
from nichenas.domains.gnn.training import outputs_of


def node_predictions(
    task: NodeTask, family: Family, architecture: Architecture, weights: Mapping[str, Tensor], held: Sequence[Piece]
) -> Predictions:
    """Returns the predictions of a network with trained weights.

    Args:
        held: the validation nodes, whose temperature probabilities are at where the data have a single split; of
            several, it is not known which one the weights are of.

    Raises:
        ConfigError: for data of several graphs.
    """
    if not task.names:
        raise ConfigError(f"predictions are of the nodes of one graph; '{task.name}' has several")
    some = task.train[0]
    network = family.network(architecture, torch.Generator())
    network.load_state_dict(dict(weights))
    network.to(some.x.device)
    nodes = torch.arange(some.graph.nodes, device=some.x.device)
    everything = dataclasses.replace(some, nodes=nodes, labels=torch.zeros_like(nodes))
    ((logits, _),) = outputs_of(network, [family.piece(everything, architecture)])
    if len(task.splits) == 1:
        logits = logits / temperature_of(outputs_of(network, held))
    chances = logits.sigmoid() if task.multilabel else logits.softmax(1)
    return Predictions("node", task.names, task.classes, chances.cpu(), exclusive=not task.multilabel)
