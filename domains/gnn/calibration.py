"""The calibrated Brier score: how good predicted probabilities are, once their temperature is fitted.

Accuracy counts nodes, and on a few hundred of them it is too coarse to rank networks that differ by a point; the loss
is not, but mostly tells how well calibrated a network is. A temperature that is fitted first (Guo et al. 2017, section
4.2) takes calibration out of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor

SHARPEST = 4.0  # largest absolute value of the logarithm of a temperature, of logits that vary by 1


Graphs = Sequence[tuple[Tensor, Tensor]]


def calibrated_brier(graphs: Graphs) -> float:
    """Returns the mean squared distance of predicted probabilities to the labels; smaller is better.

    Logits are divided by the temperature of the lowest cross-entropy on the same nodes. Every label of a node with
    several counts as two classes.

    Args:
        graphs: logits ``(nodes, outputs)`` and labels of some graphs, as of
            :func:`~nichenas.domains.gnn.training.node_loss`.
    """
    logits, targets = _distributions(graphs)
    predicted = np.exp(log_softmax(logits / _fitted(logits, targets), axis=-1))
    return float(np.square(predicted - targets).sum(-1).mean())


def temperature_of(graphs: Graphs) -> float:
    """Returns the temperature that logits must be divided by for the lowest cross-entropy; see the other function."""
    return _fitted(*_distributions(graphs))


def _fitted(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    def loss(log_temperature: float) -> float:
        return -float((targets * log_softmax(logits * np.exp(-log_temperature), axis=-1)).sum(-1).mean())

    varies = float(np.sqrt(np.square(logits - logits.mean(-1, keepdims=True)).mean()))
    if varies == 0:
        return 1.0
    middle = np.log(varies)
    return float(np.exp(minimize_scalar(loss, bounds=(middle - SHARPEST, middle + SHARPEST), method="bounded").x))


def _distributions(graphs: Graphs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns logits and the distributions that the labels are, each ``(..., classes)``."""
    outputs = torch.cat([one for one, _ in graphs]).detach().double().cpu()
    labels = torch.cat([one for _, one in graphs]).cpu()
    if labels.dtype == torch.int64:
        return outputs.numpy(), torch.nn.functional.one_hot(labels, outputs.shape[1]).double().numpy()
    pairs = torch.stack([outputs, torch.zeros_like(outputs)], -1)
    return pairs.numpy(), torch.stack([labels, 1 - labels], -1).double().numpy()
