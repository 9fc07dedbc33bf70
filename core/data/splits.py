"""Dividing labelled samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def stratified(labels: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Splits indices so that every class is divided in the same proportion, as nearly as whole samples allow.

    Args:
        labels: ``(n,)``.
        share: of the second part, between 0 and 1.

    Returns:
        The two parts' indices, each sorted. The second has ``round(share * n)`` of them: classes give the
        whole part of their share, those with the largest remainders one more.
    """
    given = labels.cpu().numpy()
    classes, counts = np.unique(given, return_counts=True)
    exact = share * counts
    take = np.floor(exact).astype(int)
    missing = round(share * len(given)) - int(take.sum())
    order = np.argsort(-(exact - take), kind="stable")
    take[order[:missing]] += 1
    second = [rng.permutation(np.flatnonzero(given == c))[:n] for c, n in zip(classes, take, strict=True)]
    chosen = np.sort(np.concatenate(second)) if second else np.empty(0, dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(given)), chosen)
    return torch.from_numpy(rest), torch.from_numpy(chosen)
