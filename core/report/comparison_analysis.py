"""From the runs of a comparison to its summary."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from nichenas.core.report.comparison import ArmFigures
from nichenas.core.report.comparison import ArmRuns
from nichenas.core.report.comparison import Interval
from nichenas.core.report.comparison import budget_marks
from nichenas.core.report.comparison import holm
from nichenas.core.report.comparison import interval
from nichenas.core.report.comparison import mean_ranks
from nichenas.core.report.comparison import regrets
from nichenas.core.report.comparison import sign_flip_p
from nichenas.core.report.comparison_summary import TESTED
from nichenas.core.report.comparison_summary import ArmSummary
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.report.comparison_summary import PairSummary
from nichenas.core.report.comparison_summary import PValue
from nichenas.core.session.record import RunRecord
from nichenas.core.strategies.starts import RANDOM


def spent_unit(arms: Sequence[ArmRuns]) -> str:
    """Returns what the budget is counted in: ``trials``, ``epochs`` or ``seconds``.

    Seconds where the arms' budgets are not of one kind: nothing else is the same for all of them.
    """
    first = arms[0]
    if budgets_differ(arms):
        return "seconds"
    if first.budget.epochs is not None:
        return "epochs"
    result = first.records[0].result
    simulated = result is not None and result.simulated_seconds is not None
    return "seconds" if simulated and first.budget.seconds is not None else "trials"


def budgets_differ(arms: Sequence[ArmRuns]) -> bool:
    """Returns whether the arms' budgets cannot be compared, such as epochs of a supernet and trials."""
    return len({(arm.unit, arm.budget) for arm in arms}) > 1


def budget_text(arm: ArmRuns) -> str:
    """Returns the budget of a run as it reads in a sentence."""
    budget = arm.budget
    parts = [] if budget.units is None else [f"{budget.units:,} {arm.unit}{'s' if budget.units != 1 else ''}"]
    parts += [] if budget.epochs is None else [f"{budget.epochs:,} epochs"]
    parts += [] if budget.seconds is None else [f"{budget.seconds:g} s"]
    return ", ".join(parts)


def summarise(arms: Sequence[ArmRuns], figures: Sequence[ArmFigures]) -> ComparisonSummary:
    """Returns the summary of a comparison.

    Args:
        arms: in the order of the command.
        figures: of the same arms.
    """
    first, budgets = arms[0].records[0], [arm.budget for arm in arms]
    unit, alike = spent_unit(arms), len({own.measures for own in figures}) == 1
    best_known = first.result.best_known if alike and first.result is not None else None
    # What the searches measured is ranked where it is the same figure for all, else what their choices gave.
    ranked, objective = ("best", first.searched) if alike else ("test", first.metric)
    values = [own.known(ranked) for own in figures]
    complete = all(len(own) == len(arms[0].records) for own in values)
    ranks = mean_ranks(values, objective.sign) if complete else [None] * len(arms)
    limit = {"trials": budgets[0].units, "epochs": budgets[0].epochs, "seconds": budgets[0].seconds}[unit]
    marks = budget_marks(limit or max(run.spent for own in figures for run in own.runs))
    texts = [budget_text(arm) for arm in arms]
    regret = [
        {} if best_known is None else regrets(own.curves, best_known, first.searched.sign, marks) for own in figures
    ]
    unequal = budgets_differ(arms)
    return ComparisonSummary(
        name=str(first.config["name"]),
        metric=first.metric.name,
        searched=figures[0].measures if alike else first.metric.name,
        budget="; ".join(f"{arm.name}: {text}" for arm, text in zip(arms, texts, strict=True)) if unequal else texts[0],
        unequal=unequal,
        unit=unit,
        ranked_by="best validation" if alike else "test",
        trials=next((arm.budget.units for arm in arms if arm.unit == "trial"), None),
        epochs=next((arm.budget.units for arm in arms if arm.unit == "epoch"), None),
        total_epochs=next((one.epochs for one in budgets if one.epochs is not None), None),
        seconds=next((one.seconds for one in budgets if one.seconds is not None), None),
        arms=tuple(map(_arm_summary, figures, texts, ranks, regret)),
        pairs=pair_tests(figures),
        best_known=best_known,
        known_starts=min(_known_starts(record) for arm in arms for record in arm.records),
    )


def _known_starts(record: RunRecord) -> int:
    starts = (trial.proposal.tag.get("start") for trial in record.trials if trial.proposal.repeat_of is None)
    return sum(start not in (None, RANDOM) for start in starts)


def _arm_summary(own: ArmFigures, budget: str, rank: float | None, regret: dict[int, Interval]) -> ArmSummary:
    return ArmSummary(
        name=own.name,
        measures=own.measures,
        budget=budget,
        best_validation=interval(own.known("best")),
        mean_validation=interval(own.known("mean")),
        last_fifth_validation=_interval_of(own.known("last")),
        retrained_validation=_interval_of(own.known("test_validation")),
        test=_interval_of(own.known("test")),
        mean_rank=rank,
        regret=regret,
        failed=tuple(run.failed for run in own.runs),
        spent=tuple(run.spent for run in own.runs),
        search_seconds=tuple(run.seconds for run in own.runs),
        simulated_seconds=tuple(own.known("simulated_seconds")),
    )


def _interval_of(values: Sequence[float]) -> Interval | None:
    return interval(values) if values else None


def pair_tests(figures: Sequence[ArmFigures]) -> tuple[PairSummary, ...]:
    """Returns p-values of every two arms, plain and corrected for the number of pairs."""
    pairs = list(itertools.combinations(figures, 2))
    plain = [{part: p for part in TESTED if (p := _p_value(*pair, part)) is not None} for pair in pairs]
    corrected: list[dict[str, PValue]] = [{} for _ in pairs]
    for part in TESTED:
        tested = [index for index, own in enumerate(plain) if part in own]
        for index, p in zip(tested, holm([plain[index][part] for index in tested]), strict=True):
            corrected[index][part] = PValue(plain[index][part], p)
    return tuple(PairSummary(one.name, other.name, own) for (one, other), own in zip(pairs, corrected, strict=True))


def _p_value(one: ArmFigures, other: ArmFigures, part: str) -> float | None:
    """Returns the p-value of a pair; none where what was measured is not the same figure.

    A supernet's score and that of networks trained alone are different figures, and so are those of different settings.
    """
    if part != "test" and one.measures != other.measures:
        return None
    paired = [
        (a, b) for a, b in zip(one.column(part), other.column(part), strict=True) if a is not None and b is not None
    ]
    return sign_flip_p([a for a, _ in paired], [b for _, b in paired]) if paired else None
