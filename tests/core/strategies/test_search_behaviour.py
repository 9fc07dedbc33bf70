"""What each method is for: it finds the good region, and follows its paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.errors import ConfigError
from nichenas.core.objectives import Objective
from nichenas.core.seeds import torch_generator
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies import Conservative
from nichenas.core.strategies import Evolution
from nichenas.core.strategies import ForestSearch
from nichenas.core.strategies import LocalSearch
from nichenas.core.strategies import OptunaSampler
from nichenas.core.strategies import RandomSearch
from nichenas.core.strategies import Reinforce
from nichenas.core.strategies import Strategy
from nichenas.core.strategies.controller import LSTMController
from nichenas.core.strategies.controller import SampledDecisions
from nichenas.core.testing.strategy_fixtures import contract_space
from nichenas.core.testing.strategy_fixtures import contract_value
from nichenas.core.threads import single_thread
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

QUALITY = (Objective("quality"),)


def values(strategy: Strategy, trials: int) -> list[float]:
    found = []
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        found.append(contract_value(proposal))
        strategy.tell(Trial(number, proposal, Measurement({"quality": found[-1]})))
    return found


@pytest.mark.parametrize("cls", [Evolution, LocalSearch, Conservative, ForestSearch])
def test_evaluates_better_architectures_than_random(cls: type[Strategy]) -> None:
    options = cls.Options.model_validate({"population": 15, "tournament": 5} if cls is Evolution else {})
    guided = [np.mean(values(cls(contract_space(), QUALITY, seed, options), 80)) for seed in range(8)]
    random = [np.mean(values(RandomSearch(contract_space(), QUALITY, seed), 80)) for seed in range(8)]
    assert np.mean(guided) > np.mean(random) + 0.05


def test_random_proposes_a_whole_small_space_once() -> None:
    space = SearchSpace([Choice("a", (0, 1)), Choice("b", (0, 1))])
    strategy = RandomSearch(space, QUALITY, 0)
    assert len({p.architecture for p in strategy.ask(4)}) == 4
    assert strategy.ask(1) == []


class _ReadsAgain(Conservative):
    """Reads the incumbent for every decision, as the paper's encoders do."""

    def _sample(self, group: str, incumbent: Architecture) -> SampledDecisions:
        self._readings.clear()
        return super()._sample(group, incumbent)


_ReadsAgain.__name__ = "Conservative"  # generators are derived from it


@pytest.mark.parametrize("classes", [1, 2])
def test_conservative_decides_as_if_it_read_the_incumbent_again(classes: int) -> None:
    options = Conservative.Options(classes=classes, learning_rate=0.05)  # type: ignore[call-arg]
    again, kept = (cls(contract_space(), QUALITY, 0, options) for cls in (_ReadsAgain, Conservative))
    for number in range(80):
        if number == 50:
            again.reset_history()
            kept.reset_history()
        (proposal,), (same,) = again.ask(1), kept.ask(1)
        assert proposal == same
        assert again.diagnostics() == kept.diagnostics()
        for strategy in (again, kept):
            strategy.tell(Trial(number, proposal, Measurement({"quality": contract_value(proposal)})))


def test_what_stopped_early_is_no_incumbent() -> None:
    strategy = Conservative(contract_space(), QUALITY, 0)
    first, second = strategy.ask(2)
    strategy.tell(Trial(0, first, Measurement({"quality": 0.9}, stopped=True)))
    assert strategy.incumbent is None
    strategy.tell(Trial(1, second, Measurement({"quality": 0.1})))
    assert strategy.incumbent == second.architecture


@pytest.mark.parametrize("cls", [Conservative, Reinforce])
def test_controllers_run_on_one_thread_and_leave_the_others_alone(
    cls: type[Strategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    decide = LSTMController.decide

    def noted(*args: Any, **kwargs: Any) -> SampledDecisions:
        seen.append(torch.get_num_threads())
        return decide(*args, **kwargs)

    monkeypatch.setattr(LSTMController, "decide", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        values(cls(contract_space(), QUALITY, 0), 5)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), single_thread():
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_evolution_ages() -> None:
    strategy = Evolution(contract_space(), QUALITY, 0, Evolution.Options(population=5, tournament=5))  # type: ignore[call-arg]
    best = strategy.ask(1)[0]
    strategy.tell(Trial(0, best, Measurement({"quality": 10.0})))
    for number in range(1, 30):
        (proposal,) = strategy.ask(1)
        strategy.tell(Trial(number, proposal, Measurement({"quality": 0.0})))
    (late,) = strategy.ask(1)
    differing = sum(late.architecture.get(name) != value for name, value in best.architecture.items())
    assert differing > 1  # the best of all died of age; its children are gone too


def test_local_search_climbs_by_single_choices_and_restarts() -> None:
    strategy = LocalSearch(contract_space(), QUALITY, 0)
    climbs = []
    for number in range(120):
        (proposal,) = strategy.ask(1)
        climbs.append(proposal.tag["climb"])
        strategy.tell(Trial(number, proposal, Measurement({"quality": contract_value(proposal)})))
    assert climbs == sorted(climbs)
    assert max(climbs) > 1


def test_reinforce_raises_the_better_choice() -> None:
    space = SearchSpace([Choice("a", (0, 1))])
    strategy = Reinforce(space, QUALITY, 0, Reinforce.Options(deduplicate=False, learning_rate=3.5e-3))  # type: ignore[call-arg]
    for number in range(300):
        (proposal,) = strategy.ask(1)
        strategy.tell(Trial(number, proposal, Measurement({"quality": float(str(proposal.architecture["a"]))})))
    decisions = strategy.controller.decide(strategy.controller.read({}), space.choices, taken={"a": 1})
    assert decisions.log_probability.exp() > 0.8


def test_controller_follows_graphnas() -> None:
    space = contract_space()
    controller = LSTMController(space, space.choices, torch_generator(0, "x"))
    for name, parameter in controller.named_parameters():
        if name.startswith("decoders") and name.endswith("bias"):
            assert not parameter.any()
        else:
            assert 0 < parameter.abs().max() <= 0.1
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(1e4)
        decided = controller.decide(controller.read({}), space.choices, torch_generator(0, "y"))
    # |c tanh(.)| <= 2.5, so no decision among k is ever made with less than 1 / (1 + (k - 1) e^5)
    largest = sum(math.log(1 + (len(space[name].options) - 1) * math.exp(5)) for name in decided.values)
    assert -largest <= decided.log_probability <= 0


class TestConservative:
    """The invariants of AGNN's loop."""

    def space(self) -> SearchSpace:
        return SearchSpace([Choice(f"l{i}.{g}", tuple(range(m)), group=g) for i in range(3) for g, m in GROUPS.items()])

    def strategy(self, **options: object) -> Conservative:
        return Conservative(self.space(), QUALITY, 0, Conservative.Options.model_validate(options))

    def tell(self, strategy: Conservative, number: int, proposal: Proposal, quality: float) -> None:
        strategy.tell(Trial(number, proposal, Measurement({"quality": quality})))

    def test_offspring_differ_only_in_the_chosen_class(self) -> None:
        strategy = self.strategy()
        rng = np.random.default_rng(0)
        for number in range(60):
            incumbent = strategy.incumbent
            (proposal,) = strategy.ask(1)
            if incumbent is not None:
                chosen = proposal.tag["classes"]
                assert len(chosen) == 1
                for name, value in proposal.architecture.items():
                    assert strategy.space[name].group in chosen or incumbent[name] == value
            self.tell(strategy, number, proposal, float(rng.random()))

    def test_the_incumbent_never_gets_worse(self) -> None:
        strategy = self.strategy()
        rng = np.random.default_rng(1)
        best = -1.0
        for number in range(40):
            (proposal,) = strategy.ask(1)
            quality = float(rng.random())
            self.tell(strategy, number, proposal, quality)
            best = max(best, quality)
            assert strategy.incumbent_score == best

    def test_only_encoders_that_acted_are_trained(self) -> None:
        strategy = self.strategy(baseline_start="zero")
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        for number in range(1, 10):
            before = {g: [p.clone() for p in e.parameters()] for g, e in strategy.encoders.items()}
            (proposal,) = strategy.ask(1)
            self.tell(strategy, number, proposal, 0.1)
            for group, encoder in strategy.encoders.items():
                changed = any(not torch.equal(a, b) for a, b in zip(before[group], encoder.parameters(), strict=True))
                assert changed == (group in proposal.tag["classes"])

    def test_entropy_is_that_of_uniform_decisions_at_zero_logits(self) -> None:
        strategy = self.strategy(guide="softmax")
        with torch.no_grad():
            for encoder in strategy.encoders.values():
                for decoder in encoder.decoders.values():
                    for parameter in decoder.parameters():
                        parameter.zero_()
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        strategy.ask(1)
        for group, options in GROUPS.items():
            assert strategy.diagnostics()[f"entropy/{group}"] == pytest.approx(3 * math.log(options), rel=1e-5)

    def test_reward_is_the_change_against_the_incumbent(self) -> None:
        strategy = self.strategy(baseline_decay=0.95, baseline_start="zero")
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        (proposal,) = strategy.ask(1)
        (group,) = proposal.tag["classes"]
        self.tell(strategy, 1, proposal, 0.7)
        assert strategy._baselines[group] == pytest.approx(0.05 * 0.2)
        assert all(value == 0 for other, value in strategy._baselines.items() if other != group)

    def test_the_baseline_starts_at_the_first_reward(self) -> None:
        strategy = self.strategy(baseline_decay=0.5)
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        (proposal,) = strategy.ask(1)
        before = {group: [p.clone() for p in e.parameters()] for group, e in strategy.encoders.items()}
        self.tell(strategy, 1, proposal, 0.3)
        assert strategy._baselines == {proposal.tag["classes"][0]: pytest.approx(-0.2)}
        for group, encoder in strategy.encoders.items():  # it is as good as expected
            assert all(torch.equal(a, b) for a, b in zip(before[group], encoder.parameters(), strict=True))

    def test_no_class_starves(self) -> None:
        counts = {guide: dict.fromkeys(GROUPS, 0) for guide in ("uniform", "softmax")}
        for guide, count in counts.items():
            strategy = self.strategy(guide=guide, patience=None)
            self.tell(strategy, 0, strategy.ask(1)[0], 1.0)
            for number in range(1, 301):
                (proposal,) = strategy.ask(1)
                count[proposal.tag["classes"][0]] += 1
                self.tell(strategy, number, proposal, 0.5)
        # Seven offspring of the incumbent differ in the smallest class alone; the others soon are all known.
        assert counts["uniform"]["combine"] >= 7
        assert counts["uniform"]["heads"] > 1.8 * counts["softmax"]["heads"]
        assert counts["softmax"]["combine"] < 7

    def test_a_climb_without_progress_begins_anew(self) -> None:
        strategy = self.strategy(patience=5, restart=3)
        self.tell(strategy, 0, strategy.ask(1)[0], 1.0)
        first = strategy.incumbent
        (late,) = strategy.ask(1)
        for number in range(1, 6):
            (proposal,) = strategy.ask(1)
            self.tell(strategy, number, proposal, 0.5)
        assert strategy.incumbent is None
        self.tell(strategy, 6, late, 2.0)  # of the climb before
        assert strategy.incumbent is None
        drawn = []
        for number, quality in enumerate((0.2, 0.4, 0.3), 7):
            (proposal,) = strategy.ask(1)
            assert "classes" not in proposal.tag
            drawn.append(proposal.architecture)
            self.tell(strategy, number, proposal, quality)
        assert first not in drawn
        assert strategy.incumbent == drawn[1]
        assert "classes" in strategy.ask(1)[0].tag

    def test_starts_do_not_count_as_lack_of_progress(self) -> None:
        strategy = self.strategy(patience=3)
        rng = np.random.default_rng(0)
        for number in range(10):
            start = Proposal(strategy.space.sample(rng), tag={"start": "random"})
            strategy.observe(Trial(number, start, Measurement({"quality": 1.0 if number == 0 else 0.1})))
        assert strategy.incumbent_score == 1.0
        for number in range(10, 13):
            assert strategy.incumbent is not None
            self.tell(strategy, number, strategy.ask(1)[0], 0.2)
        assert strategy.incumbent is None

    def test_unread_choices_are_left_out(self) -> None:
        plain = self.space()

        def canonical(architecture: Architecture) -> Architecture:  # heads of the last layer are never read
            return Architecture({**architecture, "l2.heads": 0})

        space = SearchSpace(plain.choices, canonical)
        strategy = Conservative(space, QUALITY, 0, Conservative.Options())
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        assert strategy.incumbent is not None
        assert space.unread(strategy.incumbent) == {"l2.heads"}
        assert plain.unread(strategy.incumbent) == frozenset()
        assert [choice.name for choice in strategy._active("heads", strategy.incumbent)] == ["l0.heads", "l1.heads"]

    def test_argmax_takes_the_class_of_largest_entropy_unless_normalised(self) -> None:
        strategy = self.strategy(guide="argmax", deduplicate=False)
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        assert {strategy.ask(1)[0].tag["classes"][0] for _ in range(10)} == {"activation"}

    def test_several_classes_at_once(self) -> None:
        strategy = self.strategy(classes=len(GROUPS))
        self.tell(strategy, 0, strategy.ask(1)[0], 0.5)
        assert sorted(strategy.ask(1)[0].tag["classes"]) == sorted(GROUPS)


GROUPS = {"activation": 8, "combine": 2, "heads": 5}


def test_optuna_several_objectives_and_failures() -> None:
    pytest.importorskip("optuna")
    objectives = (Objective("quality"), Objective("size", "minimize"))
    strategy = OptunaSampler(contract_space(), objectives, 0, OptunaSampler.Options(sampler="NSGAII"))  # type: ignore[call-arg]
    for number in range(20):
        (proposal,) = strategy.ask(1)
        measured = Measurement({"quality": contract_value(proposal), "size": float(number)})
        strategy.tell(Trial(number, proposal, measured if number % 5 else None, None if number % 5 else "diverged"))
    assert len(strategy._study.best_trials) >= 1


def test_optuna_unknown_sampler_is_the_users_mistake() -> None:
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match="did you mean 'TPE'"):
        OptunaSampler(contract_space(), QUALITY, 0, OptunaSampler.Options(sampler="TPEE"))  # type: ignore[call-arg]
