"""The last word on what shared weights have found: the best are trained alone, as candidates of a trial search are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence

from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import SearchDiverged
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import Result
from nichenas.core.session.session import Session
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


def confirm(session: Session, found: Sequence[Trial], first: int) -> None:
    """Trains the architectures of some trials alone, and leaves the best of them in the session's state.

    Args:
        found: see :func:`measure_alone`, as ``first``.

    Raises:
        SearchDiverged: when none could be trained.
    """
    objective = criterion_of(session.domain) or session.domain.objectives[0]
    session.state.keep = max(session.state.keep, len(found))
    session.state.reset_best()
    for trial, replayed in measure_alone(session, found, first):
        score = float("-inf") if trial.measurement is None else objective.sign * trial.value(objective)
        session.state.epochs += trial.epochs
        session.state.training_seconds += trial.training_seconds
        session.complete(trial, score, replayed)
    if session.state.best is None:
        raise SearchDiverged("none of the best architectures could be trained alone")


def measure_alone(session: Session, found: Sequence[Trial], first: int) -> Iterator[tuple[Trial, bool]]:
    """Trains the architectures of some trials alone, on the session's executor, and writes trials of that.

    These are of the stage after that of ``found``: what a network does alone cannot be compared with what it does with
    shared weights.

    Args:
        found: whose figures the new trials carry too, beside their own.
        first: number of the first new trial; the others follow in the order of ``found``.

    Yields:
        Trials in that order, whatever ends first, with whether the journal had them already; they are in the journal.

    Raises:
        RunFolderError: when the journal has others in these places.
    """
    wanted = [Proposal(trial.proposal.architecture) for trial in found]
    known = session.recorded[first : first + len(found)]
    for trial, proposal in zip(known, wanted, strict=False):
        session.check_replay(trial, proposal)
        yield trial, True
    todo = list(range(len(known), len(found)))
    finished: dict[int, Trial] = {}
    submitted = 0
    for place in todo:  # results are taken in this order, whatever ends first
        while place not in finished:
            while submitted < len(todo) and submitted - len(finished) < session.executor.capacity:
                session.clock.start()
                position = todo[submitted]
                job = EvaluationJob(
                    seed=session.seed,
                    first=first + position,
                    proposals=(wanted[position],),
                    limits=session.limits,
                )
                session.executor.submit(position, job)
                submitted += 1
            ticket, (result,) = session.executor.wait()
            finished[ticket] = _alone(found[ticket], first + ticket, result)
        session.append([finished[place]])
        yield finished[place], False


def _alone(shared: Trial, number: int, result: Result) -> Trial:
    """Returns the trial of an architecture alone, with the figures of shared weights beside its own."""
    proposal, outcome = Proposal(shared.proposal.architecture), result.outcome
    trial = Trial(number, proposal, seconds=result.seconds, stage=shared.stage + 1)
    if isinstance(outcome, CandidateFailure):
        return dataclasses.replace(trial, failure=outcome.reason, detail=outcome.detail)
    assert isinstance(outcome, Measurement)
    assert shared.measurement is not None
    values = {**shared.measurement.values, **outcome.values}
    return dataclasses.replace(
        trial, measurement=dataclasses.replace(outcome, values=values), epochs=outcome.epochs or 0
    )
