"""Statistics of a comparison of searches: intervals, any-time curves, tests of runs that are paired by their seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from nichenas.core.figures.anytime import AnyTimeCurve
from nichenas.core.figures.anytime import best_so_far
from nichenas.core.session.budget import Budget
from nichenas.core.session.record import RunRecord

CONFIDENCE = 0.95
EXACT = 16  # pairs up to which all patterns of signs are tried
DRAWN = 100_000  # patterns that are drawn where there are more
CHUNK = 10_000  # patterns in memory at once
ROUNDING = 1e-12  # relative; differences up to it are rounding errors


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% confidence interval (Student's t).

    Attributes:
        n: how many values it is of.
        values: that it is of, where they are kept.
    """

    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...] = ()

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.half:.4f}" if self.n > 1 else f"{self.mean:.4f}"


def interval(values: Sequence[float]) -> Interval:
    """Returns the mean and its 95% interval; of a single value the interval is that value."""
    sample = np.asarray(values, dtype=float)
    mean, kept = float(sample.mean()), tuple(map(float, values))
    if len(sample) < 2 or sample.std() == 0:
        return Interval(mean, mean, high=mean, n=len(sample), values=kept)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(sample) - 1) * stats.sem(sample))
    return Interval(mean, mean - half, high=mean + half, n=len(sample), values=kept)


def sign_flip_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the two-sided p-value of the paired sign-flip test on the mean difference.

    If it does not matter which of the two arms a run belongs to, the difference of a pair is as likely as its
    negative (Fisher's randomisation test for pairs). The p-value is the share of all patterns of signs whose mean
    difference is at least as far from 0 as the one that was observed. All 2^n patterns are tried for up to 16 pairs,
    else 100,000 are drawn, the same ones every time.

    With n pairs no p-value can be below 2 / 2^n: 1 for a single pair, 0.25 for three, 0.063 for five, 0.031 for six.
    Pairs without a difference are the same under both signs and do not count.

    Args:
        one: a value a run, in the order of seeds.
        other: of the runs with the same seeds.

    Raises:
        ValueError: when there are not as many.
    """
    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    differences = (a - b)[np.abs(a - b) > ROUNDING * np.maximum(np.abs(a), np.abs(b))]
    count = len(differences)
    if count == 0:
        return 1.0
    least = abs(float(differences.sum())) - ROUNDING * float(np.abs(differences).sum())
    if count <= EXACT:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ differences) >= least))
    rng, extreme = np.random.default_rng(0), 0
    for _ in range(DRAWN // CHUNK):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (CHUNK, count), dtype=np.int8)
        extreme += int(np.count_nonzero(np.abs(signs @ differences) >= least))
    return (extreme + 1) / (DRAWN + 1)  # the observed pattern is one of them


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
    """Returns every arm's mean rank over runs that are paired by their seed; 1 is best, equals share their ranks.

    Args:
        values: of every arm, one a run.
        sign: +1 where more is better, -1 where less is.
    """
    ranks = stats.rankdata(-sign * np.asarray(values, dtype=float), axis=0)
    return [float(rank) for rank in ranks.mean(1)]


def budget_marks(budget: float) -> list[int]:
    """Returns 10, 20, 50, 100 and so on below a budget, and the budget."""
    series = (factor * 10**power for power in itertools.count(1) for factor in (1, 2, 5))
    return [*itertools.takewhile(lambda n: n < budget, series), int(budget)]


def regrets(
    curves: Sequence[AnyTimeCurve], best_known: float, sign: float, after: Sequence[int]
) -> dict[int, Interval]:
    """Returns how far the best so far is from the best known once so much is spent, from where all runs have a value.

    A run that ended earlier, because the rest of the budget had no room for another trial, keeps its best.
    """
    found = {n: [sign * (best_known - float(curve.at(np.array([n]))[0])) for curve in curves] for n in after}
    return {n: interval(values) for n, values in found.items() if np.isfinite(values).all()}


@dataclass(frozen=True)
class ArmRuns:
    """The finished runs of one arm of a comparison, as they lie in their folders.

    Attributes:
        name: as it stands in tables; also that of its run folders.
        budget: of every run.
        unit: what the search method counts: ``trial`` or ``epoch``.
        records: one a seed, in the order of seeds.
    """

    name: str
    budget: Budget
    unit: str
    records: Sequence[RunRecord]


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """One run of an arm.

    Attributes:
        best: best validation value.
        mean: mean validation value of all that it evaluated.
        last: mean of the last fifth of its trials; none where all of them failed, or none was measured in full.
        test: mean test value of the chosen architecture over its seeds; none without retraining.
        test_validation: mean validation value of the same trainings.
        curve: best so far.
        failed: trials.
        seconds: of the search.
        simulated_seconds: that its trainings would have taken, as a table says; none without one.
        spent: of its budget.
    """

    best: float
    mean: float
    last: float | None
    test: float | None
    test_validation: float | None
    curve: AnyTimeCurve
    failed: int
    seconds: float
    simulated_seconds: float | None
    spent: float


@dataclass(frozen=True)
class ArmFigures:
    """The runs of one arm.

    Attributes:
        measures: what its searches measured, with the proxy setting where that is reduced.
        runs: one a seed, in the order of seeds.
    """

    name: str
    measures: str
    runs: tuple[RunFigures, ...]

    @property
    def curves(self) -> list[AnyTimeCurve]:
        """Best so far of every run."""
        return [run.curve for run in self.runs]

    def column(self, figure: str) -> list[float | None]:
        """Returns one figure of every run, by its name in :class:`RunFigures`."""
        return [getattr(run, figure) for run in self.runs]

    def known(self, figure: str) -> list[float]:
        """Returns one figure of the runs that have it."""
        return [value for value in self.column(figure) if value is not None]


def arm_figures(name: str, records: Sequence[RunRecord], unit: str) -> ArmFigures:
    """Returns the figures of one arm.

    Args:
        records: one a seed, finished.
        unit: of what is spent; see :meth:`RunRecord.spent`.
    """
    return ArmFigures(name, measured(records[0]), tuple(_run_figures(record, unit) for record in records))


def measured(record: RunRecord) -> str:
    """Returns the name of what a search measured, with its proxy setting where it has one."""
    name, proxy = record.searched.name, record.config["search"].get("proxy")
    return name if proxy is None else f"{name}[{proxy}]"


def _run_figures(record: RunRecord, unit: str) -> RunFigures:
    searched, metric, result = record.searched, record.metric.name, record.result
    assert result is not None
    values, spent = record.values(searched), record.spent(unit)
    curve = best_so_far(values, searched.sign)
    good = [value for value in values if value is not None]
    last = [value for value in values[-max(1, len(values) // 5) :] if value is not None]
    test = test_validation = None
    if metric in result.test:
        test = float(result.test[metric]["mean"])
        chosen = next(row for row in result.retrained if row.label == result.key)
        test_validation = float(chosen.validation[metric]["mean"])
    return RunFigures(
        best=float(curve[-1]),
        mean=float(np.mean(good)),
        last=float(np.mean(last)) if last else None,
        test=test,
        test_validation=test_validation,
        curve=AnyTimeCurve(np.asarray(spent, dtype=float), curve),
        failed=result.failed,
        seconds=result.seconds,
        simulated_seconds=result.simulated_seconds,
        spent=float(spent[-1]),
    )


def run_rows(figures: ArmFigures, first_seed: int) -> list[dict[str, Any]]:
    """Returns one row a run for a table: what its search and its final trainings gave."""
    rows = []
    for index, run in enumerate(figures.runs):
        row = {
            "seed": first_seed + index,
            "best_validation": run.best,
            "mean_validation": run.mean,
            "last_fifth_validation": run.last,
            "retrained_validation": run.test_validation,
            "test": run.test,
            "failed": run.failed,
            "spent": run.spent,
            "search_seconds": run.seconds,
        }
        simulated = {} if run.simulated_seconds is None else {"simulated_seconds": run.simulated_seconds}
        rows.append({**row, **simulated})
    return rows
