from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nichenas.core.proxies.consistency import cheapest
from nichenas.core.proxies.consistency import consistency
from nichenas.core.proxies.consistency import difference
from nichenas.core.proxies.consistency import kendall
from nichenas.core.proxies.consistency import score_entropy
from nichenas.core.proxies.consistency import spearman


def test_spearman_on_known_permutations() -> None:
    ranks = np.arange(50.0)
    swapped = ranks.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    assert spearman(ranks, ranks) == pytest.approx(1)
    assert spearman(ranks, -ranks) == pytest.approx(-1)
    assert spearman(ranks, swapped) == pytest.approx(1 - 12 / 124950)


def test_correlations_equal_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    for count in [30] * 20 + [400]:
        one, other = rng.integers(0, 6, count).astype(float), rng.integers(0, 6, count).astype(float)
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
        assert kendall(one, other) == pytest.approx(stats.kendalltau(one, other).statistic)


def test_constant_scores_rank_nothing() -> None:
    one = np.arange(10.0)
    assert math.isnan(spearman(one, np.ones(10)))
    assert math.isnan(kendall(one, np.ones(10)))
    found = consistency(list(one), [1.0] * 10, np.random.default_rng(0), (0.0, 1.0))
    assert found is not None
    assert found.entropy == 0
    assert math.isnan(found.spearman.low)


def test_a_difference_cancels_what_two_columns_have_in_common() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=200)
    shared = reference + rng.normal(size=200)  # noise of both columns
    better, worse = shared, shared + 0.6 * rng.normal(size=200)
    columns = [list(reference), list(better), list(worse)]
    gap = difference(*columns, np.random.default_rng(0))
    assert gap is not None
    alone = [consistency(columns[0], column, np.random.default_rng(0)) for column in columns[1:]]
    assert alone[0] is not None
    assert alone[1] is not None
    assert gap.value == pytest.approx(alone[0].spearman.value - alone[1].spearman.value)
    assert gap.low > 0  # told apart,
    assert alone[1].spearman.high > alone[0].spearman.low  # though their own intervals overlap
    same = difference(columns[0], columns[1], columns[1], np.random.default_rng(0))
    assert same is not None
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert difference([1.0, 2.0, 3.0, None], [1.0] * 4, [2.0] * 4, np.random.default_rng(0)) is None


def test_entropy_says_how_spread_out_scores_are() -> None:
    assert score_entropy(np.array([0.0, 1.0, 0.01, 0.99]), 0.0, 1.0) == pytest.approx(math.log(2))
    assert score_entropy(np.linspace(0.001, 0.999, 2000), 0.0, 1.0) == pytest.approx(math.log(20), abs=1e-3)


def test_intervals_cover_the_value_and_shrink() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(size=400)
    scores = reference + rng.normal(size=400)
    wide = consistency(list(reference[:30]), list(scores[:30]), np.random.default_rng(0))
    narrow = consistency(list(reference), list(scores), np.random.default_rng(0))
    assert wide is not None
    assert narrow is not None
    for one in (wide.spearman, wide.kendall, narrow.spearman):
        assert one.low < one.value < one.high
    assert narrow.spearman.high - narrow.spearman.low < 0.5 * (wide.spearman.high - wide.spearman.low)
    assert narrow.spearman.low < 0.69 < narrow.spearman.high  # of this noise, 6 / pi * asin(sqrt(0.5) / 2) = 0.69


def test_only_architectures_with_both_figures_count() -> None:
    reference = [1.0, 2.0, 3.0, 4.0, 5.0, None, 7.0]
    scores = [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0]
    found = consistency(reference, scores, np.random.default_rng(0))
    assert found is not None
    assert (found.count, found.spearman.value, found.top) == (5, pytest.approx(1), 1.0)
    assert consistency(reference[:4], scores[:4], np.random.default_rng(0)) is None


def test_cheapest_is_the_least_cost_that_is_good_enough() -> None:
    rng = np.random.default_rng(0)
    truth = list(np.arange(30.0))
    noisy = [value + 3 * float(rng.normal()) for value in truth]
    made = {"good": noisy, "best": truth, "bad": truth[::-1]}
    found = {name: one for name, s in made.items() if (one := consistency(truth, s, np.random.default_rng(0)))}
    costs = {"good": 0.1, "best": 0.5, "bad": 0.01}
    assert cheapest(found, costs, 0.8, 30) == "good"
    assert cheapest(found, costs, 0.999, 30) == "best"
    assert cheapest({"bad": found["bad"]}, costs, 0.5, 30) is None
    few = consistency(truth, [*truth[:5], *[None] * 25], np.random.default_rng(0))
    assert few is not None
    assert cheapest({**found, "few": few}, {**costs, "few": 0.001}, 0.8, 30) == "good"
