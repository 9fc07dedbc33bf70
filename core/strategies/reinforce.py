"""REINFORCE with an LSTM controller that generates an architecture, or what a prefix still lacks.

Source: GraphNAS (Gao et al. 2020); extending prefixes as AutoGAN's multi-level search does (Gong et al. 2019): one of
the prefixes is drawn uniformly, and a fresh controller continues from the state of the LSTM that had generated it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from nichenas.core.seeds import torch_generator
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.controller import LSTMController
from nichenas.core.strategies.controller import SampledDecisions
from nichenas.core.strategies.controller import State
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.threads import single_thread
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

TRIES = 20  # samples in a row that may be known before a known one is proposed


class ReinforceOptions(Settings):
    """Options of REINFORCE; the defaults are those of GraphNAS's released code.

    Attributes:
        learning_rate: of Adam.
        betas: likewise.
        width: of the LSTM and the embedding.
        tanh: logits are squashed as ``tanh * tanh(logit / 5)``; none leaves them as they are.
        baseline_decay: of the moving average of rewards, which starts at the first reward.
        keep_baseline: whether it is kept when shared weights have changed; AutoGAN's code resets it.
        entropy_weight: of the entropy that is added to the reward.
        entropy_detach: whether the entropy is added as a number. AutoGAN's code lets the gradient run through it,
            which pushes the entropy down rather than up.
        deduplicate: sample again while the architecture is known; GraphNAS does not.
    """

    learning_rate: float = Field(3.5e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    width: int = Field(100, ge=1)
    tanh: float | None = Field(2.5, gt=0)
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    keep_baseline: bool = True
    entropy_weight: float = Field(1e-4, ge=0)
    entropy_detach: bool = True
    deduplicate: bool = True


@STRATEGIES.register("reinforce")
class Reinforce(OneShotStrategy):
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
            self.space,
            self.space.free,
            torch_generator(self.seed, "strategy reinforce weights"),
            self.options.width,
            tanh=self.options.tanh,
            read=self.space.free,
        )
        self._optimiser = torch.optim.Adam(
            self.controller.parameters(), lr=self.options.learning_rate, betas=self.options.betas
        )
        self._baseline: float | None = None
        self._worst = math.inf
        self._entropies: dict[str, float] = {}
        self._seen: set[str] = set()
        self._states: list[State | None] = [None] * max(1, len(self.space.prefixes))

    def import_state(self, memories: Sequence[Mapping[str, Tensor]]) -> None:
        """Receives the LSTM's states after the prefixes; other strategies leave none, then it begins from zeros."""
        self._states = [(m["hidden"], m["cell"]) if m else None for m in memories]

    @single_thread()
    def export_state(self, proposal: Proposal) -> Mapping[str, Tensor]:
        """Returns the LSTM's state after an architecture: ``hidden`` and ``cell``, each ``(1, width)``.

        The last decision is read too; AutoGAN's code leaves it out, so that the next stage cannot tell it.
        """
        with torch.no_grad():
            decisions = self._decide(proposal.architecture, proposal.tag.get("prefix", 0))
            hidden, cell = self.controller.cell(decisions.token, decisions.state)
        return {"hidden": hidden, "cell": cell}

    @single_thread()
    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns samples of the policy."""
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        prefixes = self.space.prefixes
        for _ in range(TRIES):
            start = int(torch.randint(len(prefixes), (), generator=self._draws)) if prefixes else 0
            with torch.no_grad():
                decisions = self._decide(None, start)
            known = prefixes[start] if prefixes else {}
            architecture = self.space.architecture({**known, **decisions.values})
            key = self.space.canonical(architecture).key
            if not self.options.deduplicate or key not in self._seen:
                break
        self._seen.add(key)
        return Proposal(architecture, tag={"prefix": start} if prefixes else {})

    def _decide(self, taken: Architecture | None, start: int) -> SampledDecisions:
        read = self.space.prefixes[start] if self.space.prefixes else {}
        reading = self.controller.read(read, self._states[start])
        return self.controller.decide(reading, self.space.free, self._draws, taken)

    @single_thread()
    def sample(self, count: int, seed: int) -> list[Architecture]:
        """Returns samples of the policy, all decided at once."""
        generator = torch_generator(seed, "samples")
        if not self.space.prefixes:
            drawn = self.controller.sample(count, self.space.free, generator)
            return [self.space.architecture(values) for values in drawn]
        starts = torch.randint(len(self.space.prefixes), (count,), generator=generator).tolist()
        read = [self.space.prefixes[start] for start in starts]
        zeros = torch.zeros(1, self.options.width)
        states = [self._states[start] or (zeros, zeros) for start in starts]
        state = (torch.cat([hidden for hidden, _ in states]), torch.cat([cell for _, cell in states]))
        drawn = self.controller.sample(count, self.space.free, generator, read, state)
        return [self.space.architecture({**known, **values}) for known, values in zip(read, drawn, strict=True)]

    def candidates(self, count: int, best: Sequence[Proposal]) -> list[Proposal]:
        """Returns samples of the policy, which may repeat (AutoGAN)."""
        return self.ask(count)

    def reset_history(self) -> None:
        """Lets everything be proposed again; the baseline is kept or not, as the options say."""
        self._seen.clear()
        if not self.options.keep_baseline:
            self._baseline = None

    @single_thread()
    def tell(self, trial: Trial) -> None:
        """Takes one policy gradient step; a failure counts as the worst score so far."""
        score = self.score(trial)
        if not math.isfinite(score):
            score = self._worst
        if not math.isfinite(score):
            return
        self._worst = min(self._worst, score)
        decisions = self._decide(trial.proposal.architecture, trial.proposal.tag.get("prefix", 0))
        if not decisions.values:  # a prefix after which nothing is left to decide
            return
        self._entropies = {name: float(entropy.detach()) for name, entropy in decisions.entropies.items()}
        entropy = decisions.entropy
        reward = score + self.options.entropy_weight * float(entropy.detach())
        if self._baseline is None:
            self._baseline = reward
        advantage: float | Tensor = reward - self._baseline
        if not self.options.entropy_detach:
            advantage = advantage + self.options.entropy_weight * (entropy - entropy.detach())
        decay = self.options.baseline_decay
        self._baseline = decay * self._baseline + (1 - decay) * reward
        self._optimiser.zero_grad()
        (-advantage * decisions.log_probability).backward()
        self._optimiser.step()

    def observe(self, trial: Trial) -> None:
        """Learns from a start as from a sample, although the policy did not draw it; it is not proposed again."""
        self._seen.add(self.space.canonical(trial.proposal.architecture).key)
        self.tell(trial)

    def diagnostics(self) -> dict[str, float]:
        """Returns the policy's entropy along the last trial, in nats: of every choice, and of all together."""
        each = {f"entropy/{name}": value for name, value in self._entropies.items()}
        return {"policy_entropy": sum(self._entropies.values()) if each else math.nan, **each}
