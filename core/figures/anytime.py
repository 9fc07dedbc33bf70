"""Any-time curves: the best value of a search so far, over what it has spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
POINTS = 1000  # of a plotted curve, at most


def best_so_far(values: Sequence[float | None], sign: float = 1.0) -> NDArray[np.float64]:
    """Returns the best value after every trial, ``(trials,)``; nan before the first success.

    Args:
        values: of the trials in order; none for a failed one.
        sign: +1 where more is better, -1 where less is.
    """
    signed = np.array([np.nan if value is None else sign * value for value in values], dtype=float)
    return sign * np.fmax.accumulate(signed) if len(signed) else signed


@dataclass(frozen=True)
class AnyTimeCurve:
    """The best so far of a run over what it has spent.

    Attributes:
        spent: at the end of every trial, rising, ``(trials,)``.
        best: the best value up to it, ``(trials,)``; nan before the first.
    """

    spent: NDArray[np.float64]
    best: NDArray[np.float64]

    def at(self, spent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the best once so much is spent; nan before the first."""
        position = np.searchsorted(self.spent, spent, side="right") - 1
        return np.where(position < 0, np.nan, self.best[np.maximum(position, 0)])


def band(curves: Sequence[AnyTimeCurve]) -> tuple[NDArray[np.float64], ...]:
    """Returns (spent, mean, low, high) of any-time curves, as far as all of them go; nan until all have a value."""
    end = min(curve.spent[-1] for curve in curves)
    spent = np.unique(np.concatenate([curve.spent[curve.spent <= end] for curve in curves]))
    if len(spent) > POINTS:
        spent = np.unique(spent[np.linspace(0, len(spent) - 1, POINTS).round().astype(int)])
    table = np.stack([curve.at(spent) for curve in curves])
    mean = table.mean(0)
    if len(curves) < 2:
        return spent, mean, mean, mean
    factor = stats.t.ppf(0.5 + CONFIDENCE / 2, len(curves) - 1)
    half = factor * table.std(0, ddof=1) / np.sqrt(len(curves))
    return spent, mean, mean - half, mean + half
