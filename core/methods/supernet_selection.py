"""Searching the space with a trained supernet: a strategy is told how architectures do in it, one running at a time.

Trials of the selection follow those of the epochs and are of a stage of their own: the score of a mixture and that of
an architecture cannot be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping

from nichenas.core.gate import checked_measurement
from nichenas.core.gradient.options import SelectionSettings
from nichenas.core.methods.confirmation import confirm
from nichenas.core.session.session import Session
from nichenas.core.space import Architecture
from nichenas.core.strategies import Strategy
from nichenas.core.trial import Measurement
from nichenas.core.trial import Trial
from nichenas.core.trial import as_failure

STAGE = 1  # of the trials; that of the epochs is 0


def select(
    session: Session,
    strategy: Strategy,
    scores: Callable[[Architecture], Mapping[str, float]],
    settings: SelectionSettings,
    first: int,
) -> None:
    """Searches, and leaves the best in the session's state.

    What the journal holds already is not scored again.

    Args:
        strategy: fresh.
        scores: of an architecture in the supernet, the session's objectives among them; a ``CandidateFailure`` where it
            has none.
        first: number of the first trial.

    Raises:
        RunFolderError: when the journal is not that of this search.
        SearchDiverged: when none could be trained alone, where that is wanted.
    """
    session.state.keep = max(session.state.keep, settings.confirm)
    session.state.reset_best()
    number = first
    while number < first + settings.scored and (asked := strategy.ask(1)):
        proposal, replayed = asked[0], number < len(session.recorded)
        if replayed:
            session.check_replay(session.recorded[number], proposal)
            # A tag comes back from JSON in another form than the strategy gave it.
            trial = dataclasses.replace(session.recorded[number], proposal=proposal)
        else:
            session.clock.start()
            began = session.clock.seconds
            trial = Trial(number, proposal, stage=STAGE)
            try:
                measurement = checked_measurement(Measurement(scores(proposal.architecture)), session.objectives)
                trial = dataclasses.replace(trial, measurement=measurement)
            except Exception as error:
                failure = as_failure(error)
                trial = dataclasses.replace(trial, failure=failure.reason, detail=failure.detail)
            trial = dataclasses.replace(trial, seconds=session.clock.seconds - began)
            session.append([trial])
        strategy.tell(trial)
        session.complete(trial, strategy.score(trial), replayed)
        number += 1
    if settings.confirm and session.state.best is not None:
        confirm(session, session.state.top(settings.confirm), number)
