from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import TestDataError
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import run_job
from nichenas.core.methods.trial_search import Budget
from nichenas.core.methods.trial_search import SearchState
from nichenas.core.methods.trial_search import TrialDriver
from nichenas.core.session.journal import Journal
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import Architecture
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies import Strategy
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

CPU = torch.device("cpu")


def domain(**settings: Any) -> ToyDomain:
    made = ToyDomain(ToySettings(**settings), None)  # type: ignore[arg-type]
    made.prepare()
    return made


def strategy(of: Domain, name: str = "random", **options: Any) -> Strategy:
    cls = STRATEGIES[name]
    return cls(of.space, of.objectives, 0, cls.Options.model_validate(options))


class Shuffled(Executor):
    """Does jobs at once but hands the results back in a scrambled order, as workers of unequal speed would."""

    def __init__(self, of: Domain, capacity: int, order: int) -> None:
        self.domain, self.capacity, self.order = of, capacity, order
        self.done: list[tuple[int, list[Result]]] = []
        self.most = 0

    def submit(self, ticket: int, job: Job) -> None:
        self.done.append((ticket, run_job(self.domain, job, CPU)))
        self.most = max(self.most, len(self.done))
        assert len(self.done) <= self.capacity

    def wait(self) -> tuple[int, list[Result]]:
        return self.done.pop(self.order % len(self.done))


def search(executor_of: Callable[[Domain], Executor], **arguments: Any) -> tuple[SearchState, list[Trial]]:
    of = domain(fail=0.1)
    journal = arguments.pop("journal", None) or Journal(None)
    kind = arguments.pop("strategy", "evolution")
    options = {"population": 8, "tournament": 3} if kind == "evolution" else {}
    driver = TrialDriver(
        of, strategy(of, kind, **options), executor_of(of), journal, arguments.pop("budget", Budget(40)), 0, **arguments
    )
    state = driver.run()
    return state, list(journal.trials())


def outline(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.proposal, dict(t.measurement.values) if t.measurement else t.failure) for t in trials]


@pytest.mark.parametrize("batch", [1, 3])
def test_the_answer_does_not_depend_on_who_finishes_first(batch: int) -> None:
    answers = []
    for order in (0, -1, 7, 12345):
        state, trials = search(lambda of, order=order: Shuffled(of, 3, order), batch=batch)  # type: ignore[misc]
        assert [t.number for t in trials] == list(range(40))
        answers.append(outline(trials))
    assert all(answer == answers[0] for answer in answers)


def test_asap_tells_in_the_order_of_finishing_and_resumes() -> None:
    whole, trials = search(lambda of: Shuffled(of, 3, -1), order="asap")
    numbers = [t.number for t in trials]
    assert sorted(numbers) == list(range(40))
    assert numbers != sorted(numbers)
    journal = Journal(None)
    for trial in trials[:17]:
        journal.append([trial])
    state, again = search(lambda of: Shuffled(of, 3, -1), order="asap", journal=journal)
    assert outline(again[:17]) == outline(trials[:17])
    assert sorted(t.number for t in again) == list(range(40))


@pytest.mark.parametrize("cut", [0, 1, 5, 39, 40])
@pytest.mark.parametrize(("capacity", "batch"), [(1, 1), (3, 1), (2, 4)])
def test_a_cut_journal_resumes_to_the_same_answer(cut: int, capacity: int, batch: int) -> None:
    whole, trials = search(lambda of: Shuffled(of, capacity, 1), batch=batch)
    journal = Journal(None)
    for trial in trials[:cut]:
        journal.append([trial])
    state, again = search(lambda of: Shuffled(of, capacity, 1), batch=batch, journal=journal)
    assert outline(again) == outline(trials)
    assert state.top(5) == whole.top(5)
    assert state.best == whole.best


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
@pytest.mark.parametrize("budgets", [(Budget(10), Budget(23)), (Budget(epochs=118), Budget(epochs=270))])
@pytest.mark.parametrize("capacity", [1, 3])
def test_a_larger_budget_goes_on_in_the_middle_of_a_batch(
    kind: str, budgets: tuple[Budget, Budget], capacity: int
) -> None:
    small, large = budgets
    arguments: dict[str, Any] = {"strategy": kind, "batch": 4}
    journal = Journal(None)
    _, first = search(lambda of: Shuffled(of, capacity, -1), journal=journal, budget=small, **arguments)
    assert len(first) % 4 != 0
    state, grown = search(lambda of: Shuffled(of, capacity, -1), journal=journal, budget=large, **arguments)
    whole, trials = search(lambda of: Shuffled(of, capacity, -1), budget=large, **arguments)
    assert outline(grown) == outline(trials)
    assert (state.best, state.epochs, state.completed) == (whole.best, whole.epochs, len(trials))


def test_a_journal_of_another_search_is_refused() -> None:
    _, trials = search(lambda of: SerialExecutor(of, CPU), strategy="local")
    journal = Journal(None)
    journal.append(trials[:5])
    with pytest.raises(RunFolderError, match="not what the strategy proposes"):
        search(lambda of: SerialExecutor(of, CPU), strategy="random", journal=journal)


def test_failures_are_counted_and_never_best() -> None:
    state, trials = search(lambda of: SerialExecutor(of, CPU))
    assert state.failed == sum(t.failed for t in trials) > 0
    assert state.failures == {"diverged": state.failed}
    assert state.best is not None
    assert state.best_score == max(t.measurement.values["quality"] for t in trials if t.measurement)


def test_seconds_end_a_search_and_add_up_over_sessions() -> None:
    state, trials = search(lambda of: SerialExecutor(of, CPU), budget=Budget(None, 0.3))
    assert len(trials) > 1
    assert 0.3 <= state.seconds < 5
    journal = Journal(None)
    journal.append(trials, seconds=state.seconds)
    resumed, again = search(lambda of: SerialExecutor(of, CPU), budget=Budget(None, 0.3), journal=journal)
    assert len(again) == len(trials)


def test_an_exhausted_space_ends_a_search() -> None:
    of = domain(choices=1)
    driver = TrialDriver(of, strategy(of), SerialExecutor(of, CPU), Journal(None), Budget(100), 0)
    assert driver.run().told == of.space.size == 5


def test_a_read_of_test_data_ends_the_search() -> None:
    of = domain(misbehave="test")
    with pytest.raises(TestDataError):
        TrialDriver(of, strategy(of), SerialExecutor(of, CPU), Journal(None), Budget(100), 0).run()


@pytest.mark.parametrize(("misbehave", "reason"), [("error", "error"), ("diverge", "diverged")])
def test_exceptions_become_failed_trials(misbehave: str, reason: str) -> None:
    of = domain(misbehave=misbehave)
    journal = Journal(None)
    TrialDriver(of, strategy(of), SerialExecutor(of, CPU), journal, Budget(60), 0).run()
    for trial in journal.trials():
        assert trial.failed == (trial.proposal.architecture["c0"] == 3)
        assert not trial.failed or trial.failure == reason


def test_an_interrupt_keeps_what_is_told() -> None:
    of = domain()
    journal = Journal(None)

    class Interrupting(SerialExecutor):
        count = 0

        def wait(self) -> tuple[int, list[Result]]:
            self.count += 1
            if self.count == 6:
                raise KeyboardInterrupt
            return super().wait()

    with pytest.raises(Interrupted, match="after 5 trials"):
        TrialDriver(of, strategy(of), Interrupting(of, CPU), journal, Budget(20), 0).run()
    assert [t.number for t in journal.trials()] == list(range(5))


def test_top_keeps_distinct_architectures_best_first() -> None:
    state = SearchState(keep=3)
    for number, quality in enumerate([0.1, 0.9, 0.5, 0.9, 0.7, 0.3]):
        architecture = Architecture({"a": number % 4})
        trial = Trial(number, Proposal(architecture), Measurement({"quality": quality}))
        state.take(trial, quality, architecture.key)
    assert [t.number for t in state.top(3)] == [1, 3, 4]
    state.take(Trial(9, Proposal(Architecture({"a": 1})), None, "diverged"), float("-inf"), "x")
    assert state.failed == 1


@pytest.mark.parametrize("cut", [0, 7, 20])
@pytest.mark.parametrize(("capacity", "batch"), [(1, 1), (3, 1), (2, 3)])
def test_shared_weights_resume_to_the_same_answer(tmp_path: Any, cut: int, capacity: int, batch: int) -> None:
    def run(folder: Any, journal: Journal, trials: int) -> list[tuple[Any, ...]]:
        of = domain(fail=0.1)
        store = HomogeneousStore(("option",), folder, lag=capacity)
        executor = Shuffled(of, capacity, -1)
        kept = strategy(of, "evolution", population=8, tournament=3)
        TrialDriver(of, kept, executor, journal, Budget(trials), 0, batch=batch, store=store).run()
        return outline(list(journal.trials()))

    whole = run(tmp_path / "whole", Journal(None), 40)
    journal = Journal(None)
    if cut:
        run(tmp_path / "cut", journal, cut)
    assert run(tmp_path / "cut", journal, 40) == whole
    unshared, _ = search(lambda of: Shuffled(of, capacity, -1))
    assert len(list((tmp_path / "cut").iterdir())) < 40  # outdated files are gone


def test_candidate_failures_pickle() -> None:
    import pickle

    failure = pickle.loads(pickle.dumps(CandidateFailure("limit:seconds", "more than 5 s")))
    assert (failure.reason, failure.detail) == ("limit:seconds", "more than 5 s")


def test_batches_are_numbered_without_gaps() -> None:
    _, trials = search(lambda of: Shuffled(of, 2, 1), batch=7)
    assert [t.number for t in trials] == list(itertools.islice(itertools.count(), 40))
