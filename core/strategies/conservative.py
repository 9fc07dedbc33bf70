"""Reinforced conservative search (RCNAS of AGNN; Zhou et al. 2019): small changes of the best architecture.

Every group of choices (action class) has a recurrent encoder. It reads the incumbent without the choices of its
group and emits new values for these. The reward is the change against the incumbent, its baseline a moving average a
group; only encoders that acted are trained. In the paper the entropies of the encoders guide which groups are changed;
groups of few options are then hardly ever picked, although a change of theirs may decide everything. By default all
groups are therefore equally likely, the first incumbent is the best of random starts, and a climb that makes no
progress restarts.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from nichenas.core.seeds import numpy_generator
from nichenas.core.seeds import torch_generator
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.controller import LSTMController
from nichenas.core.strategies.controller import PrefixState
from nichenas.core.strategies.controller import SampledDecisions
from nichenas.core.strategies.controller import without
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.threads import single_thread
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

TRIES = 20  # samples of one group that may be known before another group is tried
FRESH_TRIES = 1000  # uniform draws that may be known before a known one is proposed


class ConservativeOptions(Settings):
    """Options of conservative search.

    Attributes:
        classes: how many groups are changed at once (s in the paper).
        guide: how groups are picked: uniformly; drawn from the softmax of their encoders' entropies, as in the paper;
            or that of the largest entropy.
        normalize: divide every entropy by its largest possible value before picking; not from the paper. Without it,
            ``argmax`` stays with the group of most options until that one is trained down.
        learning_rate: of Adam.
        baseline_decay: of the moving average of rewards.
        baseline_start: what this average starts at: the first reward, as GraphNAS does, or 0.
        skip_unread: leave out choices whose change leaves the network the same, in policies and their entropies.
        patience: changes of the incumbent in a row without a better one after which a new climb begins, from the best
            of ``restart`` random architectures; none for never.
        restart: see ``patience``.
        entropy_weight: of the entropy added to the reward; 1e-4 in AutoGL's version.
        deduplicate: never propose a known architecture again: sample the group again, then move on to the next
            one, then to all groups at once, then to random architectures. Not from the paper; without it
            the search measures its incumbent again once it is stuck.
    """

    classes: int = Field(1, ge=1)
    guide: Literal["uniform", "softmax", "argmax"] = "uniform"
    normalize: bool = False
    learning_rate: float = Field(3.5e-4, gt=0)
    baseline_decay: float = Field(0.95, ge=0, lt=1)
    baseline_start: Literal["first", "zero"] = "first"
    skip_unread: bool = True
    patience: int | None = Field(40, ge=1)
    restart: int = Field(10, ge=1)
    entropy_weight: float = Field(0.0, ge=0)
    deduplicate: bool = True


class PublishedOptions(ConservativeOptions):
    """The same options with AGNN's values, as far as they are known."""

    guide: Literal["uniform", "softmax", "argmax"] = "softmax"
    baseline_start: Literal["first", "zero"] = "zero"
    skip_unread: bool = False
    patience: int | None = Field(None, ge=1)


@STRATEGIES.register("conservative")
class Conservative(OneShotStrategy):
    """Changes one group of the incumbent at a time."""

    Options = ConservativeOptions
    random_starts = 20
    summary = "reinforced conservative search (AGNN, Zhou et al. 2019), groups picked uniformly, with restarts"
    options: ConservativeOptions

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.rng = numpy_generator(self.seed, "strategy Conservative")  # of the published variant too
        self._draws = torch_generator(self.seed, "strategy conservative draws")
        weights = torch_generator(self.seed, "strategy conservative weights")
        self.encoders = {
            group: LSTMController(self.space, choices, weights) for group, choices in self.space.groups.items()
        }
        self._optimisers = {
            group: torch.optim.Adam(encoder.parameters(), lr=self.options.learning_rate)
            for group, encoder in self.encoders.items()
        }
        zero = self.options.baseline_start == "zero"
        self._baselines: dict[str, float] = dict.fromkeys(self.encoders, 0.0) if zero else {}
        self.incumbent: Architecture | None = None
        self.incumbent_score = -math.inf
        self._worst = math.inf
        self._entropies: dict[str, float] = {}
        self._seen: set[str] = set()
        self._readings: dict[str, PrefixState] = {}  # of the incumbent, by group
        self._unread: dict[str, frozenset[str]] = {}  # choices, by key of an incumbent
        self._climb = 0
        self._since_progress = 0
        self._draws_left = 0  # of a restart: how many random architectures are still to be told

    @single_thread()
    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns offspring of the incumbent; random architectures while there is none."""
        return [self._offspring() for _ in range(n)]

    def _offspring(self) -> Proposal:
        if self.incumbent is None or self._draws_left > 0:
            return self._remember(Proposal(self._fresh(), tag={"climb": self._climb}))
        if self.incumbent_score == -math.inf:
            return Proposal(self.incumbent)
        order = self._guide(self.incumbent)
        chosen = order[: self.options.classes]
        child = self._change(self.incumbent, chosen)
        if self.options.deduplicate:
            for start in range(len(order)):
                chosen = [order[(start + step) % len(order)] for step in range(min(self.options.classes, len(order)))]
                tries = 0
                while self._known(child) and tries < TRIES:
                    child = self._change(self.incumbent, chosen)
                    tries += 1
                if not self._known(child):
                    break
            else:  # every change of so few groups seems to be known: the next larger step is to change all
                child, chosen = self._far_change(self.incumbent, order)
        tag = {"classes": chosen, "incumbent": dict(self.incumbent), "climb": self._climb}
        return self._remember(Proposal(child, tag=tag))

    def _far_change(self, incumbent: Architecture, order: list[str]) -> tuple[Architecture, list[str]]:
        for _ in range(TRIES):
            child = self._change(incumbent, order)
            if not self._known(child):
                return child, order
        return self._fresh(), []

    def _fresh(self) -> Architecture:
        """Returns a uniform draw that is not known, if there seems to be one."""
        for _ in range(FRESH_TRIES if self.options.deduplicate else 1):
            drawn = self.space.sample(self.rng)
            if not self._known(drawn):
                break
        return drawn

    def _known(self, architecture: Architecture) -> bool:
        return self.space.canonical(architecture).key in self._seen

    def _remember(self, proposal: Proposal) -> Proposal:
        self._seen.add(self.space.canonical(proposal.architecture).key)
        return proposal

    def _guide(self, incumbent: Architecture) -> list[str]:
        """Returns all groups that the incumbent reads, those to be changed first."""
        if self.options.guide == "uniform":
            groups = [group for group in self.encoders if self._movable(group, incumbent)] or list(self.encoders)
            return [groups[int(i)] for i in self.rng.permutation(len(groups))]
        groups = list(self.encoders)
        self._entropies = {group: float(self._sample(group, incumbent).entropy) for group in groups}
        guide = np.array([self._entropies[group] for group in groups])
        if self.options.normalize:
            largest = [sum(math.log(len(c.options)) for c in self.space.groups[group]) for group in groups]
            guide = guide / np.maximum(largest, 1e-12)
        if self.options.guide == "argmax":
            order = np.argsort(-guide, kind="stable")
        else:
            # Adding Gumbel noise and sorting draws from the softmax without replacement.
            order = np.argsort(-(guide + self.rng.gumbel(size=len(guide))), kind="stable")
        return [groups[int(i)] for i in order]

    def _change(self, incumbent: Architecture, groups: list[str]) -> Architecture:
        """Returns the incumbent with the choices of these groups decided again."""
        wanted = dict(incumbent)
        for group in groups:
            decisions = self._sample(group, incumbent)
            self._entropies[group] = float(decisions.entropy)
            wanted.update(decisions.values)
        return self.space.complete(wanted, lambda choice: choice.options[int(self.rng.integers(len(choice.options)))])

    @torch.no_grad()
    def _sample(self, group: str, incumbent: Architecture) -> SampledDecisions:
        """Returns new decisions of one group; what its encoder reads first is the same until either changes."""
        if group not in self._readings:
            self._readings[group] = self._read(group, incumbent)
        return self.encoders[group].decide(self._readings[group], self._active(group, incumbent), self._draws)

    def _read(self, group: str, incumbent: Architecture) -> PrefixState:
        return self.encoders[group].read(without(incumbent, self._active(group, incumbent)))

    def _active(self, group: str, incumbent: Architecture) -> list[Choice]:
        unread: frozenset[str] = frozenset()
        if self.options.skip_unread:
            if incumbent.key not in self._unread:
                self._unread[incumbent.key] = self.space.unread(incumbent)
            unread = self._unread[incumbent.key]
        return [c for c in self.space.groups[group] if c.name in incumbent and c.name not in unread]

    def _movable(self, group: str, incumbent: Architecture) -> bool:
        return any(len(choice.options) > 1 for choice in self._active(group, incumbent))

    @single_thread()
    def tell(self, trial: Trial) -> None:
        """Trains the encoders that acted, and takes the trial as incumbent if it is better."""
        score = self.score(trial)
        if math.isfinite(score):
            self._worst = min(self._worst, score)
        if trial.proposal.tag.get("climb", self._climb) != self._climb:
            return  # proposed before the present climb began
        if "classes" in trial.proposal.tag:
            if self.incumbent is not None:
                self._learn(trial, (score if math.isfinite(score) else self._worst) - self.incumbent_score)
            self._since_progress += 1
        elif "climb" in trial.proposal.tag:
            self._draws_left -= self._draws_left > 0
        stopped = trial.measurement is not None and trial.measurement.stopped
        if score > self.incumbent_score and not stopped:
            self.incumbent, self.incumbent_score = trial.proposal.architecture, score
            self._since_progress = 0
            self._readings.clear()
        elif self.options.patience is not None and self._since_progress >= self.options.patience:
            self._climb += 1
            self._since_progress, self._draws_left = 0, self.options.restart
            self.incumbent, self.incumbent_score = None, -math.inf
            self._readings.clear()

    def observe(self, trial: Trial) -> None:
        """Takes a start as incumbent if it is better; it is not proposed again."""
        self._remember(trial.proposal)
        self.tell(trial)

    def reset_history(self) -> None:
        """Lets everything be proposed again, the incumbent first: its score is out of date."""
        self._seen.clear()
        self.incumbent_score = -math.inf

    def _learn(self, trial: Trial, change: float) -> None:
        parent = Architecture(trial.proposal.tag["incumbent"])
        taken = {**parent, **trial.proposal.architecture}
        for group in trial.proposal.tag["classes"]:
            choices = self._active(group, parent)
            decisions = self.encoders[group].decide(self._read(group, parent), choices, taken=taken)
            if not decisions.values:  # none of its choices is active in the parent
                continue
            reward = change + self.options.entropy_weight * float(decisions.entropy.detach())
            advantage = reward - self._baselines.setdefault(group, reward)
            decay = self.options.baseline_decay
            self._baselines[group] = decay * self._baselines[group] + (1 - decay) * reward
            self._optimisers[group].zero_grad()
            (-advantage * decisions.log_probability).backward()
            self._optimisers[group].step()
            self._readings.pop(group, None)

    def diagnostics(self) -> dict[str, float]:
        """Returns the entropy of every group's encoder when it was last looked at."""
        return {f"entropy/{group}": value for group, value in self._entropies.items()}


@STRATEGIES.register("conservative-published")
class PublishedConservative(Conservative):
    """The same with the guide, the baseline and the single start of the paper."""

    Options = PublishedOptions
    random_starts = 0
    summary = "the same as published: guided by entropy, one random start"
    options: PublishedOptions
