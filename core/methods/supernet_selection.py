"""Searching the space with a trained supernet: a strategy is told how architectures do in it, one running at a time.

Trials of the selection follow those of the epochs and are of a stage of their own: the score of a mixture and that of
an architecture cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping

from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import SearchDiverged
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
        SearchDiverged: when nothing could be scored, or trained alone where that is wanted.
    """
    session.state.keep = max(session.state.keep, settings.confirm)
    session.state.reset_best()
    number = first
    while number < first + settings.scored and (asked := strategy.ask(1)):
        proposal, replayed = asked[0], number < len(session.recorded)
        if replayed:
            trial = session.recorded[number]
            session.check_replay(trial, proposal)
        else:
            session.clock.start()
            began = session.clock.seconds
            try:
                measurement = checked_measurement(Measurement(scores(proposal.architecture)), session.objectives)
                trial = Trial(number, proposal, measurement, seconds=session.clock.seconds - began, stage=STAGE)
            except CandidateFailure as error:
                failure = as_failure(error)
                trial = Trial(number, proposal, failure=failure.reason, detail=failure.detail, stage=STAGE)
            session.append([trial])
        strategy.tell(trial)
        session.complete(trial, strategy.score(trial), replayed)
        number += 1
    if session.state.best is None:
        raise SearchDiverged("no architecture could be scored in the supernet")
    if settings.confirm:
        confirm(session, session.state.top(settings.confirm), number)
