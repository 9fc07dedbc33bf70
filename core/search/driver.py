"""The trial driver: ask, execute, journal, tell, until the budget is spent.

One loop serves a new run, a resumed one and every executor. At most ``executor.capacity`` batches are out; a
batch is told as soon as it is the next in the order of asking (or, in ``asap`` order, as soon as it is finished),
and only then is another asked. What a strategy has been told when it is asked is therefore decided by the order of
telling alone, and a resumed run that tells the journal's trials first goes through exactly the same states.
"""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections import Counter
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Literal
from typing import Protocol

from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.domain import Measurement
from nichenas.core.domain import Proposal
from nichenas.core.domain import Trial
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.search.executors import Executor
from nichenas.core.search.journal import Journal
from nichenas.core.search.ledger import Ledger
from nichenas.core.search.work import Evaluation
from nichenas.core.search.work import Result
from nichenas.core.search.work import trial_checkpoint
from nichenas.core.sharing.homogeneous import HomogeneousStore
from torch import Tensor


@dataclass(frozen=True)
class Budget:
    """When a search ends, whichever comes first.

    Attributes:
        trials: so many are made.
        seconds: no trial is begun after so many; of a domain that looks them up, those that it says training took.
        epochs: so many are trained by all trials together; none is begun that might exceed them.
    """

    trials: int | None = None
    seconds: float | None = None
    epochs: int | None = None


@dataclass
class SearchState:
    """What a search has come to; memory does not grow with the number of trials.

    Attributes:
        keep: how many of the best architectures are kept. Those that were measured at a higher fidelity are better
            than all others, since scores of different fidelities cannot be compared.
        seconds: spent, over all sessions of the run.
        epochs: trained by all trials; 0 where the domain does not count them.
        training_seconds: that measurements took, or would have taken where they are looked up.
    """

    keep: int = 10
    told: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    epochs: int = 0
    training_seconds: float = 0.0
    best: Trial | None = None
    best_score: float = float("-inf")
    _best_key: tuple[float, float] = (0.0, float("-inf"))
    _heap: list[tuple[tuple[float, float], int, str, Trial]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return sum(self.failures.values())

    def take(self, trial: Trial, score: float, identity: str) -> None:
        """Takes in a told trial; ``identity`` is the key of its canonical form."""
        self.told += 1
        if trial.failed:
            self.failures[trial.failure or "error"] += 1
            return
        self.consider(trial, score, identity)

    def forget_best(self) -> None:
        """Forgets the best trials, but not how many there were: what follows cannot be compared with them."""
        self.best, self.best_score, self._best_key = None, float("-inf"), (0.0, float("-inf"))
        self._heap.clear()

    def consider(self, trial: Trial, score: float, identity: str) -> None:
        """Keeps a trial if it is among the best; it is not counted."""
        key = (trial.proposal.fidelity.cost, score)
        if key > self._best_key and score > float("-inf"):
            self.best, self.best_score, self._best_key = trial, score, key
        entry = (key, -trial.number, identity, trial)
        same = next((i for i, kept in enumerate(self._heap) if kept[2] == identity), None)
        if same is not None:
            self._heap[same] = max(self._heap[same], entry, key=lambda e: e[:2])
            heapq.heapify(self._heap)
        elif len(self._heap) < self.keep:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def top(self, n: int) -> list[Trial]:
        """Returns the best trials of different architectures, best first; the earlier of equals comes first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda e: e[:2], reverse=True)[:n]]


class Listener(Protocol):
    """Is told what a search does; for progress, curves and tests."""

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Called after every told trial; ``replayed`` for those that came from the journal."""
        ...


class Searcher(Protocol):
    """What the driver asks and tells: a strategy, a schedule over one, or a fixed list."""

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns up to ``n`` proposals; fewer only while trials are out, or when there is nothing left."""
        ...

    def tell(self, trial: Trial) -> None:
        """Takes in a finished trial."""
        ...

    def score(self, trial: Trial) -> float:
        """Returns one number, larger is better, for trials of the same fidelity."""
        ...

    def released(self) -> list[int]:
        """Returns the trials, since the last call, whose weights nobody will need again."""
        ...

    def diagnostics(self) -> dict[str, float]:
        """Returns figures worth a curve."""
        ...


class TrialDriver:
    """Runs one search.

    Args:
        domain: prepared.
        strategy: fresh; trials of the journal are told to it first.
        executor: where proposals are evaluated.
        journal: open; may hold trials of an earlier session.
        budget: when to stop.
        seed: of the run.
        batch: how many proposals are asked and evaluated together.
        order: ``strict`` tells in the order of asking; ``asap`` as trials finish, which depends on timing.
        limits: of every candidate.
        store: shared weights; none where every candidate is trained from scratch.
        listeners: told of every trial.
        keep: how many of the best architectures the outcome holds.
        checkpoints: folder for trainings in parts; none where no trial continues another.
    """

    def __init__(
        self,
        domain: Domain,
        strategy: Searcher,
        executor: Executor,
        journal: Journal,
        budget: Budget,
        seed: int,
        batch: int = 1,
        order: Literal["strict", "asap"] = "strict",
        limits: Limits | None = None,
        store: HomogeneousStore | None = None,
        listeners: Sequence[Listener] = (),
        keep: int = 10,
        checkpoints: Path | None = None,
    ) -> None:
        self.domain = domain
        self.strategy = strategy
        self.executor = executor
        self.journal = journal
        self.budget = budget
        self.seed = seed
        self.batch = batch
        self.order = order
        self.limits = limits or Limits()
        self.store = store
        self.listeners = listeners
        self.checkpoints = checkpoints
        self.ledger = Ledger(domain)
        self.state = SearchState(keep)
        self._recorded = {trial.number: trial for trial in journal.trials()}
        self._to_replay = deque(self._recorded)  # numbers in the order of telling
        self._last_recorded = max(self._recorded, default=-1)
        self._spent_before = float(journal.meta("seconds", 0.0))
        self._started = time.perf_counter()
        self._asked = 0
        self._exhausted = False
        self._out: dict[int, list[Proposal]] = {}  # by number of the batch's first trial, in the order of asking
        self._known: dict[int, list[Trial]] = {}  # of those: the trials that the journal holds, its leading ones
        self._finished: dict[int, list[Trial]] = {}

    def run(self) -> SearchState:
        """Searches until the budget is spent or the space is exhausted.

        Raises:
            RunFolderError: when the journal's trials are not those that the strategy proposes.
            Interrupted: on Ctrl-C; everything told is on the disk.
        """
        try:
            while True:
                while len(self._out) < self.executor.capacity and self._may_ask() and self._ask():
                    pass
                if not self._out:
                    break
                self._tell(self._next())
            self.state.seconds = self._seconds()
            self.journal.set_meta("seconds", self.state.seconds)
            self.journal.flush()
        except KeyboardInterrupt:
            self.journal.flush()
            raise Interrupted(f"interrupted after {self.state.told} trials") from None
        return self.state

    def diagnostics(self) -> dict[str, float]:
        """Returns the strategy's figures."""
        return self.strategy.diagnostics()

    def _seconds(self) -> float:
        return self._spent_before + time.perf_counter() - self._started

    def _may_ask(self) -> bool:
        if self._exhausted or (self.budget.trials is not None and self._asked >= self.budget.trials):
            return False
        if self._asked <= self._last_recorded:
            return True
        if self.budget.seconds is None:
            return True
        return (self.ledger.seconds if self.domain.simulated else self._seconds()) < self.budget.seconds

    def _ask(self) -> bool:
        """Sends a batch out; returns whether there was one."""
        first = self._asked
        # Always a whole batch, of which the budget may have room for a part: a run with a larger one asks the same.
        proposals = self._affordable(first, self.strategy.ask(self.batch))
        if not proposals:
            # While trials are out, a schedule may have to wait for them.
            self._exhausted = self._exhausted or not self._out
            return False
        self._asked += len(proposals)
        self._out[first] = proposals
        recorded = [self._recorded.pop(first + i, None) for i in range(len(proposals))]
        for proposal, trial in zip(proposals, recorded, strict=True):
            if trial is not None and not _same_work(trial.proposal, proposal):
                raise RunFolderError(
                    f"trial {trial.number} of the journal is not what the strategy proposes; "
                    "the run was made by another version and cannot be resumed"
                )
        known = [trial for trial in recorded if trial is not None]
        self._known[first] = known
        if len(known) == len(proposals):
            self._finished[first] = known
            return True
        # A budget that has grown may find the first part of a batch in the journal.
        fresh, sharing = tuple(proposals[len(known) :]), self.store is not None
        inherited = tuple(self._inherit(proposal) for proposal in fresh) if sharing else ()
        job = Evaluation(
            self.seed, first + len(known), fresh, self.limits, inherited, sharing, checkpoints=self.checkpoints
        )
        self.executor.submit(first, job)
        return True

    def _affordable(self, first: int, proposals: list[Proposal]) -> list[Proposal]:
        """Returns the leading proposals that the budget has room for; the search ends with the others."""
        ledger, budget = self.ledger, self.budget.epochs
        if self.budget.trials is not None:
            proposals = proposals[: self.budget.trials - first]
        for index, proposal in enumerate(proposals):
            recorded = first + index <= self._last_recorded  # paid for already
            planned = ledger.epochs + ledger.reserved + ledger.planned(proposal)
            if budget is not None and planned > budget and not recorded:
                self._exhausted = True
                return proposals[:index]
            ledger.reserve(first + index, proposal)
        return proposals

    def _inherit(self, proposal: Proposal) -> dict[str, Tensor]:
        assert self.store is not None
        return self.store.inherit(self.domain.share_keys(proposal.architecture))

    def _next(self) -> int:
        """Returns the first trial number of the batch to be told next, once it is finished."""
        while True:
            if self._to_replay:
                following: int | None = self._to_replay[0]
            elif self.order == "strict":
                following = next(iter(self._out))
            else:
                following = next(iter(self._finished), None)
            if following is not None and following in self._finished:
                return following
            ticket, results = self.executor.wait()
            known = self._known[ticket]
            fresh = enumerate(zip(self._out[ticket][len(known) :], results, strict=True), ticket + len(known))
            self._finished[ticket] = [*known, *(self._trial(number, *both) for number, both in fresh)]

    def _trial(self, number: int, proposal: Proposal, result: Result) -> Trial:
        if isinstance(result, Measurement):
            epochs = self.ledger.charge(number, result)
            return Trial(number, proposal, result, seconds=result.seconds, epochs=epochs)
        assert isinstance(result, CandidateFailure)
        return Trial(number, proposal, None, result.reason, result.detail, epochs=self.ledger.charge(number, None))

    def _tell(self, first: int) -> None:
        trials = self._finished.pop(first)
        del self._out[first]
        known = {trial.number for trial in self._known.pop(first)}
        for _ in known:
            self._to_replay.popleft()
        for trial in trials:
            if self.store is not None and trial.measurement is not None:
                keys = self.domain.share_keys(trial.proposal.architecture)
                score = self.strategy.score(trial)
                if trial.number in known:
                    self.store.restore(trial.number, score, keys)
                else:
                    self.store.update(trial.number, score, keys, trial.measurement.weights)
        if len(known) < len(trials):
            self.journal.append([trial for trial in trials if trial.number not in known], seconds=self._seconds())
            if self.store is not None:
                self.journal.flush()
                self.store.clean()
        for trial in trials:
            self.ledger.settle(trial)
            self.strategy.tell(trial)
            identity = self.domain.space.canonical(trial.proposal.architecture).key
            self.state.seconds, self.state.epochs = self._seconds(), self.ledger.epochs
            self.state.training_seconds = self.ledger.seconds
            self.state.take(_without_weights(trial), self.strategy.score(trial), identity)
            for listener in self.listeners:
                listener.on_trial(trial, self.state, trial.number in known)
        self._release(self.strategy.released())

    def _release(self, numbers: Sequence[int]) -> None:
        """Removes the checkpoints of trials that will not be continued, once the journal says so too."""
        files = [] if self.checkpoints is None else [trial_checkpoint(self.checkpoints, n) for n in numbers]
        files = [file for file in files if file.exists()]
        if files:
            self.journal.flush()
        for file in files:
            file.unlink()


def _same_work(one: Proposal, other: Proposal) -> bool:
    """Whether two proposals ask for the same training; tags may come back from JSON in another form."""
    return (one.architecture, one.fidelity, one.continues) == (other.architecture, other.fidelity, other.continues)


def _without_weights(trial: Trial) -> Trial:
    if trial.measurement is None or not trial.measurement.weights:
        return trial
    return dataclasses.replace(trial, measurement=dataclasses.replace(trial.measurement, weights={}))
