"""Claims: pairs, Holm's correction over all of them, what can be decided at all, and the words."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

import pytest

from nichenas.core.claims.decisions import decide_claims
from nichenas.core.claims.decisions import least_p
from nichenas.core.claims.decisions import undecidable
from nichenas.core.claims.settings import ClaimSettings
from nichenas.core.objectives import Objective

ACCURACY = Objective("accuracy")


@dataclass
class Row:
    test: float | None
    costs: dict[str, float] = field(default_factory=lambda: {"size": 1.0})


def claims(*pairs: str) -> list[ClaimSettings]:
    return [ClaimSettings(arm=one, against=two) for one, two in pairs]


ROWS = {
    "a": [Row(0.9 + 0.001 * i, {"size": 2.0}) for i in range(6)],
    "b": [Row(0.8 + 0.002 * i) for i in range(6)],
    "c": [Row(0.9 + 0.001 * i + (0.01 if i % 2 else -0.01)) for i in range(6)],
    "d": [Row(None) for i in range(6)],
    "e": [Row(None if i == 5 else 0.7, {"size": 100.0 if i == 5 else 4.0}) for i in range(6)],
    "f": [Row(0.9 + 0.001 * i + (0.1 if i < 2 else 0)) for i in range(6)],
}


def test_claims_are_decided_by_pairs() -> None:
    ab, ba, ad = decide_claims(claims("ab", "ba", "ad"), ROWS, ACCURACY)
    # .03125 twice by Holm's rule: six pairs are enough for one claim, not for two.
    assert (ab.verdict, ba.verdict) == ("held", "cannot be decided with 6 pairs")
    assert (ab.p, ab.holm, ba.p, ba.holm) == (0.03125, None, 0.03125, 0.0625)
    assert (ad.verdict, ad.p, ad.holm, ad.difference, ad.lost) == ("nothing to compare", None, None, None, 6)
    assert ab.costs == {"size": 2.0}
    assert ab.difference is not None
    assert ab.difference.mean == pytest.approx(0.0975)
    (less,) = decide_claims(claims("ab"), ROWS, Objective("loss", "minimize"))
    assert less.verdict == "the opposite held"
    (even,) = decide_claims(claims("ac"), ROWS, ACCURACY)
    assert (even.p, even.verdict) == (1, "not distinguished from chance")


def test_a_lost_pair_decides_nothing() -> None:
    (ae,) = decide_claims(claims("ae"), ROWS, ACCURACY)
    assert ae.verdict == "not decided, 1 of 6 pairs failed"
    assert ae.costs == {"size": 0.5}  # of the pairs that are there


def test_pairs_that_do_not_differ_do_not_count_for_what_can_be_decided() -> None:
    (fa,) = decide_claims(claims("fa"), ROWS, ACCURACY)
    assert fa.p == fa.least == least_p(2) == 0.5
    assert fa.verdict == "cannot be decided with 6 pairs"


def test_the_least_of_corrected_values_is_that_of_all_claims_together() -> None:
    rows = {
        **ROWS,
        "g": [Row(0.1 * i) for i in range(6)],
        "h": [Row(0.1 * i + (0.01 if i < 3 else 0)) for i in range(6)],
    }
    first, one, other = decide_claims(claims("ab", "ag", "gh"), rows, ACCURACY)
    assert first.least == least_p(6)
    assert one.least == 2 * least_p(6)
    assert other.least == least_p(3)  # the second of two, corrected by one


def test_which_numbers_of_seeds_can_decide() -> None:
    assert [undecidable(1, seeds) for seeds in (5, 6)] == [True, False]
    assert [undecidable(3, seeds) for seeds in (6, 7)] == [True, False]
    assert [undecidable(8, seeds) for seeds in (8, 9)] == [True, False]
