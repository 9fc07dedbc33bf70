"""What a strategy that varies given parents must do besides what every strategy must."""

from __future__ import annotations

import numpy as np

from nichenas.core.space import Architecture
from nichenas.core.testing.strategy_fixtures import StrategyFixtures


class OffspringContract(StrategyFixtures):
    """The contract."""

    def test_a_child_for_every_parent(self) -> None:
        """Children are in the space, in the order of their parents, and none is its parent."""
        strategy = self.make()
        parents = [proposal.architecture for proposal in self.play(self.make(), 10)]
        before = [dict(parent) for parent in parents]
        children = strategy.offspring(parents)
        assert len(children) == len(parents)
        assert [dict(parent) for parent in parents] == before
        for parent, child in zip(parents, children, strict=True):
            assert strategy.space.architecture(dict(child.architecture)) == child.architecture
            assert child.architecture != parent
        assert strategy.offspring([]) == []

    def test_children_are_nearer_than_strangers(self) -> None:
        """A child differs from its parent in fewer choices than random architectures differ from each other."""
        strategy, rng = self.make(), np.random.default_rng(0)
        parents = [strategy.space.sample(rng) for _ in range(40)]
        strangers = [strategy.space.sample(rng) for _ in range(40)]
        children = [child.architecture for child in strategy.offspring(parents)]
        assert np.mean([_distance(*pair) for pair in zip(parents, children, strict=True)]) < np.mean(
            [_distance(*pair) for pair in zip(parents, strangers, strict=True)]
        )

    def test_the_seed_decides_the_children(self) -> None:
        """Children come from the strategy's own generator."""
        parents = [proposal.architecture for proposal in self.play(self.make(), 10)]
        assert self.make(3).offspring(parents) == self.make(3).offspring(parents)
        assert self.make(3).offspring(parents) != self.make(4).offspring(parents)


def _distance(one: Architecture, other: Architecture) -> int:
    """Returns in how many choices two architectures differ."""
    return sum(one.get(name) != other.get(name) for name in {*one, *other})
