"""What a study of claims found: ``claims.json`` and ``claims.csv``, written and read here alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from nichenas.core.claims.settings import ClaimSettings
from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.files import write_csv
from nichenas.core.files import write_json
from nichenas.core.objectives import Objective
from nichenas.core.proxies.study_summary import StudySummary
from nichenas.core.report.comparison import Interval
from nichenas.core.report.comparison import holm
from nichenas.core.report.comparison import interval
from nichenas.core.report.comparison import sign_flip_p
from nichenas.core.session.results import RunResult

SUMMARY = "claims.json"
ROWS = "claims.csv"
LEVEL = 0.05


@dataclass(frozen=True)
class GateResult:
    """Whether two trainings of the same architectures rank them alike.

    Attributes:
        architectures: that both trainings succeeded of.
        correlation: Spearman's; none where it is not defined, as for equal values.
        low: of its 95% bootstrap interval.
        high: likewise.
        needed: from which on the gate is passed.
    """

    architectures: int
    correlation: float | None
    low: float | None
    high: float | None
    needed: float

    @property
    def passed(self) -> bool:
        """Whether anything may be compared."""
        return self.correlation is not None and self.correlation >= self.needed

    @classmethod
    def of(cls, study: StudySummary, needed: float) -> GateResult:
        """Returns the gate of a study in which full trainings were repeated."""
        found = study.repeated
        if found is None:
            return cls(0, None, None, None, needed)
        rho = found.spearman
        return cls(found.count, _finite(rho.value), low=_finite(rho.low), high=_finite(rho.high), needed=needed)

    def sentence(self) -> str:
        """Returns the gate in words."""
        what = f"{self.architectures} random architectures trained twice"
        if self.correlation is None:
            return f"Gate: {what} have no rank correlation; {self.needed:g} is needed."
        inside = "" if self.low is None else f" (95% interval {self.low:.2f} to {self.high:.2f})"
        verdict = "passed" if self.passed else f"not passed, {self.needed:g} is needed"
        return f"Gate: {what} rank alike with Spearman {self.correlation:.2f}{inside}: {verdict}."


@dataclass(frozen=True)
class RunRow:
    """One run of an arm, or one control.

    Attributes:
        seed: of the run.
        key: of the architecture that was trained in full.
        validation: mean of its full trainings; none where all failed.
        test: likewise.
        trainings: that succeeded.
        seconds: of the search; 0 for a control.
        costs: of the architecture, by name; what was measured too.
        beaten: share of random architectures that a gradient search's outcome is better than in the supernet.
    """

    arm: str
    seed: int
    key: str
    validation: float | None
    test: float | None
    trainings: int
    seconds: float
    costs: Mapping[str, float] = field(default_factory=dict)
    beaten: float | None = None

    @classmethod
    def of(cls, arm: str, seed: int, result: RunResult, costs: Mapping[str, float]) -> RunRow:
        """Returns the row of a finished run."""

        def mean(part: Mapping[str, Mapping[str, float]]) -> float | None:
            return part[result.metric]["mean"] if result.metric in part else None

        chosen = next((row for row in result.retrained if row.label == result.key), None)
        effect = result.further.get("effect")
        return cls(
            arm,
            seed,
            result.key,
            validation=None if chosen is None else mean(chosen.validation),
            test=mean(result.test),
            trainings=int(result.test[result.metric]["n"]) if result.metric in result.test else 0,
            seconds=result.seconds,
            costs=dict(costs),
            beaten=effect.get("beaten") if isinstance(effect, Mapping) else None,
        )


@dataclass(frozen=True)
class ArmRow:
    """Mean figures of an arm or a control over its runs.

    Attributes:
        control: what it is a control of; empty for an arm.
        seconds: mean of a search.
        costs: means, by name.
        beaten: mean.
    """

    name: str
    control: str
    validation: Interval | None
    test: Interval | None
    seconds: float
    costs: Mapping[str, float]
    beaten: float | None


@dataclass(frozen=True)
class ClaimResult:
    """One claim as it came out.

    Attributes:
        says: the claim in words.
        difference: of the test figures of runs with the same seed, so that more is better for the claim; none without
            any pair.
        p: of the two-sided paired sign-flip test.
        holm: corrected for the number of secondary claims; none for the primary one.
        least: below which the decisive p-value cannot be, with so many pairs and other claims.
        costs: of the arm as a share of the other's, by name.
    """

    arm: str
    against: str
    says: str
    difference: Interval | None
    p: float | None
    holm: float | None
    least: float | None
    costs: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """In words: whether the claim held."""
        if self.difference is None or self.p is None or self.least is None:
            return "nothing to compare"
        decisive = self.p if self.holm is None else self.holm
        if decisive <= LEVEL:
            return "held" if self.difference.mean > 0 else "the opposite held"
        if self.least > LEVEL:
            return f"cannot be decided with {self.difference.n} pairs"
        return "not distinguished from chance"


@dataclass(frozen=True, kw_only=True)
class ClaimsSummary:
    """A study.

    Attributes:
        metric: of full trainings, on test data.
        base: the configuration that arms are changes of.
        trainings: of every found architecture.
        arms: arms, then controls; empty where the gate was not passed.
        claims: the first is the primary one.
    """

    name: str
    metric: str
    base: str
    device: str
    trainings: int
    gate: GateResult | None
    arms: tuple[ArmRow, ...]
    claims: tuple[ClaimResult, ...]

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of all costs that an arm has."""
        return tuple(dict.fromkeys(name for arm in self.arms for name in arm.costs))

    def write(self, folder: Path, rows: Sequence[RunRow]) -> None:
        """Writes both files."""
        write_json(folder / SUMMARY, dataclasses.asdict(self))
        if rows:
            flat = [dataclasses.asdict(row) for row in rows]
            write_csv(
                folder / ROWS, [{**{k: v for k, v in row.items() if k != "costs"}, **row["costs"]} for row in flat]
            )

    @classmethod
    def read(cls, folder: Path) -> ClaimsSummary:
        """Reads the summary of a study's folder.

        Raises:
            RunFolderError: when it is missing, damaged, or no such summary.
        """
        found = read_json(folder / SUMMARY)
        try:
            return cls(
                **{
                    **found,
                    "gate": None if found["gate"] is None else GateResult(**found["gate"]),
                    "arms": tuple(
                        ArmRow(**{**arm, **{part: _interval(arm[part]) for part in ("validation", "test")}})
                        for arm in found["arms"]
                    ),
                    "claims": tuple(
                        ClaimResult(**{**claim, "difference": _interval(claim["difference"])})
                        for claim in found["claims"]
                    ),
                }
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunFolderError(f"{folder / SUMMARY}: not the summary of a study") from None


def arm_row(name: str, control: str, rows: Sequence[RunRow]) -> ArmRow:
    """Returns the means over an arm's runs."""

    def spread(part: str) -> Interval | None:
        values = [value for row in rows if (value := getattr(row, part)) is not None]
        return interval(values) if values else None

    names = dict.fromkeys(cost for row in rows for cost in row.costs)
    beaten = [row.beaten for row in rows if row.beaten is not None]
    return ArmRow(
        name,
        control,
        validation=spread("validation"),
        test=spread("test"),
        seconds=float(np.mean([row.seconds for row in rows])),
        costs={cost: float(np.mean([row.costs[cost] for row in rows if cost in row.costs])) for cost in names},
        beaten=float(np.mean(beaten)) if beaten else None,
    )


def decide_claims(
    claims: Sequence[ClaimSettings], rows: Mapping[str, Sequence[RunRow]], metric: Objective
) -> tuple[ClaimResult, ...]:
    """Returns the claims as they came out: the first alone, the others corrected for their number by Holm's rule.

    Args:
        rows: of every arm and control, in the order of seeds.
    """
    found = [_claim(claim, rows[claim.arm], rows[claim.against], metric) for claim in claims]
    tested = [index for index, one in enumerate(found) if index > 0 and one.p is not None]
    corrected = holm([float(found[index].p or 0.0) for index in tested])
    for index, p in zip(tested, corrected, strict=True):
        least = min(1.0, len(tested) * float(found[index].least or 1.0))
        found[index] = dataclasses.replace(found[index], holm=p, least=least)
    return tuple(found)


def _claim(claim: ClaimSettings, own: Sequence[RunRow], other: Sequence[RunRow], metric: Objective) -> ClaimResult:
    pairs = [(a.test, b.test) for a, b in zip(own, other, strict=True) if a.test is not None and b.test is not None]
    one, two = ([metric.sign * pair[side] for pair in pairs] for side in (0, 1))
    costs = {}
    for name in dict.fromkeys(cost for row in own for cost in row.costs):
        sums = [sum(row.costs.get(name, math.nan) for row in side) for side in (own, other)]
        if all(math.isfinite(part) and part > 0 for part in sums):
            costs[name] = sums[0] / sums[1]
    return ClaimResult(
        claim.arm,
        claim.against,
        claim.says,
        difference=interval([a - b for a, b in zip(one, two, strict=True)]) if pairs else None,
        p=sign_flip_p(one, two) if pairs else None,
        holm=None,
        least=min(1.0, 2 / 2 ** len(pairs)) if pairs else None,
        costs=costs,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(found: Mapping[str, Any] | None) -> Interval | None:
    return None if found is None else Interval(**{**found, "values": tuple(found["values"])})
