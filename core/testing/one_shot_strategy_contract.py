"""What a strategy that can be used with shared weights must do besides what every strategy must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.testing.strategy_fixtures import StrategyFixtures
from nichenas.core.testing.strategy_fixtures import answer
from nichenas.core.testing.strategy_fixtures import contract_space
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class OneShotStrategyContract(StrategyFixtures):
    """The contract."""

    def extending(self, count: int = 3) -> tuple[OneShotStrategy, list[Architecture]]:
        """Returns a strategy on a space that extends prefixes of two choices, and the prefixes."""
        rng = np.random.default_rng(0)
        prefixes = [contract_space().first(2).sample(rng) for _ in range(count)]
        strategy: OneShotStrategy = self.make(space=contract_space().extending(prefixes))
        strategy.import_state([{} for _ in prefixes])
        return strategy, prefixes

    def play_stage(self, strategy: OneShotStrategy, trials: int = 24) -> list[Proposal]:
        """Returns the proposals of a stage in which shared weights change after every sixth."""
        asked: list[Proposal] = []
        for number in range(trials):
            if number % 6 == 0:
                strategy.reset_history()
            for proposal in strategy.ask(1):
                strategy.tell(answer(len(asked), proposal))
                asked.append(proposal)
        return asked

    def test_extends_prefixes(self) -> None:
        """Where the leading choices are made, proposals, samples and candidates begin as one of the prefixes."""
        strategy, prefixes = self.extending()
        whole = contract_space()
        made = {choice.name for choice in whole.choices[:2]}
        asked = self.play_stage(strategy)
        assert len(asked) >= 12
        found = [proposal.architecture for proposal in (*asked, *strategy.candidates(5, asked[:2]))]
        for architecture in [*found, *strategy.sample(20, seed=3)]:
            assert whole.architecture(dict(architecture)) == architecture
            assert Architecture({n: v for n, v in architecture.items() if n in made}) in prefixes

    def test_a_stage_is_rebuilt_by_replay(self) -> None:
        """The same stage comes out the same, whatever is sampled meanwhile to train shared weights."""
        (one, _), (other, _) = self.extending(), self.extending()
        sample, ask = other.sample, other.ask

        def sampling(n: int = 1) -> list[Proposal]:
            sample(7, seed=5)
            return ask(n)

        other.ask = sampling  # type: ignore[method-assign]
        assert self.play_stage(one) == self.play_stage(other)

    def test_samples_are_decided_by_their_seed(self) -> None:
        """As many architectures as are asked for, the same for the same seed, others for another."""
        strategy = self.make()
        self.play(strategy, 10)
        found = strategy.sample(20, seed=3)
        assert len(found) == 20
        assert found == strategy.sample(20, seed=3)
        assert found != strategy.sample(20, seed=4)
        for architecture in found:
            assert strategy.space.architecture(dict(architecture)) == architecture

    def test_as_many_candidates_as_are_wanted(self) -> None:
        """A stage ends with candidates, enough of them even where few were measured."""
        strategy = self.make()
        best = self.play(strategy, 10)[:2]
        assert len(strategy.candidates(5, best)) == 5

    def test_proposes_again_what_is_out_of_date(self) -> None:
        """Once shared weights have changed, there is something to measure even in a small space."""
        strategy = self.make(space=SearchSpace([Choice("a", (0, 1)), Choice("b", (0, 1))]))
        number = 0
        for _ in range(3):
            strategy.reset_history()
            for _ in range(3):
                for proposal in strategy.ask(1):
                    strategy.tell(Trial(number, proposal, Measurement({"quality": 0.25 * (number % 3)})))
                    number += 1
        assert number == 9

    def test_what_it_hands_on_can_be_kept(self, tmp_path: Path) -> None:
        """What the next stage is told of an architecture is tensors without a graph, and taken by a strategy there."""
        first = self.make(space=contract_space().first(2))
        proposals = first.ask(3)
        memories = [dict(first.export_state(proposal)) for proposal in proposals]
        assert not any(tensor.requires_grad for memory in memories for tensor in memory.values())
        for memory, proposal in zip(memories, proposals, strict=True):
            again = first.export_state(proposal)
            assert all(torch.equal(tensor, again[name]) for name, tensor in memory.items())
        write_checkpoint(tmp_path / "memories.pt", {"memories": memories})
        held = read_checkpoint(tmp_path / "memories.pt")["memories"]
        second = self.make(1, contract_space().extending([proposal.architecture for proposal in proposals]))
        second.import_state(held)
        assert len(self.play_stage(second, 6)) == 6
