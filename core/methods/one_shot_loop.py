"""The loop of a one-shot search: shared weights are trained, and architectures scored with them, in turn.

Every iteration trains the weights on architectures that the strategy samples, then asks it for proposals, scores
them with the weights as they are, and tells it. In a search of several stages the best candidates at the end of one
are the prefixes that the next one extends, with a strategy of its own (multi-level search with a beam; AutoGAN, Gong
et al. 2019). Any strategy of :class:`~nichenas.core.strategies.OneShotStrategy` can be used.

A trial is one architecture that was scored, of a stage's space. A checkpoint follows an iteration. A resumed search
goes through the same loop: up to the checkpoint it takes scores from the journal and trains nothing, so the strategies
and the beams come out as they were; after it, weights are trained again, and scores that the journal holds already
are not measured twice.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import SearchDiverged
from nichenas.core.gate import checked_measurement
from nichenas.core.methods.confirmation import confirm
from nichenas.core.objectives import Objective
from nichenas.core.seeds import derive_seed
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.sharing.one_shot import OneShotOptions
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.sharing.reset import CollapseMonitor
from nichenas.core.sharing.samplers import SAMPLERS
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.core.trial import as_failure

MakeStrategy = Callable[[SearchSpace, Sequence[Objective], int], OneShotStrategy]
CHECKPOINT = "one_shot.pt"
ATTEMPTS = 2  # trainings an iteration may begin; one that collapses again leaves nothing worth scoring
CURVE = 20  # points of the losses that are kept an iteration


class OneShotLoop:
    """Trains shared weights and scores architectures with them, in turn, in a session.

    Args:
        session: of a domain with shared weights; without a run folder an interrupted search begins again.
        strategy: makes the strategy of a stage from (space, objectives, seed).

    Attributes:
        strategy: of the present stage.
        objectives: as they are measured, named as the supernet's.
    """

    def __init__(self, session: Session, options: OneShotOptions, strategy: MakeStrategy) -> None:
        domain = session.domain
        assert isinstance(domain, SharedWeights)
        self.session, self.options, self.domain = session, options, domain
        self.seed, self.device = session.seed, session.device
        self.objectives = tuple(objective.of_supernet() for objective in domain.shared_objectives)
        self.state = session.state
        self.state.keep = max(self.state.keep, options.candidates)
        self.shared = domain.shared_training(Context(self.seed, device=self.device))
        reset = options.reset
        self.monitor = None if reset is None else CollapseMonitor(reset, self.shared.losses, self.shared.gated_loss)
        self._make = strategy
        self._stage, self._iteration = 0, 0
        self._resets = 0
        self._unscored: list[int] = []  # iterations whose weights collapsed again
        self._prefixes: list[Trial] = []  # the beam of the last stage that ended
        self._recorded = session.recorded
        self._resumed = session.read_checkpoint(CHECKPOINT)
        self._numbered = 0
        self._notes: list[dict[str, Any]] = []  # what to say of iterations, with the next trial
        self.strategy = self._strategy([], [])
        session.diagnostics = lambda: self.strategy.diagnostics()

    def run(self) -> SearchState:
        """Searches through all stages.

        Raises:
            RunFolderError: when the journal is not that of this search.
            SearchDiverged: when a loss is not finite and weights may not be reinitialised.
            Interrupted: on Ctrl-C; finished iterations are kept.
        """
        with self.session.searching("scored architectures"):
            for stage, iterations in enumerate(self.options.iterations):
                if stage > 0:
                    self._next_stage()
                for _ in range(iterations):
                    self._iterate()
                self._beam()
            self._finish()
        return self.state

    # Stages

    def _strategy(self, beam: Sequence[Trial], memories: Sequence[Mapping[str, Tensor]]) -> OneShotStrategy:
        count = self.domain.stages[self._stage]
        space = self.domain.space.first(count)
        if beam:
            space = space.extending([trial.proposal.architecture for trial in beam])
        seed = derive_seed(self.seed, "strategy of the stage", self._stage) if self._stage else self.seed
        strategy = self._make(space, self.objectives, seed)
        if beam:
            strategy.import_state(memories)
        return strategy

    def _next_stage(self) -> None:
        memories = [self.strategy.export_state(trial.proposal) for trial in self._prefixes]
        self._stage += 1
        self.strategy = self._strategy(self._prefixes, memories)
        self.shared.begin_stage(self._stage)
        self.state.reset_best()

    def _beam(self) -> None:
        """Scores the candidates of the stage and keeps the best of them, best first."""
        best = [trial.proposal for trial in self.state.top(self.options.candidates)]
        trials = []
        for proposal in self.strategy.candidates(self.options.candidates, best):
            trials.append(self._measure(proposal, final=True))
        good = sorted((t for t in trials if not t.failed), key=lambda t: (-self.strategy.score(t), t.number))
        good = self._distinct(good) if self.options.distinct else good
        self._prefixes = good[: self.options.beam]
        if not self._prefixes:
            raise SearchDiverged(f"none of the candidates of stage {self._stage} could be scored")

    def _distinct(self, trials: Sequence[Trial]) -> list[Trial]:
        """Returns the first trial of every architecture."""
        first: dict[str, Trial] = {}
        for trial in trials:
            first.setdefault(self.session.identity(trial), trial)
        return list(first.values())

    def _finish(self) -> None:
        """Leaves the last beam as the outcome: scores of earlier iterations belong to other weights."""
        if self.options.confirm:
            confirm(self.session, self._distinct(self._prefixes)[: self.options.confirm], self._numbered)
            return
        self.state.reset_best()
        for trial in self._prefixes:
            self.state.offer(trial, self.strategy.score(trial), self.session.identity(trial))

    # Iterations

    def _iterate(self) -> None:
        number = self._iteration
        replaying = self._resumed is not None and number < self._resumed["iteration"]
        collapsed: str | None = None
        usable = True
        if not replaying:
            if self._numbered >= len(self._recorded):
                self.session.clock.start()
            began = time.perf_counter()
            record, collapsed, usable = self._train()
            record["seconds"] = round(time.perf_counter() - began, 3)
            self._notes.append(record)
        else:
            assert self._resumed is not None
            usable = number not in self._resumed["unscored"]
        self.strategy.reset_history()
        if usable:
            for _ in range(self.options.scored):
                proposals = self.strategy.ask(1)
                if not proposals:
                    break
                self.strategy.tell(self._measure(proposals[0], iteration=number))
        else:
            self._unscored.append(number)
        if collapsed is not None and not self.options.reset_before_controller:
            self._reset()
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
            self.shared.begin_training(Context(self.seed, part, device=self.device))
            reason = None
            drawn = self._drawn(steps * self.options.paths, derive_seed(self.seed, "shared sample", part))
            for step in range(steps):
                paths = drawn[step * self.options.paths : (step + 1) * self.options.paths]
                progress = (self._iteration + step / steps) / sum(self.options.iterations)
                losses = self.shared.step(paths, progress)
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
                self._reset()
        record["losses"] = {name: _thinned(values) for name, values in curves.items()}
        return record, reason, reason is None or not self.options.reset_before_controller

    def _drawn(self, count: int, seed: int) -> list[Architecture]:
        if self.options.sampler is None:
            return self.strategy.sample(count, seed)
        return SAMPLERS[self.options.sampler](self.strategy.space, count, numpy_generator(seed, "samples"))

    def _collapsed(self, losses: Mapping[str, float]) -> str | None:
        if self.monitor is not None:
            return self.monitor.push(losses)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise SearchDiverged(f"{name} is {value} in iteration {self._iteration}; lower the learning rates")
        return None

    def _reset(self) -> None:
        self._resets += 1
        self.shared.reinitialise(Context(self.seed, self._resets, device=self.device))

    # Trials

    def _measure(self, proposal: Proposal, iteration: int | None = None, final: bool = False) -> Trial:
        number = self._numbered
        self._numbered += 1
        if number < len(self._recorded):
            trial = self._recorded[number]
            self.session.check_replay(trial, proposal)
            trial = dataclasses.replace(trial, proposal=proposal)
            self._notes = self._notes if trial.failed else []
            self._complete(trial, replayed=True)
            return trial
        self.session.clock.start()
        trial = self._score(number, proposal)
        record = {} if iteration is None else {"iteration": iteration}
        trial = dataclasses.replace(trial, stage=self._stage, final=final, record=record)
        self.session.append([trial])
        self._complete(trial, replayed=False)
        return trial

    def _score(self, number: int, proposal: Proposal) -> Trial:
        if self._resumed is not None and self._iteration < self._resumed["iteration"]:
            raise RunFolderError(f"the journal lacks trial {number}, which came before the checkpoint")
        context = Context(self.seed, number, device=self.device)
        figures = self.strategy.diagnostics()
        entropies = {n.removeprefix("entropy/"): v for n, v in figures.items() if n.startswith("entropy/")}
        try:
            scored = dict(self.shared.score(proposal.architecture, context))
            # Objectives first; one that is missing is the gate's business.
            names = [objective.name for objective in self.domain.shared_objectives]
            values = {_of_supernet(name): scored[name] for name in [*names, *scored] if name in scored}
            # A failed trial has no place for what is to be said of iterations; the next one says it.
            diagnostics = {"entropy": entropies, "iterations": self._notes}
            measurement = checked_measurement(Measurement(values, diagnostics=diagnostics), self.objectives)
        except Exception as error:
            failure = as_failure(error)
            return Trial(
                number,
                proposal,
                measurement=None,
                failure=failure.reason,
                detail=failure.detail,
                seconds=context.seconds,
            )
        self._notes = []
        return Trial(number, proposal, measurement, seconds=context.seconds)

    def _complete(self, trial: Trial, replayed: bool) -> None:
        self.session.complete(trial, self.strategy.score(trial), replayed)

    # Checkpoints

    def _checkpoint(self) -> None:
        self.session.write_checkpoint(
            CHECKPOINT,
            self._numbered,
            {
                "iteration": self._iteration,
                "resets": self._resets,
                "unscored": self._unscored,
                "notes": self._notes,
                "windows": {} if self.monitor is None else self.monitor.state(),
                "shared": self.shared.state(),
            },
        )

    def _load(self, held: Mapping[str, Any]) -> None:
        # Until journal version 1 these two had other names.
        self._resets = held["resets"] if "resets" in held else held["renewals"]
        self._notes = list(held["notes"] if "notes" in held else held["pending"])
        if self.monitor is not None:
            self.monitor.load(held["windows"])
        self.shared.load(held["shared"])


def _of_supernet(name: str) -> str:
    return Objective(name).of_supernet().name


def _thinned(values: Sequence[float]) -> list[float]:
    """Returns means of about ``CURVE`` stretches of a curve."""
    size = max(1, math.ceil(len(values) / CURVE))
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    return [float(f"{sum(part) / len(part):.5g}") for part in parts]
