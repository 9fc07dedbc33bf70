"""What every search strategy must do; subclass :class:`StrategyContract` in a pytest module.

A strategy for one-shot searches, or one that has offspring, mixes in the contract of that too.

Example:
    class TestMyStrategy(StrategyContract, OneShotStrategyContract):
        strategy = MyStrategy
        options = {"population": 10}
"""

from __future__ import annotations

import json
import math
import random
from typing import ClassVar

import numpy as np
import pytest
import torch

from nichenas.core.errors import ConfigError
from nichenas.core.objectives import Objective
from nichenas.core.session.records import trial_from_json
from nichenas.core.session.records import trial_to_json
from nichenas.core.strategies.base import ProducesOffspring
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.testing.offspring_contract import OffspringContract
from nichenas.core.testing.one_shot_strategy_contract import OneShotStrategyContract
from nichenas.core.testing.strategy_fixtures import StrategyFixtures
from nichenas.core.testing.strategy_fixtures import answer
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.core.validation import validated


class StrategyContract(StrategyFixtures):
    """The contract.

    Attributes:
        repeats: whether it may propose an architecture twice.
    """

    repeats: ClassVar[bool] = False

    def test_every_part_has_its_contract(self) -> None:
        """A strategy for one-shot searches, or one with offspring, is checked as such."""
        for base, contract in ((OneShotStrategy, OneShotStrategyContract), (ProducesOffspring, OffspringContract)):
            if issubclass(self.strategy, base) and not isinstance(self, contract):
                where = f"{contract.__module__}.{contract.__name__}"
                message = f"{type(self).__name__} does not check that {self.strategy.__name__} is a {base.__name__}"
                pytest.fail(f"{message}: mix in {where}", pytrace=False)

    def test_options_are_checked(self) -> None:
        """An option that there is not is one line, and all have defaults."""
        self.strategy.Options()
        with pytest.raises(ConfigError, match="no_such_option: unknown key") as caught:
            validated(self.strategy.Options, {**self.options, "no_such_option": 1})
        assert "\n" not in str(caught.value)

    def test_proposals_are_in_the_space(self) -> None:
        """Every proposal is an architecture of the space, and asking for several gives several."""
        strategy = self.make()
        several = strategy.ask(5)
        assert len(several) == 5
        for proposal in [*several, *self.play(self.make(), 40)]:
            assert strategy.space.architecture(dict(proposal.architecture)) == proposal.architecture

    def test_same_seed_same_proposals(self) -> None:
        """Two strategies with the same seed that are told the same propose the same; another seed differs."""
        assert self.play(self.make(3), 40) == self.play(self.make(3), 40)
        assert self.play(self.make(3), 40) != self.play(self.make(4), 40)

    def test_global_randomness_plays_no_part(self) -> None:
        """Neither reads nor changes numpy's, torch's or Python's global generators."""
        first = self.play(self.make(), 20)
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        before = random.getstate()[1][:3], np.random.get_state()[1][:3].tolist(), torch.get_rng_state()  # type: ignore[index]
        assert self.play(self.make(), 20) == first
        after = random.getstate()[1][:3], np.random.get_state()[1][:3].tolist(), torch.get_rng_state()  # type: ignore[index]
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])

    @pytest.mark.parametrize("pending", [1, 3])
    def test_rebuilt_by_replay(self, pending: int) -> None:
        """A strategy that is told again what the journal holds continues as the undisturbed one."""

        def replaying(number: int, proposal: Proposal) -> Trial:
            trial = answer(number, proposal)
            return trial_from_json(number, trial_to_json(trial)) if number < 25 else trial

        assert self.play(self.make(), 40, pending, replaying) == self.play(self.make(), 40, pending)

    def test_survives_failures_only(self) -> None:
        """A search in which everything fails continues."""
        self.play(self.make(), 30, answering=lambda number, proposal: answer(number, proposal, fail_every=1))

    def test_goes_on_from_what_others_proposed(self) -> None:
        """Architectures that it did not propose may come first, or in between; it is rebuilt by the same again."""

        def observing() -> list[Proposal]:
            strategy, rng = self.make(), np.random.default_rng(0)
            for number in range(6):
                strategy.observe(answer(number, Proposal(strategy.space.sample(rng), tag={"start": "random"}), 4))
            proposals = self.play(strategy, 10)
            strategy.observe(answer(20, Proposal(strategy.space.sample(rng))))
            return proposals + self.play(strategy, 10)

        first = observing()
        assert len(first) == 20
        assert observing() == first

    def test_told_in_any_order(self) -> None:
        """Where the order of completion depends on timing, trials are told as they finish."""
        strategy = self.make()
        for batch in range(6):
            proposals = list(enumerate(strategy.ask(4), 4 * batch))
            for number, proposal in reversed(proposals):
                strategy.tell(answer(number, proposal))
        assert strategy.ask(1)

    def test_scores_follow_the_objective(self) -> None:
        """A better trial has the higher score, whatever the direction; a failed one has the lowest there is."""
        for objective in (Objective("quality"), Objective("quality", "minimize")):
            strategy = self.make(objectives=[objective])
            proposal = Proposal(strategy.space.sample(np.random.default_rng(0)))
            low, high = (Trial(0, proposal, Measurement({"quality": value})) for value in (1.0, 2.0))
            assert (strategy.score(low) < strategy.score(high)) == (objective.sign > 0)
            assert strategy.score(Trial(0, proposal, None, "diverged")) == -math.inf

    def test_the_direction_only_turns_the_sign(self) -> None:
        """Minimising the negative of an objective is maximising it."""

        def negative(number: int, proposal: Proposal) -> Trial:
            trial = answer(number, proposal)
            if trial.measurement is None:
                return trial
            return Trial(number, proposal, Measurement({"quality": -trial.measurement.values["quality"]}))

        first, *others = self.objectives
        turned = [Objective(first.name, "minimize" if first.sign > 0 else "maximize"), *others]
        assert self.play(self.make(objectives=turned), 40, answering=negative) == self.play(self.make(), 40)

    def test_no_repeats(self) -> None:
        """Architectures are not proposed twice, unless the strategy is known to."""
        if self.repeats:
            return
        keys = [proposal.architecture.key for proposal in self.play(self.make(), 60)]
        assert len(set(keys)) == len(keys)

    def test_looking_at_figures_changes_nothing(self) -> None:
        """Diagnostics are numbers by name, and the search is the same without them."""
        watched = self.make()

        def answering(number: int, proposal: Proposal) -> Trial:
            figures = watched.diagnostics()
            assert all(isinstance(name, str) and isinstance(value, float) for name, value in figures.items())
            return answer(number, proposal)

        assert self.play(watched, 30, answering=answering) == self.play(self.make(), 30)

    def test_tags_are_json(self) -> None:
        """What a strategy notes on a proposal survives the journal."""
        for proposal in self.play(self.make(), 20):
            assert json.loads(json.dumps(dict(proposal.tag))) == dict(proposal.tag)
