"""The loop of a gradient search: weights and architecture parameters trained together, an epoch a row of the journal.

Every epoch ends with a trial: the architecture that would be derived now, with the supernet's score on validation
data and, as diagnostics, parameters, mixture, costs and entropies. A checkpoint follows it. A run that was stopped
continues from its last checkpoint and repeats the epochs after it: every draw of an epoch comes from
(run seed, purpose, epoch), so they come out the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import SearchDiverged
from nichenas.core.gate import checked_measurement
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.gradient.effect import search_effect
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.regularisers import entropies
from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.relaxations import discrete
from nichenas.core.gradient.resources import Resources
from nichenas.core.gradient.steps import copies
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.training import LOWER
from nichenas.core.gradient.training import EpochResult
from nichenas.core.gradient.training import SupernetTraining
from nichenas.core.methods.supernet_selection import select
from nichenas.core.objectives import Objective
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.space import Architecture
from nichenas.core.strategies import Strategy
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

CHECKPOINT = "gradient.pt"
LOSS = Objective("loss[supernet]", "minimize")


class GradientLoop:
    """Trains weights and architecture parameters together in a session.

    Args:
        session: of a domain with a supernet; without a run folder an interrupted search begins again.
        epochs: of the search.
        seconds: after which no epoch is begun; none for no limit.
        strategy: fresh, to search the space with the trained supernet; none where the architecture is the mixture's.

    Raises:
        ConfigError: when a second-order step would take finite differences of a network that is binary at some time.
    """

    def __init__(
        self,
        session: Session,
        options: GradientOptions,
        epochs: int,
        seconds: float | None = None,
        strategy: Strategy | None = None,
    ) -> None:
        domain = session.domain
        assert isinstance(domain, DifferentiableSupernet)
        self.session, self.options, self.domain = session, options, domain
        self.epochs, self.seconds, self.strategy = epochs, seconds, strategy
        self._recorded = [trial for trial in session.recorded if trial.stage == 0]  # of epochs
        self.seed, self.device = session.seed, session.device
        self.objective = session.domain.objectives[0].of_supernet()
        context = Context(self.seed, device=self.device)
        self.supernet = domain.supernet(context, options.activation_checkpointing)
        held_out = 0.0 if options.step in ("single-level", "none") else options.held_out
        self.data = domain.search_data(context, options.batch, held_out)
        self.resources = Resources(options.resources, domain.resources() if options.resources else {})
        self.training = SupernetTraining(
            self.supernet, self.data, options, self.resources, self.seed, self.epochs, self.device
        )
        self._epoch = 0
        self._kept_epoch = 0  # of the last checkpoint
        self._stable = 0
        self._last_kept: Kept | None = None

    def run(self) -> SearchState:
        """Trains until the epochs, the seconds, or the patience are used up.

        Raises:
            RunFolderError: when the journal is not that of this search.
            SearchDiverged: when the loss or the score is not finite; the epochs before are kept.
            Interrupted: on Ctrl-C; finished epochs are kept.
        """
        session, recorded = self.session, self._recorded
        self._resume()
        reason = self._recorded_reason()
        with session.searching("epochs" if self.strategy is None else "measurements"):
            while reason is None and self._epoch < self.epochs:
                if self._epoch >= len(recorded):
                    session.clock.start()
                if self.seconds is not None and session.clock.seconds >= self.seconds:
                    reason = "seconds"
                    break
                trial = self._train_epoch()
                if trial.number < len(recorded):
                    session.check_replay(recorded[trial.number], trial.proposal, "epoch")
                else:
                    session.append([trial])
                    session.journal.flush()
                    self._complete(trial, replayed=False)
                reason = self._reason_to_stop(trial)
                if self._epoch % self.options.checkpoint_every == 0 or self._epoch == self.epochs or reason:
                    self._checkpoint()
            session.journal.set_meta("stopped", reason or "epochs")
            if self._epoch > 0 and self.options.effect.random and self.options.step != "none":
                held = session.journal.meta("effect")
                if held is None or held["epochs"] != self._epoch:  # a run that ran out of seconds may go on later
                    session.journal.set_meta("effect", {"epochs": self._epoch, **self._effect()})
            if self._epoch > 0 and self.strategy is not None and self.options.select is not None:
                if self._kept_epoch != self._epoch:
                    self._checkpoint()
                self.enter_last_epoch()
                select(session, self.strategy, self.scores, self.options.select, self._epoch)
        return session.state

    def _effect(self) -> dict[str, Any]:
        """Returns whether the search did anything, judged by the supernet as it is after the last epoch."""
        self.enter_last_epoch()
        with torch.no_grad():
            mixture, uniform = (of(self._epoch - 1) for of in (self.training.mixture, self.training.uniform))
        rng = numpy_generator(self.seed, "random architectures")
        options = self.options
        return search_effect(
            self.supernet, self.data.validation, mixture, uniform, options.discretise, self._kept, rng, options.effect
        )

    def enter_last_epoch(self) -> None:
        """Brings the supernet, after its training, to where it was in it: what was binary then is binary."""
        self.supernet.train()
        self.supernet.begin_epoch((self._epoch - 1) / self.epochs)

    @torch.no_grad()
    def scores(self, architecture: Architecture) -> dict[str, float]:
        """Returns score, loss and costs of an architecture that runs alone in the supernet.

        Raises:
            CandidateFailure: when it costs more than may be.
        """
        single = one_hot(self.domain.kept(architecture), self.supernet.groups, self.training.mixture(self._epoch - 1))
        costs = self.resources.costs(single)
        for one in self.options.resources:
            if one.most is not None and costs[one.kind] > one.most:
                raise CandidateFailure("over the limit", f"{costs[one.kind]:,.0f} {one.kind}; at most {one.most:,.0f}")
        score, loss = self._validate(discrete(single))
        return {self.objective.name: score, LOSS.name: loss, **costs}

    def _kept(self, mixture: Mapping[str, Tensor]) -> Kept:
        """Returns what is kept of a mixture, within the limits."""
        rule, groups = self.options.discretise, self.supernet.groups
        return self.resources.within(rule.kept(mixture, groups), mixture, groups, rule)

    # Resuming

    def _resume(self) -> None:
        held = self.session.read_checkpoint(CHECKPOINT)
        if held is not None:
            self.training.load(held)
            self._epoch = self._kept_epoch = held["epoch"]
            self._stable = held["stable"]
            self._last_kept = {n: tuple((int(e), o) for e, o in edges) for n, edges in held["kept"].items()}
        for trial in self._recorded:
            self._complete(trial, replayed=True)

    def _checkpoint(self) -> None:
        self._kept_epoch = self._epoch
        self.session.write_checkpoint(
            CHECKPOINT,
            self._epoch,
            {
                "epoch": self._epoch,
                "stable": self._stable,
                "kept": {name: [list(pair) for pair in edges] for name, edges in (self._last_kept or {}).items()},
                **self.training.state(),
            },
        )

    def _complete(self, trial: Trial, replayed: bool) -> None:
        value = self.objective.sign * trial.value(self.objective)
        # A collapsed epoch is never chosen while there is another one.
        penalty = -1e6 if trial.record.get("collapsed") else 0.0
        score = (float(trial.number) if self.options.choose == "last" else value) + penalty
        self.session.complete(trial, score, replayed)

    # One epoch

    def _train_epoch(self) -> Trial:
        epoch, began = self._epoch, time.perf_counter()
        trained = self.training.train(epoch)
        trial = self._measure(epoch, trained, time.perf_counter() - began)
        self._epoch += 1
        return trial

    # What an epoch results in

    @torch.no_grad()
    def _measure(self, epoch: int, trained: EpochResult, seconds: float) -> Trial:
        training = self.training
        mixture = training.mixture(epoch)
        kept = self._kept(mixture)
        architecture = self.domain.derived(kept)
        score, held_loss = self._validate(Mix(mixture))
        single = one_hot(kept, self.supernet.groups, mixture)
        derived = self.resources.costs(single)
        discretised, _ = self._validate(discrete(single))
        self._stable = self._stable + 1 if kept == self._last_kept else 0
        self._last_kept = kept
        diagnostics: dict[str, Any] = {
            "temperature": trained.temperature,
            "lr": trained.lr,
            "train_loss": trained.loss,
            "groups": {group.name: group.to_dict() for group in self.supernet.groups} if epoch == 0 else {},
            "parameters": {name: _table(values) for name, values in training.parameters.items()},
            "mixture": {name: _table(values) for name, values in mixture.items()},
            "entropy": {name: float(entropies(values).mean()) for name, values in mixture.items()},
            "margin": {name: _margin(values) for name, values in mixture.items()},
            "kept": {name: [list(pair) for pair in edges] for name, edges in kept.items()},
            "stable": self._stable,
            "distinguished": training.noise.epoch(),
            "expected": self.resources.costs(mixture),
        }
        if self.options.wiring:
            diagnostics["wiring"] = training.recorder.epoch()
        collapsed = self._collapsed(kept)
        name = self.objective.name
        plain = self.session.domain.objectives[0].name
        measurement = Measurement(
            values={name: score, f"{plain}[discretised supernet]": discretised, LOSS.name: held_loss, **derived},
            diagnostics=diagnostics,
            scalars={
                "gradient/temperature": trained.temperature,
                **{f"gradient/entropy {name}": value for name, value in diagnostics["entropy"].items()},
                **{f"gradient/expected {name}": value for name, value in diagnostics["expected"].items()},
            },
        )
        try:
            checked = checked_measurement(measurement, [self.objective])
        except CandidateFailure as failure:
            raise SearchDiverged(f"epoch {epoch}: {failure.detail}; {LOWER}") from None
        record = {"collapsed": True} if collapsed else {}
        return Trial(epoch, Proposal(architecture), checked, seconds=seconds, record=record)

    def _validate(self, mix: Mix) -> tuple[float, float]:
        """Returns mean score and loss on validation data; normalisations use the batch, as in training."""
        values = copies(self.supernet, mix, differentiable=False)
        scores, losses, count = 0.0, 0.0, 0
        for inputs, targets in self.data.validation.eval_batches():
            outputs = self.supernet(inputs, values, mix.active)
            scores += float(self.supernet.sample_scores(outputs, targets).double().sum())
            losses += float(self.supernet.sample_losses(outputs, targets).double().sum())
            count += len(targets)
        return scores / max(1, count), losses / max(1, count)

    def _collapsed(self, kept: Kept) -> bool:
        limit = self.options.early_stop.skips
        if limit is None:
            return False
        return any(
            sum(operation == group.skip for _, operation in kept[group.name]) > limit for group in self.supernet.groups
        )

    def _reason_to_stop(self, trial: Trial) -> str | None:
        stop = self.options.early_stop
        if trial.number + 1 < max(stop.after, self.options.warm_up + 1):
            return None
        if trial.record.get("collapsed"):
            return "skip collapse"
        if stop.stable is not None and self._stable >= stop.stable:
            return "stable architecture"
        return None

    def _recorded_reason(self) -> str | None:
        """Returns why a finished search ended early, when it is opened again."""
        recorded = self._recorded
        if len(self.session.recorded) > len(recorded):  # the selection has begun with the supernet as it was then
            if self._epoch < len(recorded):
                raise RunFolderError(
                    f"the search has {len(recorded)} epochs and has begun to select from its supernet, but "
                    f"{CHECKPOINT} is {f'of epoch {self._epoch}' if self._epoch else 'not there'}; start a new run"
                )
            return str(self.session.journal.meta("stopped", "epochs"))
        if recorded and self._epoch == len(recorded):
            return self._reason_to_stop(recorded[-1])
        return None


def _table(values: Tensor) -> list[list[float]]:
    return [[float(f"{v:.6g}") for v in row] for row in values.detach().tolist()]


def _margin(values: Tensor) -> float:
    """Returns the mean difference between the two operations of an edge that count most."""
    if values.shape[1] < 2:
        return 1.0
    top = values.topk(2, 1).values
    return float((top[:, 0] - top[:, 1]).mean())
