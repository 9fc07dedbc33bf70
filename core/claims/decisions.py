"""What becomes of claims: paired differences, their test, and the words for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nichenas.core.claims.settings import ClaimSettings
from nichenas.core.objectives import Objective
from nichenas.core.report.comparison import ROUNDING
from nichenas.core.report.comparison import Interval
from nichenas.core.report.comparison import holm
from nichenas.core.report.comparison import interval
from nichenas.core.report.comparison import sign_flip_p

LEVEL = 0.05


class Row(Protocol):
    """What is read of a run."""

    @property
    def test(self) -> float | None:
        """The test figure; none where the run has none."""

    @property
    def costs(self) -> Mapping[str, float]:
        """Costs of its architecture, by name."""


@dataclass(frozen=True)
class ClaimResult:
    """One claim as it came out.

    Attributes:
        says: the claim in words.
        difference: of the test figures of runs with the same seed, so that more is better for the claim; none without
            any pair.
        lost: pairs of which a run has no figure.
        p: of the two-sided paired sign-flip test.
        holm: corrected for the number of secondary claims; none for the primary one.
        least: below which the decisive one of these cannot be, by the number of pairs that differ and of claims.
        costs: of the arm as a share of the other's, by name, over the same pairs.
    """

    arm: str
    against: str
    says: str
    difference: Interval | None
    lost: int
    p: float | None
    holm: float | None
    least: float
    costs: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """In words: whether the claim held.

        A claim with a lost pair is not decided: which runs fail is no matter of chance.
        """
        if self.difference is None or self.p is None:
            return "nothing to compare"
        if self.lost:
            return f"not decided, {self.lost} of {self.difference.n + self.lost} pairs failed"
        if (self.p if self.holm is None else self.holm) <= LEVEL:
            return "held" if self.difference.mean > 0 else "the opposite held"
        if self.least > LEVEL:
            return f"cannot be decided with {self.difference.n} pair{'s' if self.difference.n > 1 else ''}"
        return "not distinguished from chance"


@dataclass(frozen=True)
class _Tested:
    difference: Interval | None
    lost: int
    p: float | None
    least: float
    costs: Mapping[str, float]


def decide_claims(
    claims: Sequence[ClaimSettings], rows: Mapping[str, Sequence[Row]], metric: Objective
) -> tuple[ClaimResult, ...]:
    """Returns the claims as they came out: the first alone, the others corrected for their number by Holm's rule.

    A claim without a pair counts in that number as one with p = 1.

    Args:
        rows: of every arm and control, in the order of seeds.
    """
    tested = [_tested(rows[claim.arm], rows[claim.against], metric) for claim in claims]
    others = tested[1:]
    corrected = holm([1.0 if one.p is None else one.p for one in others])
    least = [tested[0].least, *holm([one.least for one in others])]
    return tuple(
        ClaimResult(
            claim.arm,
            claim.against,
            claim.says,
            difference=one.difference,
            lost=one.lost,
            p=one.p,
            holm=corrected[place - 1] if place and one.p is not None else None,
            least=least[place],
            costs=one.costs,
        )
        for place, (claim, one) in enumerate(zip(claims, tested, strict=True))
    )


def undecidable(claims: int, seeds: int) -> bool:
    """Whether some of so many claims cannot be decided by so many pairs, whatever comes out."""
    return least_p(seeds) > LEVEL or (claims - 1) * least_p(seeds) > LEVEL


def least_p(pairs: int) -> float:
    """Returns the smallest p-value that the sign-flip test can give with so many pairs that differ."""
    return min(1.0, 2 / 2**pairs)


def _tested(own: Sequence[Row], other: Sequence[Row], metric: Objective) -> _Tested:
    pairs = [(a, b) for a, b in zip(own, other, strict=True) if a.test is not None and b.test is not None]
    one = [metric.sign * float(a.test or 0.0) for a, _ in pairs]
    two = [metric.sign * float(b.test or 0.0) for _, b in pairs]
    differ = sum(abs(a - b) > ROUNDING * max(abs(a), abs(b)) for a, b in zip(one, two, strict=True))
    costs = {}
    for name in dict.fromkeys(cost for a, _ in pairs for cost in a.costs):
        first = sum(a.costs.get(name, math.nan) for a, _ in pairs)
        second = sum(b.costs.get(name, math.nan) for _, b in pairs)
        if math.isfinite(first) and math.isfinite(second) and second > 0:
            costs[name] = first / second
    return _Tested(
        difference=interval([a - b for a, b in zip(one, two, strict=True)]) if pairs else None,
        lost=len(own) - len(pairs),
        p=sign_flip_p(one, two) if pairs else None,
        least=least_p(differ),
        costs=costs,
    )
