"""Measuring, outside of a trial search, what a method has found as one would measure its candidates: trained alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from collections.abc import Sequence

from nichenas.core.errors import CandidateFailure
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.session.session import Session
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


def measure_alone(session: Session, found: Sequence[Trial], first: int) -> Iterator[tuple[Trial, bool]]:
    """Trains the architectures of some trials alone, on the session's executor, and writes trials of that.

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
    for place in todo:
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
            shared, outcome = found[ticket], result.outcome
            record = {"alone": True}
            trial = Trial(first + ticket, wanted[ticket], seconds=result.seconds, stage=shared.stage, record=record)
            if isinstance(outcome, CandidateFailure):
                finished[ticket] = dataclasses.replace(trial, failure=outcome.reason, detail=outcome.detail)
            else:
                assert isinstance(outcome, Measurement)
                assert shared.measurement is not None
                values = {**shared.measurement.values, **outcome.values}
                measurement = dataclasses.replace(outcome, values=values)
                finished[ticket] = dataclasses.replace(trial, measurement=measurement)
        session.append([finished[place]])
        yield finished[place], False
