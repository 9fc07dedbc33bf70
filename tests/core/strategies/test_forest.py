"""Search with a random forest: what it learns from, and what it avoids."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies import ForestSearch
from nichenas.core.strategies.encoding import ChoiceEncoding
from nichenas.core.strategies.forest import ForestOptions
from nichenas.core.strategies.forest import normal_scores
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

QUALITY = (Objective("quality"),)
SPACE = SearchSpace([
    Choice("family", ("a", "b", "c")),
    Choice("width", (64, 8, 32, 16)),
    Choice("depth", (1, 2, 3, 4), {"family": ("a", "b")}),
    Choice("skip", (True, False)),
])  # fmt: skip


def tell(strategy: ForestSearch, number: int, proposal: Proposal, quality: float, stopped: bool = False) -> None:
    strategy.tell(Trial(number, proposal, Measurement({"quality": quality}, stopped=stopped)))


def test_numbers_are_ranked_and_names_are_not() -> None:
    encoding = ChoiceEncoding(SPACE)
    one = encoding.encode(SPACE.architecture({"family": "b", "width": 64, "depth": 3, "skip": False}))
    two = encoding.encode(SPACE.architecture({"family": "c", "width": 8, "skip": True}))
    assert one.tolist() == [0, 1, 0, 3, 2, 0, 1]
    assert two.tolist() == [0, 0, 1, 0, -1, 1, 0]
    assert encoding.width == 7


def test_different_architectures_have_different_rows() -> None:
    encoding = ChoiceEncoding(SPACE)
    rng = np.random.default_rng(0)
    architectures = {SPACE.sample(rng) for _ in range(500)}
    assert len(architectures) == SPACE.size
    assert len({encoding.encode(one).tobytes() for one in architectures}) == SPACE.size


def test_scores_become_normal_quantiles_of_their_ranks() -> None:
    found = normal_scores(np.array([5.0, -math.inf, 1e9, 5.0]))
    assert found[1] == pytest.approx(-1.1503494, abs=1e-6)  # of 1/8
    assert found[2] == pytest.approx(1.1503494, abs=1e-6)
    assert found[0] == found[3] == pytest.approx(0, abs=1e-12)  # ranks 2 and 3 share 2.5: half the trials
    assert normal_scores(np.array([])).shape == (0,)


def quality_of(proposal: Proposal) -> float:
    values = proposal.architecture
    return (values["family"] == "b") + (values.get("depth", 0) == 4) + 0.1 * (values["width"] == 16)


def test_finds_the_best_of_the_space_sooner_than_chance() -> None:
    """Two of 72 architectures are the best: 24 random draws have one of them with probability .56."""
    found = []
    for seed in range(10):
        strategy = ForestSearch(SPACE, QUALITY, seed, ForestOptions(random=0.0))
        qualities = []
        for number in range(24):
            (proposal,) = strategy.ask(1)
            qualities.append(quality_of(proposal))
            tell(strategy, number, proposal, qualities[-1])
        found.append(max(qualities) > 2.05)
    assert sum(found) >= 9


def test_avoids_what_fails() -> None:
    strategy = ForestSearch(SPACE, QUALITY, 1, ForestOptions(random=0.0, exploration=0.0))
    for number in range(30):
        (proposal,) = strategy.ask(1)
        works = proposal.architecture["family"] != "a"
        strategy.tell(Trial(number, proposal, Measurement({"quality": 0.5}) if works else None))
    assert [p.architecture["family"] for p in strategy.ask(8)].count("a") == 0


def test_proposals_are_random_until_enough_is_known() -> None:
    """What is told in the meantime changes nothing."""

    def first(quality: float) -> list[Proposal]:
        strategy = ForestSearch(SPACE, QUALITY, 2, ForestOptions(first=5))
        found = []
        for number in range(5):
            found += strategy.ask(1)
            tell(strategy, number, found[-1], quality * number)
        return found

    assert first(1.0) == first(-1.0)


def test_without_exploration_the_spread_does_not_count() -> None:
    def bounds(exploration: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        strategy = ForestSearch(SPACE, QUALITY, 5, ForestOptions(random=0.0, exploration=exploration))
        for number in range(14):
            (proposal,) = strategy.ask(1)
            tell(strategy, number, proposal, quality_of(proposal))
        strategy._grow()
        rows = np.stack([strategy.encoding.encode(SPACE.sample(strategy.rng)) for _ in range(40)])
        trees = np.stack([tree.predict(rows).reshape(-1) for tree in strategy._trees])
        return strategy._bounds(rows), trees.mean(0), trees.std(0)

    found, mean, spread = bounds(0.0)
    np.testing.assert_allclose(found, mean)
    assert spread.max() > 0
    found, mean, spread = bounds(3.0)
    weights = (found - mean)[spread > 0] / spread[spread > 0]
    np.testing.assert_allclose(weights, weights[0])
    assert weights[0] > 0


def test_what_stopped_early_is_no_parent() -> None:
    strategy = ForestSearch(SPACE, QUALITY, 3, ForestOptions(first=2, parents=1, random=0.0))
    good, stopped = strategy.ask(2)
    tell(strategy, 0, good, 0.1)
    tell(strategy, 1, stopped, 0.9, stopped=True)
    strategy.ask(1)
    assert strategy._best == [good.architecture]


def test_after_a_reset_only_the_order_of_old_scores_counts() -> None:
    """Shared weights got better: all old scores are lower than all new ones, which says nothing about them."""

    def best_after(offset: float) -> list[Proposal]:
        strategy = ForestSearch(SPACE, QUALITY, 4, ForestOptions(random=0.0))
        for number in range(12):
            (proposal,) = strategy.ask(1)
            tell(strategy, number, proposal, quality_of(proposal))
        strategy.reset_history()
        for number in range(12, 20):
            (proposal,) = strategy.ask(1)
            tell(strategy, number, proposal, offset + quality_of(proposal))
        return strategy.ask(3)

    assert best_after(0.0) == best_after(100.0)


def test_a_restricted_space_whose_canonical_forms_lie_outside() -> None:
    """All of one family are the network of its smallest width, which the restriction leaves out."""
    space = SearchSpace(
        [Choice("family", ("a", "b")), Choice("width", (8, 16, 32)), Choice("skip", (True, False))],
        lambda one: Architecture({**one, "width": 8}) if one["family"] == "a" else one,
    ).restricted({"width": [16, 32]})
    strategy = ForestSearch(space, QUALITY, 0, ForestOptions(first=2))
    for number in range(8):
        (proposal,) = strategy.ask(1)
        assert space.holds(proposal.architecture)
        tell(strategy, number, proposal, float(number))


def test_a_space_that_is_used_up_repeats_itself() -> None:
    space = SearchSpace([Choice("a", (0, 1)), Choice("b", (0, 1))])
    strategy = ForestSearch(space, QUALITY, 0, ForestOptions(first=2))
    seen = []
    for number in range(8):
        (proposal,) = strategy.ask(1)
        seen.append(proposal.architecture)
        tell(strategy, number, proposal, float(str(proposal.architecture["a"])))
    assert len(set(seen[:4])) == 4
