"""Figures of a comparison of strategies at equal budget: intervals, any-time curves, significance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nichenas.core.figures.anytime import AnyTimeCurve
from nichenas.core.figures.anytime import best_so_far
from nichenas.core.session.record import RunRecord

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% confidence interval (Student's t), and how many values it comes from."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.half:.4f}" if self.n > 1 else f"{self.mean:.4f}"


def interval(values: Sequence[float]) -> Interval:
    """Returns the mean and its 95% interval; of a single value the interval is that value."""
    sample = np.asarray(values, dtype=float)
    mean = float(sample.mean())
    if len(sample) < 2 or sample.std() == 0:
        return Interval(mean, mean, mean, len(sample))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(sample) - 1) * stats.sem(sample))
    return Interval(mean, mean - half, mean + half, len(sample))


def permutation_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the two-sided p-value of the permutation test on the difference of means.

    All permutations are tried where there are at most 100,000, else that many are drawn. With n values a side
    no p-value can be below 2 / C(2n, n): 0.1 for three, 0.008 for five, 1 for a single one.
    """
    if min(len(one), len(other)) < 2:
        return 1.0
    if np.ptp([*one, *other]) == 0:
        return 1.0
    result = stats.permutation_test(
        (np.asarray(one, dtype=float), np.asarray(other, dtype=float)),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        permutation_type="independent",
        vectorized=True,
        n_resamples=100_000,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number by Holm's step-down rule (1979), in the given order."""
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    largest = 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - position) * values[index]))
        corrected[index] = largest
    return [float(value) for value in corrected]


def mean_ranks(values: Sequence[Sequence[float]], sign: float) -> list[float]:
    """Returns every side's mean rank over runs that are paired by their seed; 1 is best, equals share their ranks.

    Args:
        values: of every side, one a run.
        sign: +1 where more is better, -1 where less is.
    """
    ranks = stats.rankdata(-sign * np.asarray(values, dtype=float), axis=0)
    return [float(rank) for rank in ranks.mean(1)]


def marks(budget: float) -> list[int]:
    """Returns 10, 20, 50, 100 and so on below a budget, and the budget."""
    series = (factor * 10**power for power in itertools.count(1) for factor in (1, 2, 5))
    return [*itertools.takewhile(lambda n: n < budget, series), int(budget)]


def regrets(curves: Sequence[AnyTimeCurve], optimum: float, sign: float, after: Sequence[int]) -> dict[int, Interval]:
    """Returns how far the best so far is from the optimum once so much is spent, from where all runs have a value.

    A run that ended earlier, because the rest of the budget had no room for another trial, keeps its best.
    """
    found = {n: [sign * (optimum - float(curve.at(np.array([n]))[0])) for curve in curves] for n in after}
    return {n: interval(values) for n, values in found.items() if np.isfinite(values).all()}


@dataclass(frozen=True)
class StrategyFigures:
    """The runs of one strategy, or of one strategy with one schedule.

    Attributes:
        name: of both, as it stands in tables.
        best: best validation value of every run.
        mean: mean validation value of all that each run evaluated.
        last: mean of the last fifth of its trials.
        test: mean test value of the chosen architecture over its seeds, of every run; empty without retraining.
        test_validation: mean validation value of the same trainings.
        curves: best so far of every run.
        failed: failed trials of every run.
        seconds: of every search.
        simulated: seconds that the trainings of every search would have taken, as a table says; empty without one.
        spent: what every search spent of its budget.
    """

    name: str
    best: list[float]
    mean: list[float]
    last: list[float]
    test: list[float]
    test_validation: list[float]
    curves: list[AnyTimeCurve]
    failed: list[int]
    seconds: list[float]
    simulated: list[float]
    spent: list[float]


def figures(name: str, runs: Sequence[RunRecord], unit: str) -> StrategyFigures:
    """Returns the figures of one strategy.

    Args:
        runs: one a seed, finished.
        unit: of what is spent; see :meth:`RunRecord.spent`.
    """
    result = StrategyFigures(name, [], [], [], [], [], [], [], [], [], [])
    for run in runs:
        searched, metric, found = run.objectives[0], run.metric.name, run.result
        assert found is not None
        values, spent = run.values(searched), run.spent(unit)
        curve = best_so_far(values, searched.sign)
        good = [value for value in values if value is not None]
        last = [value for value in values[-max(1, len(values) // 5) :] if value is not None]
        result.curves.append(AnyTimeCurve(np.asarray(spent, dtype=float), curve))
        result.spent.append(float(spent[-1]))
        result.best.append(float(curve[-1]))
        result.mean.append(float(np.mean(good)))
        result.last.append(float(np.mean(last)) if last else float("nan"))
        result.failed.append(found.failed)
        result.seconds.append(found.seconds)
        if found.simulated_seconds is not None:
            result.simulated.append(found.simulated_seconds)
        if found.test:
            result.test.append(float(found.test[metric]["mean"]))
            chosen = next(row for row in found.retrained if row.label == found.key)
            result.test_validation.append(float(chosen.validation[metric]["mean"]))
    return result
