"""Figures of predicted probabilities that do not depend on how confident a network is: its temperature is fitted first.

Accuracy counts samples, and on a few hundred of them it is too coarse to rank networks that differ by a point; the loss
is not, but mostly tells how well calibrated a network is, and rises while a network that overfits still gets better. A
temperature that is fitted first (Guo et al. 2017, section 4.2) takes calibration out of it.

The temperature is fitted to smoothed labels, as if every class had been seen once more (Platt 1999 does so with two):
few samples that are all right would be fitted best by no doubt at all, and all that separates them would be equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHARPEST = 8.0  # largest absolute value of the logarithm of a temperature, of logits that vary by 1
PRECISION = 1e-5  # of the logarithm of a temperature
MOST_STEPS = 60
LARGEST = 1e30  # of a logit

Array = NDArray[np.float64]
Parts = Sequence[tuple[Tensor, Tensor]]


def calibrated_brier(parts: Parts) -> float:
    """Returns the mean squared distance of predicted probabilities to the labels; smaller is better.

    Logits are divided by the temperature of the lowest cross-entropy on the same samples. Every label of a sample with
    several counts as two classes.

    Args:
        parts: logits and labels of parts of the data: logits ``(samples, outputs)`` with class numbers ``(samples,)``
            int64, or with labels ``(samples, outputs)`` of 0 and 1 where a sample can have several.
    """
    logits, targets = _distributions(parts)
    predicted = _probabilities(logits / _fitted(logits, _smoothed(targets)))
    return float(np.square(predicted - targets).sum(-1).mean())


def calibrated_loss(parts: Parts) -> float:
    """Returns the mean cross-entropy to smoothed labels at the temperature at which it is the lowest.

    Not a number where a logit is not; see the other function for arguments.
    """
    logits, targets = _distributions(parts)
    targets = _smoothed(targets)
    scaled = logits / _fitted(logits, targets)
    top = scaled.max(-1, keepdims=True)
    normaliser = np.log(np.exp(scaled - top).sum(-1)) + top[..., 0]
    return float((normaliser - (targets * scaled).sum(-1)).mean())


def temperature_of(parts: Parts) -> float:
    """Returns the temperature that logits must be divided by for the lowest cross-entropy to smoothed labels."""
    logits, targets = _distributions(parts)
    return _fitted(logits, _smoothed(targets))


def _smoothed(targets: Array) -> Array:
    """Returns distributions as if every class had been seen once more."""
    samples, classes = len(targets), targets.shape[-1]
    return (targets * samples + 1) / (samples + classes)


def _probabilities(logits: Array) -> Array:
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _fitted(logits: Array, targets: Array) -> float:
    """Returns the temperature of the lowest cross-entropy, by Newton's method between bounds.

    The cross-entropy is a convex function of the inverse temperature: its slope is the mean of the logits that are
    predicted less those of the labels, its curvature the mean of their predicted variance.
    """
    spread = np.abs(logits - logits.mean(-1, keepdims=True)).max(-1)
    varies = float(np.median(spread[spread != 0])) if bool((spread != 0).any()) else 0.0
    if not varies or not np.isfinite(varies):
        return 1.0
    logits = logits / varies
    of_labels = (targets * logits).sum(-1)
    low, high, inverse = np.exp(-SHARPEST), np.exp(SHARPEST), 1.0
    for _ in range(MOST_STEPS):
        predicted = _probabilities(inverse * logits)
        means = (predicted * logits).sum(-1)
        slope = float((means - of_labels).mean())
        curvature = float(((predicted * np.square(logits)).sum(-1) - np.square(means)).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        following = inverse - slope / curvature if curvature > 0 else low
        if not low < following < high:
            following = np.sqrt(low * high)
        moved, inverse = abs(np.log(following / inverse)), following
        if moved < PRECISION:
            break
    return float(varies / inverse)


def _distributions(parts: Parts) -> tuple[Array, Array]:
    """Returns logits and the distributions that the labels are, each ``(..., classes)``."""
    outputs = torch.cat([one for one, _ in parts]).detach().double().cpu().clamp(-LARGEST, LARGEST)
    labels = torch.cat([one for _, one in parts]).cpu()
    if labels.dtype == torch.int64:
        return outputs.numpy(), torch.nn.functional.one_hot(labels, outputs.shape[1]).double().numpy()
    pairs = torch.stack([outputs, torch.zeros_like(outputs)], -1)
    return pairs.numpy(), torch.stack([labels, 1 - labels], -1).double().numpy()
