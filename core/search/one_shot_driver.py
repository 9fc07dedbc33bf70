"""The one-shot driver: shared weights are trained, and architectures scored with them, in turn.

Every iteration trains the weights on architectures that the strategy samples, then asks it for proposals, scores
them with the weights as they are, and tells it. In a search of several stages the best candidates at the end of one
are the prefixes that the next one extends, with a strategy of its own (multi-level search with a beam; AutoGAN, Gong
et al. 2019). Any strategy can be used.

A trial is one architecture that was scored, of a stage's space. A checkpoint follows an iteration. A resumed search
goes through the same loop: up to the checkpoint it takes scores from the journal and trains nothing, so the strategies
and the beams come out as they were; after it, weights are trained again, and scores that the journal holds already
are not measured twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Context
from nichenas.core.domain import Measurement
from nichenas.core.domain import Proposal
from nichenas.core.domain import Settings
from nichenas.core.domain import Trial
from nichenas.core.domain import as_failure
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import SearchDiverged
from nichenas.core.objectives import Objective
from nichenas.core.search.driver import Listener
from nichenas.core.search.driver import SearchState
from nichenas.core.search.journal import Journal
from nichenas.core.seeds import derive_seed
from nichenas.core.sharing.one_shot import OneShotDomain
from nichenas.core.sharing.one_shot import OneShotOptions
from nichenas.core.sharing.reset import CollapseMonitor
from nichenas.core.strategies.base import Strategy
from torch import Tensor

CHECKPOINT = "one_shot.pt"
ATTEMPTS = 2  # trainings an iteration may begin; one that collapses again leaves nothing worth scoring
CURVE = 20  # points of the losses that are kept an iteration


class OneShotDriver:
    """Runs one search.

    Args:
        domain: prepared.
        strategy: the class; every stage makes one.
        strategy_options: its settings.
        folder: of checkpoints; none keeps none, and a stopped run begins anew.
        keep: how many of the best architectures are known at any time, at least; the outcome is the last beam.

    Attributes:
        strategy: of the present stage.
        objectives: as they are measured, named as the supernet's.
    """

    def __init__(
        self,
        domain: OneShotDomain,
        strategy: type[Strategy],
        strategy_options: Settings,
        options: OneShotOptions,
        journal: Journal,
        seed: int,
        device: torch.device,
        folder: Path | None = None,
        listeners: Sequence[Listener] = (),
        keep: int = 10,
    ) -> None:
        self.domain, self.options, self.journal, self.seed = domain, options, journal, seed
        self.device, self.folder, self.listeners = device, folder, listeners
        self.objectives = tuple(objective.of_supernet() for objective in domain.shared_objectives)
        self.state = SearchState(max(keep, options.candidates))
        self.shared = domain.shared_training(Context(seed, 0, device))
        reset = options.reset
        self.monitor = None if reset is None else CollapseMonitor(reset, self.shared.losses, self.shared.gate)
        self._make, self._strategy_options = strategy, strategy_options
        self._stage, self._iteration = 0, 0
        self._renewals = 0
        self._unscored: list[int] = []  # iterations whose weights collapsed again
        self._prefixes: list[Trial] = []  # the beam of the last stage that ended
        self._recorded = list(journal.trials())
        self._resumed = self._read_checkpoint()
        self._numbered = 0
        self._pending: list[dict[str, Any]] = []  # what to say of iterations, with the next trial
        self._spent_before = float(journal.meta("seconds", 0.0))
        self._started = time.perf_counter()
        self.strategy = self._strategy([], [])

    def run(self) -> SearchState:
        """Searches through all stages.

        Raises:
            RunFolderError: when the journal is not that of this search.
            SearchDiverged: when a loss is not finite and weights may not be made anew.
            Interrupted: on Ctrl-C; finished iterations are kept.
        """
        try:
            for stage, iterations in enumerate(self.options.iterations):
                if stage > 0:
                    self._next_stage()
                for _ in range(iterations):
                    self._iterate()
                self._beam()
            self._finish()
            self.state.seconds = self._seconds()
            self.journal.set_meta("seconds", self.state.seconds)
            self.journal.flush()
        except KeyboardInterrupt:
            self.journal.flush()
            raise Interrupted(f"interrupted after {self.state.told} scored architectures") from None
        return self.state

    def diagnostics(self) -> dict[str, float]:
        """Returns the figures of the present stage's strategy."""
        return self.strategy.diagnostics()

    def _seconds(self) -> float:
        return self._spent_before + time.perf_counter() - self._started

    # Stages

    def _strategy(self, beam: Sequence[Trial], memories: Sequence[Mapping[str, Tensor]]) -> Strategy:
        count = self.domain.stages[self._stage]
        space = self.domain.space.first(count)
        if beam:
            space = space.extending([trial.proposal.architecture for trial in beam])
        seed = derive_seed(self.seed, "strategy of the stage", self._stage) if self._stage else self.seed
        strategy = self._make(space, self.objectives, seed, self._strategy_options)
        if beam:
            strategy.begin(memories)
        return strategy

    def _next_stage(self) -> None:
        memories = [self.strategy.remember(trial.proposal) for trial in self._prefixes]
        self._stage += 1
        self.strategy = self._strategy(self._prefixes, memories)
        self.shared.begin_stage(self._stage)
        self.state.forget_best()

    def _beam(self) -> None:
        """Scores the candidates of the stage and keeps the best of them, best first."""
        best = [trial.proposal for trial in self.state.top(self.options.candidates)]
        trials = []
        for proposal in self.strategy.candidates(self.options.candidates, best):
            own = {key: value for key, value in proposal.tag.items() if key != "iteration"}
            tag = {**own, "stage": self._stage, "candidate": True}
            trials.append(self._measure(Proposal(proposal.architecture, tag=tag)))
        good = sorted((t for t in trials if not t.failed), key=lambda t: (-self.strategy.score(t), t.number))
        if self.options.distinct:
            first: dict[str, Trial] = {}
            for trial in good:
                first.setdefault(self.domain.space.canonical(trial.proposal.architecture).key, trial)
            good = list(first.values())
        self._prefixes = good[: self.options.beam]
        if not self._prefixes:
            raise SearchDiverged(f"none of the candidates of stage {self._stage} could be scored")

    def _finish(self) -> None:
        """Leaves the last beam as the outcome: scores of earlier iterations belong to other weights."""
        self.state.forget_best()
        for trial in self._prefixes:
            key = self.domain.space.canonical(trial.proposal.architecture).key
            self.state.consider(trial, self.strategy.score(trial), key)

    # Iterations

    def _iterate(self) -> None:
        number = self._iteration
        replaying = self._resumed is not None and number < self._resumed["iteration"]
        collapsed: str | None = None
        usable = True
        if not replaying:
            began = time.perf_counter()
            record, collapsed, usable = self._train()
            record["seconds"] = round(time.perf_counter() - began, 3)
            self._pending.append(record)
        else:
            assert self._resumed is not None
            usable = number not in self._resumed["unscored"]
        self.strategy.forget()
        if usable:
            for _ in range(self.options.scored):
                proposals = self.strategy.ask(1)
                if not proposals:
                    break
                tag = {**proposals[0].tag, "stage": self._stage, "iteration": number}
                self.strategy.tell(self._measure(Proposal(proposals[0].architecture, tag=tag)))
        else:
            self._unscored.append(number)
        if collapsed is not None and not self.options.reset_before_controller:
            self._renew()
        self._iteration += 1
        if replaying:
            if self._resumed is not None and self._iteration == self._resumed["iteration"]:
                self._load(self._resumed)
        elif self._iteration % self.options.checkpoint_every == 0 or self._last_of_stage():
            self._checkpoint()

    def _last_of_stage(self) -> bool:
        return self._iteration == sum(self.options.iterations[: self._stage + 1])

    def _train(self) -> tuple[dict[str, Any], str | None, bool]:
        """Trains shared weights; returns what to say of it, why they collapsed at last, and whether to score them."""
        steps = self.options.shared_steps or max(
            1, round((self.options.shared_epochs or 1) * self.shared.steps_per_epoch)
        )
        record: dict[str, Any] = {"iteration": self._iteration, "stage": self._stage, "steps": 0, "resets": []}
        curves: dict[str, list[float]] = {name: [] for name in self.shared.losses}
        reason: str | None = None
        for attempt in range(ATTEMPTS if self.options.reset_before_controller else 1):
            part = self._iteration * ATTEMPTS + attempt
            self.shared.begin_training(Context(self.seed, part, self.device))
            reason = None
            for architecture in self.strategy.sample(steps, derive_seed(self.seed, "shared sample", part)):
                losses = self.shared.step(architecture)
                record["steps"] += 1
                for name, value in losses.items():
                    curves[name].append(value)
                reason = self._collapsed(losses)
                if reason is not None:
                    record["resets"].append({"step": record["steps"], "reason": reason})
                    break
            if reason is None:
                break
            if self.options.reset_before_controller:
                self._renew()
        record["losses"] = {name: _thinned(values) for name, values in curves.items()}
        return record, reason, reason is None or not self.options.reset_before_controller

    def _collapsed(self, losses: Mapping[str, float]) -> str | None:
        if self.monitor is not None:
            return self.monitor.push(losses)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise SearchDiverged(f"{name} is {value} in iteration {self._iteration}; lower the learning rates")
        return None

    def _renew(self) -> None:
        self._renewals += 1
        self.shared.renew(Context(self.seed, self._renewals, self.device))

    # Trials

    def _measure(self, proposal: Proposal) -> Trial:
        number = self._numbered
        self._numbered += 1
        if number < len(self._recorded):
            trial = self._recorded[number]
            if trial.proposal.architecture != proposal.architecture:
                raise RunFolderError(
                    f"trial {number} of the journal is not what the strategy proposes; "
                    "the run was made by another version or machine and cannot be resumed"
                )
            self._pending = self._pending if trial.failed else []
            self._tell(trial, replayed=True)
            return trial
        trial = self._score(number, proposal)
        self.journal.append([trial], seconds=self._seconds())
        self._tell(trial, replayed=False)
        return trial

    def _score(self, number: int, proposal: Proposal) -> Trial:
        if self._resumed is not None and self._iteration < self._resumed["iteration"]:
            raise RunFolderError(f"the journal lacks trial {number}, which came before the checkpoint")
        context = Context(self.seed, number, self.device)
        figures = self.strategy.diagnostics()
        entropies = {n.removeprefix("entropy/"): v for n, v in figures.items() if n.startswith("entropy/")}
        try:
            scored = dict(self.shared.score(proposal.architecture, context))
            first = {objective.name: scored.pop(objective.name) for objective in self.domain.shared_objectives}
            values = {_supernet(name): value for name, value in {**first, **scored}.items()}
            for objective in self.objectives:
                if not math.isfinite(values[objective.name]):
                    raise CandidateFailure("diverged", f"{objective.name} is {values[objective.name]}")
        except Exception as error:
            failure = as_failure(error)
            return Trial(number, proposal, None, failure.reason, failure.detail, seconds=context.seconds)
        # A failed trial has no place for what is to be said of iterations; the next one says it.
        diagnostics = {"entropy": entropies, "iterations": self._pending}
        self._pending = []
        measurement = Measurement(values, seconds=context.seconds, diagnostics=diagnostics)
        return Trial(number, proposal, measurement, seconds=context.seconds)

    def _tell(self, trial: Trial, replayed: bool) -> None:
        self.state.seconds = self._seconds()
        key = self.domain.space.canonical(trial.proposal.architecture).key
        self.state.take(trial, self.strategy.score(trial), key)
        for listener in self.listeners:
            listener.on_trial(trial, self.state, replayed)

    # Checkpoints

    @property
    def _file(self) -> Path | None:
        return None if self.folder is None else self.folder / CHECKPOINT

    def _checkpoint(self) -> None:
        if self._file is None:
            return
        self.journal.flush()
        write_checkpoint(
            self._file,
            {
                "iteration": self._iteration,
                "trials": self._numbered,
                "renewals": self._renewals,
                "unscored": self._unscored,
                "pending": self._pending,
                "windows": {} if self.monitor is None else self.monitor.state(),
                "shared": self.shared.state(),
            },
        )

    def _read_checkpoint(self) -> dict[str, Any] | None:
        if self._file is None or not self._file.exists():
            return None
        held = read_checkpoint(self._file, self.device)
        if held["trials"] > len(self._recorded):
            raise RunFolderError(f"{self._file}: of trial {held['trials']}, the journal has {len(self._recorded)}")
        return held

    def _load(self, held: Mapping[str, Any]) -> None:
        self._renewals = held["renewals"]
        self._pending = list(held["pending"])
        if self.monitor is not None:
            self.monitor.load(held["windows"])
        self.shared.load(held["shared"])


def _supernet(name: str) -> str:
    return Objective(name).of_supernet().name


def _thinned(values: Sequence[float]) -> list[float]:
    """Returns means of about ``CURVE`` stretches of a curve."""
    size = max(1, math.ceil(len(values) / CURVE))
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    return [float(f"{sum(part) / len(part):.5g}") for part in parts]
