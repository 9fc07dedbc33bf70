"""What every strategy must do; subclass :class:`StrategyContract` in a pytest module."""

from __future__ import annotations

from typing import Any
from typing import ClassVar

from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies.base import Strategy
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


def contract_space() -> SearchSpace:
    """Returns a space with groups, a condition, a choice of one option, and 3 * (4 * 3 + 4) * 5 * 5 architectures."""
    return SearchSpace(
        [
            Choice("op", ("conv", "pool"), group="operation"),
            Choice("kernel", (1, 3, 5), when={"op": ("conv",)}, group="operation"),
            Choice("width", (8, 16, 32, 64), group="size"),
            Choice("depth", (1, 2, 3, 4, 5), group="size"),
            Choice("fixed", ("yes",), group="rest"),
            Choice("rate", (0.1, 0.2, 0.3, 0.4, 0.5), group="rest"),
        ]
    )


def contract_value(proposal: Proposal) -> float:
    """Returns the known quality of an architecture of :func:`contract_space`, between 0 and 1."""
    a = proposal.architecture
    value = 0.2 * (a["op"] == "conv") + 0.2 * (a.get("kernel") == 3) + 0.2 * (a["width"] == 32)
    return value + 0.2 * (a["depth"] == 4) + 0.2 * (a["rate"] == 0.2)


def answer(number: int, proposal: Proposal, fail_every: int = 7) -> Trial:
    """Returns the trial of a proposal; every seventh one fails."""
    if fail_every and number % fail_every == fail_every - 1:
        return Trial(number, proposal, None, "diverged")
    return Trial(number, proposal, Measurement({"quality": contract_value(proposal)}))


class StrategyContract:
    """The contract.

    Attributes:
        strategy: the class.
        options: other than its defaults.
        repeats: whether it may propose an architecture twice.
    """

    strategy: ClassVar[type[Strategy]]
    options: ClassVar[dict[str, Any]] = {}
    repeats: ClassVar[bool] = False
    objectives: ClassVar[tuple[Objective, ...]] = (Objective("quality"),)

    def make(self, seed: int = 0) -> Strategy:
        """Returns a fresh strategy on :func:`contract_space`."""
        options = self.strategy.Options.model_validate(self.options)
        return self.strategy(contract_space(), self.objectives, seed, options)

    def play(self, strategy: Strategy, trials: int, out: int = 1) -> list[Proposal]:
        """Returns the proposals of a search with ``out`` of them out at any time, told in order."""
        proposals: list[Proposal] = []
        told = 0
        while told < trials:
            while len(proposals) < trials and len(proposals) - told < out:
                proposals += strategy.ask(1)
            strategy.tell(answer(told, proposals[told]))
            told += 1
        return proposals

    def test_proposals_are_in_the_space(self) -> None:
        """Every proposal is an architecture of the space, and asking for several gives several."""
        strategy = self.make()
        for proposal in [*strategy.ask(5), *self.play(self.make(), 40)]:
            assert strategy.space.architecture(dict(proposal.architecture)) == proposal.architecture

    def test_same_seed_same_proposals(self) -> None:
        """Two strategies with the same seed that are told the same propose the same; another seed differs."""
        assert self.play(self.make(3), 40) == self.play(self.make(3), 40)
        assert self.play(self.make(3), 40) != self.play(self.make(4), 40)

    def test_global_randomness_plays_no_part(self) -> None:
        """Neither reads nor changes numpy's, torch's or Python's global generators."""
        import random

        import numpy as np
        import torch

        first = self.play(self.make(), 20)
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        before = random.getstate()[1][:3], np.random.get_state()[1][:3].tolist(), torch.get_rng_state()  # type: ignore[index]
        assert self.play(self.make(), 20) == first
        after = random.getstate()[1][:3], np.random.get_state()[1][:3].tolist(), torch.get_rng_state()  # type: ignore[index]
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])

    def test_rebuilt_by_replay(self) -> None:
        """A strategy that was asked and told the first trials again continues as the undisturbed one."""
        for out in (1, 3):
            whole = self.play(self.make(), 40, out)
            again = self.make()
            proposals: list[Proposal] = []
            for told in range(25):
                while len(proposals) - told < out:
                    proposals += again.ask(1)
                again.tell(answer(told, proposals[told]))
            for told in range(25, 40):
                while len(proposals) < 40 and len(proposals) - told < out:
                    proposals += again.ask(1)
                again.tell(answer(told, proposals[told]))
            assert proposals == whole

    def test_survives_failures_only(self) -> None:
        """A search in which everything fails continues."""
        strategy = self.make()
        for number in range(30):
            (proposal,) = strategy.ask(1)
            strategy.tell(answer(number, proposal, fail_every=1))

    def test_no_repeats(self) -> None:
        """Architectures are not proposed twice, unless the strategy is known to."""
        if self.repeats:
            return
        keys = [proposal.architecture.key for proposal in self.play(self.make(), 60)]
        assert len(set(keys)) == len(keys)

    def test_extends_prefixes(self) -> None:
        """Where the leading choices are made, proposals, samples and candidates begin as one of the prefixes."""
        import numpy as np

        whole = contract_space()
        rng = np.random.default_rng(0)
        prefixes = [whole.first(2).sample(rng) for _ in range(3)]
        made = {choice.name for choice in whole.choices[:2]}
        options = self.strategy.Options.model_validate(self.options)
        strategy = self.strategy(whole.extending(prefixes), self.objectives, 0, options)
        strategy.import_state([{} for _ in prefixes])
        asked: list[Proposal] = []
        for number in range(24):
            if number % 6 == 0:
                strategy.reset_history()
            for proposal in strategy.ask(1):
                strategy.tell(answer(len(asked), proposal))
                asked.append(proposal)
        assert len(asked) >= 12
        assert strategy.sample(20, seed=3) == strategy.sample(20, seed=3)
        found = [proposal.architecture for proposal in (*asked, *strategy.candidates(5, asked[:2]))]
        for architecture in [*found, *strategy.sample(20, seed=3)]:
            assert whole.architecture(dict(architecture)) == architecture
            assert Architecture({n: v for n, v in architecture.items() if n in made}) in prefixes
        strategy.export_state(asked[0])

    def test_tags_are_json(self) -> None:
        """What a strategy notes on a proposal survives the journal."""
        import json

        for proposal in self.play(self.make(), 20):
            assert json.loads(json.dumps(dict(proposal.tag))) == dict(proposal.tag)
