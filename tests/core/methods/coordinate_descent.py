"""A search method as another package may have it: coordinate descent, one choice after another."""

from __future__ import annotations

import math

from pydantic import Field

from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.fidelity import Fidelity
from nichenas.core.methods import Method
from nichenas.core.methods import MethodSettings
from nichenas.core.objectives import score
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.budget import Budget
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class CoordinateSettings(MethodSettings):
    """The ``search`` section.

    Attributes:
        trials: budget.
        epochs: share of the full training that a candidate gets.
    """

    trials: int = Field(30, ge=1)
    epochs: float = Field(0.5, gt=0, le=1)


class CoordinateDescent(Method):
    """Tries all options of one choice, keeps the best, and takes the next choice, in an order that is drawn."""

    Options = CoordinateSettings
    summary = "coordinate descent over the choices of the space"
    needs = (ReducedFidelity,)
    measures_candidates = True
    options: CoordinateSettings

    def budget(self) -> Budget:
        """Returns the number of trials."""
        return Budget(self.options.trials)

    def run(self, session: Session) -> SearchState:
        """Searches until the trials are spent."""
        space, rng = session.domain.space, numpy_generator(session.seed, "coordinate descent")
        best, best_score, number = space.sample(rng), -math.inf, 0
        with session.searching("trials"):
            while number < self.options.trials:
                choice = space.choices[int(rng.integers(len(space.choices)))]
                if not space.is_active(choice, best):
                    continue
                for option in choice.options:
                    if number == self.options.trials:
                        break
                    wanted = space.complete({**best, choice.name: option}, lambda other: other.options[0])
                    found = self._measure(session, number, wanted)
                    number += 1
                    if found > best_score:
                        best, best_score = wanted, found
        return session.state

    def _measure(self, session: Session, number: int, architecture: Architecture) -> float:
        proposal = Proposal(architecture, Fidelity(epochs=self.options.epochs))
        known = number < len(session.recorded)
        if known:
            trial = session.recorded[number]
            session.check_replay(trial, proposal)
        else:
            session.clock.start()
            trial = self._evaluate(session, number, proposal)
            session.append([trial])
        found = -math.inf
        if trial.measurement is not None:
            found = score(session.domain.objectives, trial.measurement.values)
        session.complete(trial, found, known)
        return found

    def _evaluate(self, session: Session, number: int, proposal: Proposal) -> Trial:
        job = EvaluationJob(seed=session.seed, first=number, proposals=(proposal,), limits=session.limits)
        session.executor.submit(number, job)
        _, (result,) = session.executor.wait()
        outcome = result.outcome
        if isinstance(outcome, Measurement):
            return Trial(number, proposal, outcome, seconds=result.seconds)
        return Trial(number, proposal, None, outcome.reason, outcome.detail, seconds=result.seconds)  # type: ignore[union-attr]
