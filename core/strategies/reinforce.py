"""REINFORCE with an LSTM controller that generates the whole architecture (GraphNAS; Gao et al. 2020)."""

from __future__ import annotations

import math

import torch
from pydantic import Field

from core.domain import Proposal
from core.domain import Settings
from core.domain import Trial
from core.seeds import torch_generator
from core.strategies.base import STRATEGIES
from core.strategies.base import Strategy
from core.strategies.controller import LSTMController

TRIES = 20  # samples in a row that may be known before a known one is proposed


class ReinforceOptions(Settings):
    """Options of REINFORCE; the defaults are those of GraphNAS's released code.

    Attributes:
        learning_rate: of Adam.
        baseline_decay: of the moving average of rewards, which starts at the first reward.
        entropy_weight: of the entropy that is added to the reward (as a number: no gradient runs through it).
        deduplicate: sample again while the architecture is known; GraphNAS does not.
    """

    learning_rate: float = Field(3.5e-4, gt=0)
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    entropy_weight: float = Field(1e-4, ge=0)
    deduplicate: bool = True


@STRATEGIES.register("reinforce")
class Reinforce(Strategy):
    """Samples architectures from a policy and raises the probability of those that score above average.

    With proposals out, a trial's probability is that under the policy at the time of telling.
    """

    Options = ReinforceOptions
    summary = "REINFORCE, an LSTM controller for the whole architecture (GraphNAS, Gao et al. 2020)"
    options: ReinforceOptions

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._draws = torch_generator(self.seed, "strategy reinforce draws")
        self.controller = LSTMController(
            self.space, self.space.choices, torch_generator(self.seed, "strategy reinforce weights")
        )
        self._optimiser = torch.optim.Adam(self.controller.parameters(), lr=self.options.learning_rate)
        self._baseline: float | None = None
        self._worst = math.inf
        self._entropy = math.nan
        self._seen: set[str] = set()

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns samples of the policy."""
        return [self._sample() for _ in range(n)]

    def _sample(self) -> Proposal:
        for _ in range(TRIES):
            with torch.no_grad():
                decisions = self.controller.decide({}, self.space.choices, self._draws)
            architecture = self.space.architecture(decisions.values)
            key = self.space.canonical(architecture).key
            if not self.options.deduplicate or key not in self._seen:
                break
        self._seen.add(key)
        return Proposal(architecture)

    def tell(self, trial: Trial) -> None:
        """Takes one policy gradient step; a failure counts as the worst score so far."""
        reward = self.score(trial)
        if not math.isfinite(reward):
            reward = self._worst
        if not math.isfinite(reward):
            return
        self._worst = min(self._worst, reward)
        decisions = self.controller.decide({}, self.space.choices, taken=trial.proposal.architecture)
        self._entropy = float(decisions.entropy.detach())
        reward += self.options.entropy_weight * self._entropy
        if self._baseline is None:
            self._baseline = reward
        advantage = reward - self._baseline
        decay = self.options.baseline_decay
        self._baseline = decay * self._baseline + (1 - decay) * reward
        self._optimiser.zero_grad()
        (-advantage * decisions.log_probability).backward()
        self._optimiser.step()

    def diagnostics(self) -> dict[str, float]:
        """Returns the policy's entropy along the last trial."""
        return {"policy_entropy": self._entropy}
