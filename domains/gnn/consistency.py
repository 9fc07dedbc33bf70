"""Consistency training: predictions under several draws of dropout should agree (Feng et al. 2020, GRAND)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Consistency:
    """How a network is trained for consistency.

    Attributes:
        augmentations: draws of dropout in every step.
        weight: of the disagreement in the loss (lambda).
        temperature: of the mean prediction that every single one is drawn to; below 1 it is sharpened.
    """

    augmentations: int
    weight: float
    temperature: float


def disagreement(outputs: Tensor, temperature: float, *, multilabel: bool = False) -> Tensor:
    """Returns the mean squared distance of predictions to their sharpened mean, which has no gradient.

    Section 3.2 of Feng et al. 2020, equations 4 and 5, as a mean over nodes as in their code; the distance is summed
    over classes.

    Args:
        outputs: logits, ``(nodes, augmentations, outputs)``.
        multilabel: whether every output is a label of its own, and so a distribution over two classes.
    """
    if multilabel:
        outputs = torch.stack([outputs, torch.zeros_like(outputs)], -1).movedim(2, 0)  # labels, nodes, augmentations, 2
    # Over the first dimension torch's softmax is 20 times as fast as over a last one of few classes.
    predicted = outputs.movedim(-1, 0).contiguous().softmax(0)
    mean = predicted.detach().mean(-1, keepdim=True)  # augmentations come last
    sharp = mean.pow(1 / temperature)
    sharp = sharp / sharp.sum(0)
    return (predicted - sharp).square().sum(0).mean()
