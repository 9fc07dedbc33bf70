"""What contract suites of strategies share: a space whose qualities are known, and searches on it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from nichenas.core.objectives import Objective
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies.base import Strategy
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


def contract_space() -> SearchSpace:
    """Returns a space with groups, a condition, a choice of one option, and (3 + 1) * 4 * 5 * 5 architectures."""
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


class StrategyFixtures:
    """Base of the contracts of strategies.

    Attributes:
        strategy: the class.
        options: other than its defaults.
        objectives: that it is made with; the answers have the value ``quality``.
    """

    strategy: ClassVar[type[Strategy]]
    options: ClassVar[dict[str, Any]] = {}
    objectives: ClassVar[tuple[Objective, ...]] = (Objective("quality"),)

    def make(
        self, seed: int = 0, space: SearchSpace | None = None, objectives: Sequence[Objective] | None = None
    ) -> Any:
        """Returns a fresh strategy, on :func:`contract_space` unless another space is given."""
        options = self.strategy.Options.model_validate(self.options)
        return self.strategy(space or contract_space(), objectives or self.objectives, seed, options)

    def play(
        self, strategy: Strategy, trials: int, pending: int = 1, answering: Callable[..., Trial] = answer
    ) -> list[Proposal]:
        """Returns the proposals of a search with so many of them pending at any time, told in order."""
        proposals: list[Proposal] = []
        told = 0
        while told < trials:
            while len(proposals) < trials and len(proposals) - told < pending:
                proposals += strategy.ask(1)
            strategy.tell(answering(told, proposals[told]))
            told += 1
        return proposals
