"""The loop of a trial search: ask, evaluate, journal, tell, until the budget is spent.

One loop serves a new run, a resumed one and every executor. At most ``executor.capacity`` batches are pending; a
batch is completed as soon as it is the next in the order of submission (or, in ``asap`` order, as soon as it is
finished), and only then is another asked for. What a strategy has been told when it is asked is therefore decided by
the order of completion alone, and a resumed run that replays the journal's trials goes through exactly the same states.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.capabilities.inheritance import WeightInheritance
from nichenas.core.capabilities.precomputed import simulates_time
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ProposalError
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import trial_checkpoint
from nichenas.core.schedulers import Scheduler
from nichenas.core.schedulers.searcher import Searcher
from nichenas.core.session.budget import Budget
from nichenas.core.session.budget import BudgetTracker
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import Architecture
from nichenas.core.space import SpaceError
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class TrialLoop:
    """Runs one trial search in a session.

    Args:
        searcher: fresh; trials of the journal are told to it first.
        budget: when to stop; what the journal holds is paid for already.
        batch: how many proposals are asked for and evaluated together.
        store: shared weights; none where every candidate is trained from scratch.
        resumable: whether trials continue others, so that their checkpoints are kept; without a run folder, for as long
            as the search runs.
    """

    def __init__(
        self,
        session: Session,
        searcher: Searcher,
        budget: Budget,
        *,
        batch: int = 1,
        store: HomogeneousStore | None = None,
        resumable: bool = False,
    ) -> None:
        self.session, self.searcher, self.budget = session, searcher, budget
        self.batch, self.store = batch, store
        self.checkpoints = session.checkpoints if resumable else None
        self._resumable = resumable
        parts = list(_parts(searcher))
        self._scheduler = next((part for part in parts if isinstance(part, Scheduler)), None)
        self._trusted = all(type(part).__module__.startswith("nichenas.core.") for part in parts)
        self._keep_meanwhile = resumable and self.checkpoints is None
        self.tracker = BudgetTracker(session.domain)
        self._simulated = simulates_time(session.domain)
        self._recorded = {trial.number: trial for trial in session.recorded}
        self._to_replay = deque(self._recorded)  # numbers in the order of completion
        self._replayed: set[int] = set()
        self._last_recorded = max(self._recorded, default=-1)
        self._asked = 0
        self._exhausted = False
        # By number of a batch's first trial, in the order of submission:
        self._pending: dict[int, list[Proposal]] = {}
        self._known: dict[int, list[Trial]] = {}  # its trials that the journal holds, the leading ones
        self._finished: dict[int, list[Trial]] = {}
        self._first_of: dict[int, int] = {}  # number of a pending trial to that of its batch

    def run(self) -> SearchState:
        """Searches until the budget is spent or the space is exhausted.

        Raises:
            RunFolderError: when the journal's trials are not those that the searcher proposes.
            Interrupted: on Ctrl-C; everything completed is on the disk.
        """
        with contextlib.ExitStack() as stack:
            if self._keep_meanwhile:  # without checkpoints a training that is continued would silently begin again
                self.checkpoints = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nichenas-")))
            stack.enter_context(self.session.searching("trials"))
            while True:
                while len(self._pending) < self.session.executor.capacity and self._may_ask() and self._ask():
                    pass
                if not self._pending:
                    break
                self._complete(self._next())
        return self.session.state

    def _may_ask(self) -> bool:
        if self._exhausted:
            return False
        if self._asked <= self._last_recorded:
            return True
        if self.budget.units is not None and self._asked >= self.budget.units:
            return False
        spent = self.tracker.seconds if self._simulated else self.session.clock.seconds
        return self.budget.seconds is None or spent < self.budget.seconds

    def _ask(self) -> bool:
        """Submits a batch; returns whether there was one."""
        first = self._asked
        # Always a whole batch, of which the budget may have room for a part: a run with a larger one asks the same.
        asked = self.searcher.ask(self.batch)
        for proposal in asked:
            self._check(proposal)
        proposals = self._affordable(first, asked)
        if not proposals:
            # While trials are pending, a scheduler may have to wait for them.
            self._exhausted = self._exhausted or not self._pending
            return False
        self._asked += len(proposals)
        self._pending[first] = proposals
        recorded = [self._recorded.pop(first + i, None) for i in range(len(proposals))]
        known = []
        for number, (proposal, trial) in enumerate(zip(proposals, recorded, strict=True), first):
            self._first_of[number] = first
            if trial is not None:
                self.session.check_replay(trial, proposal)
                # A tag comes back from JSON in another form than the strategy gave it.
                known.append(dataclasses.replace(trial, proposal=proposal))
        self._known[first] = known
        if len(known) == len(proposals):
            self._finished[first] = known
            return True
        self._submit(first, len(known), proposals)
        return True

    def _check(self, proposal: Proposal) -> None:
        """Refuses what cannot be measured; strategies of this package are tested, and spared the time.

        Raises:
            ProposalError: saying what is wrong.
        """
        if not self._trusted:
            if not isinstance(proposal, Proposal):
                raise ProposalError(f"the strategy proposed a {type(proposal).__name__}, not a Proposal")
            try:
                self.session.domain.space.architecture(dict(proposal.architecture))
            except SpaceError as error:
                raise ProposalError(f"the strategy proposed what is not in the space: {error}") from None
        if proposal.parent is not None and not self._resumable:
            raise ProposalError(
                f"a proposal continues trial {proposal.parent}, but no scheduler continues trainings here; "
                "a strategy proposes architectures, a scheduler promotes trials"
            )

    def _submit(self, first: int, known: int, proposals: Sequence[Proposal]) -> None:
        """Hands the part of a batch that is not in the journal to the executor; a grown budget may begin inside one."""
        self.session.clock.start()
        fresh = tuple(proposals[known:])
        inherited = () if self.store is None else tuple(self._inherit(self.store, proposal) for proposal in fresh)
        job = EvaluationJob(
            seed=self.session.seed,
            first=first + known,
            proposals=fresh,
            limits=self.session.limits,
            inherited=inherited,
            keep_weights=self.store is not None,
            checkpoints=self.checkpoints,
        )
        self.session.executor.submit(first, job)

    def _affordable(self, first: int, proposals: list[Proposal]) -> list[Proposal]:
        """Returns the leading proposals that the budget has room for; the search ends with the others."""
        tracker, budget = self.tracker, self.budget.epochs
        if self.budget.units is not None:
            proposals = proposals[: max(self.budget.units, self._last_recorded + 1) - first]
        for index, proposal in enumerate(proposals):
            recorded = first + index <= self._last_recorded  # paid for already
            planned = tracker.epochs + tracker.reserved + tracker.planned(proposal)
            if budget is not None and planned > budget and not recorded:
                self._exhausted = True
                return proposals[:index]
            tracker.reserve(first + index, proposal)
        return proposals

    def _inherit(self, store: HomogeneousStore, proposal: Proposal) -> dict[str, Tensor]:
        if proposal.repeat_of is not None:  # it would go on from the very weights that are to be confirmed
            return {}
        return store.inherit(self._share_keys(proposal.architecture))

    def _share_keys(self, architecture: Architecture) -> Mapping[str, ShareKey]:
        domain = self.session.domain
        assert isinstance(domain, WeightInheritance)
        return domain.share_keys(architecture)

    def _next(self) -> int:
        """Returns the first trial number of the batch to be completed next, once it is finished."""
        while True:
            following: int | None
            # In asap order a batch that was completed in two sessions stands in two places of the journal.
            while self._to_replay and self._to_replay[0] in self._replayed:
                self._replayed.remove(self._to_replay.popleft())
            if self._to_replay and self._to_replay[0] in self._first_of:
                following = self._first_of[self._to_replay[0]]
            elif self.session.order == "strict":
                following = next(iter(self._pending))
            else:
                following = next(iter(self._finished), None)
            if following is not None and following in self._finished:
                return following
            ticket, results = self.session.executor.wait()
            known = self._known[ticket]
            fresh = enumerate(zip(self._pending[ticket][len(known) :], results, strict=True), ticket + len(known))
            self._finished[ticket] = [*known, *(self._trial(number, *both) for number, both in fresh)]

    def _trial(self, number: int, proposal: Proposal, result: Result) -> Trial:
        outcome = result.outcome
        if isinstance(outcome, Measurement):
            epochs = self.tracker.charge(number, outcome)
            return Trial(number, proposal, outcome, seconds=result.seconds, epochs=epochs)
        assert isinstance(outcome, CandidateFailure)
        epochs = self.tracker.charge(number, None)
        return Trial(
            number,
            proposal,
            measurement=None,
            failure=outcome.reason,
            detail=outcome.detail,
            seconds=result.seconds,
            epochs=epochs,
        )

    def _complete(self, first: int) -> None:
        trials = self._finished.pop(first)
        del self._pending[first]
        known = {trial.number for trial in self._known.pop(first)}
        for trial in trials:
            del self._first_of[trial.number]
        self._replayed |= known
        if self.store is not None:
            self._share(self.store, trials, known)
        if len(known) < len(trials):
            self.session.append([trial for trial in trials if trial.number not in known])
            if self.store is not None:
                self.session.journal.flush()
                self.store.clean()
        for trial in trials:
            self.tracker.settle(trial)
            self.searcher.tell(trial)
            state = self.session.state
            state.epochs, state.training_seconds = self.tracker.epochs, self.tracker.seconds
            self.session.complete(_without_weights(trial), self.searcher.score(trial), trial.number in known)
        if self._scheduler is not None:
            self._remove_checkpoints(self._scheduler.obsolete_checkpoints())

    def _share(self, store: HomogeneousStore, trials: Sequence[Trial], known: set[int]) -> None:
        for trial in trials:
            if trial.measurement is None:
                continue
            keys, score = self._share_keys(trial.proposal.architecture), self.searcher.score(trial)
            if trial.number in known:
                store.restore(trial.number, score, keys)
            else:
                store.update(trial.number, score, keys, trial.measurement.weights)

    def _remove_checkpoints(self, numbers: Sequence[int]) -> None:
        """Removes the checkpoints of trials that will not be continued, once the journal says so too."""
        files = [] if self.checkpoints is None else [trial_checkpoint(self.checkpoints, n) for n in numbers]
        files = [file for file in files if file.exists()]
        if files:
            self.session.journal.flush()
        for file in files:
            file.unlink()


def _parts(searcher: object) -> Iterator[object]:
    """Yields what is asked, what that asks, and so on."""
    part: object | None = searcher
    while part is not None:
        yield part
        part = getattr(part, "searcher", None) or getattr(part, "strategy", None)


def _without_weights(trial: Trial) -> Trial:
    if trial.measurement is None or not trial.measurement.weights:
        return trial
    return dataclasses.replace(trial, measurement=dataclasses.replace(trial.measurement, weights={}))
