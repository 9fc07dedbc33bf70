"""Whether cheap settings keep the ranking that full training gives (EcoNAS, section on reliable proxies)."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
PAIRWISE = 150  # architectures up to which all pairs are compared at once
BINS = 20  # of the histogram whose entropy says how spread out scores are


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, or a difference of two, with its bootstrap interval.

    Attributes:
        low: of the 95% percentile interval over resampled architectures; nan where it is not defined.
        high: likewise.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Consistency:
    """How well one column of scores ranks architectures as the reference does.

    Attributes:
        count: architectures that have both figures.
        entropy: of the scores, in nats; see :func:`score_entropy`.
        top: share of the reference's best fifth among the score's best fifth.
    """

    spearman: Correlation
    kendall: Correlation
    count: int
    entropy: float
    top: float


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Returns Pearson's correlation of average ranks; nan where a side has one value only."""
    a, b = stats.rankdata(one), stats.rankdata(other)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else math.nan


def kendall(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Returns Kendall's tau-b, which corrects for ties; nan where a side has one value only."""
    if len(one) > PAIRWISE:  # scipy's sorting is slower to begin with, but pairs are many
        return float(stats.kendalltau(one, other).statistic)
    a, b = np.sign(one[:, None] - one[None]), np.sign(other[:, None] - other[None])
    norm = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else math.nan


def score_entropy(scores: NDArray[np.float64], low: float, high: float) -> float:
    """Returns the entropy of a histogram of scores with :data:`BINS` bins of one width between two bounds.

    EcoNAS looks at how spread out a proxy's scores are but its definition was not found; this one is not from the
    paper. The bounds are the same for all proxies of a study, so a proxy whose scores fall together has few bins
    and a small entropy.
    """
    width = (high - low) / BINS if high > low else 1.0
    bins = np.clip(((scores - low) / width).astype(int), 0, BINS - 1)
    shares = np.bincount(bins, minlength=BINS) / len(scores)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def consistency(
    reference: Sequence[float | None],
    scores: Sequence[float | None],
    rng: np.random.Generator,
    bounds: tuple[float, float] | None = None,
) -> Consistency | None:
    """Compares scores with the reference over the architectures that have both; none for fewer than four.

    Args:
        reference: of every architecture, larger is better; none where it failed.
        scores: likewise.
        rng: draws the resamples.
        bounds: of the scores' histogram; by default the least and largest score.
    """
    pairs = [(a, b) for a, b in zip(reference, scores, strict=True) if a is not None and b is not None]
    if len(pairs) < 4:
        return None
    columns = np.array(pairs, dtype=np.float64)
    one, other = columns.T
    low, high = bounds or (float(other.min()), float(other.max()))
    drawn = rng.integers(0, len(one), (RESAMPLES, len(one)))
    best = max(1, len(one) // 5)
    ours, theirs = (set(np.argsort(-side, kind="stable")[:best]) for side in (other, one))
    return Consistency(
        _with_interval(lambda rows: spearman(rows[:, 0], rows[:, 1]), columns, drawn),
        _with_interval(lambda rows: kendall(rows[:, 0], rows[:, 1]), columns, drawn),
        count=len(one),
        entropy=score_entropy(other, low, high),
        top=len(ours & theirs) / best,
    )


def difference(
    reference: Sequence[float | None],
    one: Sequence[float | None],
    other: Sequence[float | None],
    rng: np.random.Generator,
) -> Correlation | None:
    """Returns Spearman's correlation of one column of scores less that of another, with its interval.

    Both are resampled together, so what they have in common cancels: settings may be distinguished whose own intervals
    overlap. None for fewer than four architectures that have all three figures.
    """
    rows = [row for row in zip(reference, one, other, strict=True) if None not in row]
    if len(rows) < 4:
        return None
    columns = np.array(rows, dtype=np.float64)
    drawn = rng.integers(0, len(columns), (RESAMPLES, len(columns)))
    return _with_interval(lambda r: spearman(r[:, 0], r[:, 1]) - spearman(r[:, 0], r[:, 2]), columns, drawn)


def _with_interval(
    measure: Callable[[NDArray[np.float64]], float], rows: NDArray[np.float64], drawn: NDArray[np.int64]
) -> Correlation:
    values = np.array([measure(rows[index]) for index in drawn])
    values = values[np.isfinite(values)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail)) if len(values) else (math.nan, math.nan)
    return Correlation(float(measure(rows)), float(low), float(high))


def cheapest(found: Mapping[str, Consistency], costs: Mapping[str, float], wanted: float, measured: int) -> str | None:
    """Returns the setting of the least cost whose Spearman correlation reaches what is wanted; none where none does.

    Args:
        costs: by setting; those without one are not considered.
        measured: architectures that the reference has; what ranks less than nine tenths of them is not considered.
    """
    ranking = {name: one for name, one in found.items() if name in costs and one.count >= 0.9 * measured}
    good = [name for name, one in ranking.items() if one.spearman.value >= wanted]
    return min(good, key=lambda name: (costs[name], -found[name].spearman.value), default=None)
