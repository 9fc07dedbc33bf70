from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import TestDataError
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.execution.jobs import Result
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.state import SearchState
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import Architecture
from nichenas.core.strategies import STRATEGIES
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from tests.core.methods.loops import CPU
from tests.core.methods.loops import Shuffled
from tests.core.methods.loops import domain
from tests.core.methods.loops import make_loop
from tests.core.methods.loops import outline
from tests.core.methods.loops import search
from tests.core.methods.loops import strategy


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
    _, trials = search(strategy="local")
    journal = Journal(None)
    journal.append(trials[:5])
    with pytest.raises(RunFolderError, match="not what the search proposes"):
        search(strategy="random", journal=journal)


def test_failures_are_counted_and_never_best() -> None:
    state, trials = search()
    assert state.failed == sum(t.failed for t in trials) > 0
    assert state.failures == {"diverged": state.failed}
    assert state.best is not None
    assert state.best_score == max(t.measurement.values["quality"] for t in trials if t.measurement)


def test_seconds_end_a_search_and_add_up_over_sessions() -> None:
    state, trials = search(budget=Budget(None, 0.3))
    assert len(trials) > 1
    assert 0.3 <= state.seconds < 5
    journal = Journal(None)
    journal.append(trials, seconds=state.seconds)
    resumed, again = search(budget=Budget(None, 0.3), journal=journal)
    assert len(again) == len(trials)


def test_an_exhausted_space_ends_a_search() -> None:
    of = domain(choices=1)
    assert make_loop(of, strategy(of), Budget(100)).run().completed == of.space.size == 5


def test_a_read_of_test_data_ends_the_search() -> None:
    of = domain(misbehave="test")
    with pytest.raises(TestDataError):
        make_loop(of, strategy(of), Budget(100)).run()


@pytest.mark.parametrize(("misbehave", "reason"), [("error", "error"), ("diverge", "diverged")])
def test_exceptions_become_failed_trials(misbehave: str, reason: str) -> None:
    of = domain(misbehave=misbehave)
    journal = Journal(None)
    make_loop(of, strategy(of), Budget(60), journal=journal).run()
    for trial in journal.trials():
        assert trial.failed == (trial.proposal.architecture["c0"] == 3)
        assert not trial.failed or trial.failure == reason


def test_an_interrupt_keeps_what_is_completed() -> None:
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
        make_loop(of, strategy(of), Budget(20), journal=journal, executor=Interrupting(of, CPU)).run()
    assert [t.number for t in journal.trials()] == list(range(5))


def test_top_keeps_distinct_architectures_best_first() -> None:
    state = SearchState(keep=3)
    for number, quality in enumerate([0.1, 0.9, 0.5, 0.9, 0.7, 0.3]):
        architecture = Architecture({"a": number % 4})
        trial = Trial(number, Proposal(architecture), Measurement({"quality": quality}))
        state.record(trial, quality, architecture.key)
    assert [t.number for t in state.top(3)] == [1, 3, 4]
    state.record(Trial(9, Proposal(Architecture({"a": 1})), None, "diverged"), float("-inf"), "x")
    assert state.failed == 1


@pytest.mark.parametrize("cut", [0, 7, 20])
@pytest.mark.parametrize(("capacity", "batch"), [(1, 1), (3, 1), (2, 3)])
def test_shared_weights_resume_to_the_same_answer(tmp_path: Any, cut: int, capacity: int, batch: int) -> None:
    def run(folder: Any, journal: Journal, trials: int) -> list[tuple[Any, ...]]:
        of = domain(fail=0.1)
        store = HomogeneousStore(("option",), folder, lag=capacity)
        executor = Shuffled(of, capacity, -1)
        kept = strategy(of, "evolution", population=8, tournament=3)
        make_loop(of, kept, Budget(trials), journal=journal, executor=executor, batch=batch, store=store).run()
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


@pytest.mark.parametrize("sizes", [(10, 20, 32), (7, 9, 30)])
@pytest.mark.parametrize("order", [0, -1, 1])
def test_batches_in_asap_order_resume_after_a_budget_has_grown(sizes: tuple[int, ...], order: int) -> None:
    """A batch that was completed in two sessions stands in two places of the journal (it crashed once)."""
    journal = Journal(None)
    for size in sizes:
        state, trials = search(
            lambda of: Shuffled(of, 3, order), journal=journal, batch=4, order="asap", budget=Budget(size)
        )
        assert sorted(t.number for t in trials) == list(range(size))
    before = outline(trials)
    state, trials = search(
        lambda of: Shuffled(of, 3, order), journal=journal, batch=4, order="asap", budget=Budget(sizes[-1])
    )
    assert outline(trials) == before
    assert state.completed == sizes[-1]


@pytest.mark.parametrize("order", ["asap", "strict"])
def test_a_budget_below_what_is_recorded_changes_nothing(order: str) -> None:
    journal = Journal(None)
    search(lambda of: Shuffled(of, 3, -1), journal=journal, batch=4, order=order, budget=Budget(20))
    state, trials = search(lambda of: Shuffled(of, 3, -1), journal=journal, batch=4, order=order, budget=Budget(8))
    assert state.completed == len(trials) == 20


def wrong_domain(**wrong: Any) -> Any:
    """Returns a domain that measures every third architecture as told."""

    class Wrong(type(domain())):  # type: ignore[misc]
        def evaluate(self, proposal: Any, context: Any) -> Any:
            if context.trial % 3 == 0:
                return wrong["result"] if "result" in wrong else Measurement(**wrong)
            return super().evaluate(proposal, context)

    made = domain()
    made.__class__ = Wrong
    return made


@pytest.mark.parametrize(
    ("wrong", "reason", "detail"),
    [
        ({"values": {"quality": float("nan"), "size": 1.0}}, "diverged", "quality is nan"),
        ({"values": {"quality": float("inf"), "size": 1.0}}, "diverged", "quality is inf"),
        ({"values": {"qality": 0.5, "size": 1.0}}, "invalid result", "values lack the objective 'quality'"),
        (
            {"values": {"quality": "good", "size": 1.0}},
            "invalid result",
            "values['quality'] is str 'good', not",
        ),
        ({"values": None}, "invalid result", "values are a NoneType, not a mapping"),
        ({"result": None}, "invalid result", "NoneType where a Measurement is expected"),
        ({"result": 0.5}, "invalid result", "float where a Measurement is expected"),
        ({"values": {"quality": 1, "size": 1}, "diagnostics": {"x": object}}, "invalid result", "diagnostics['x'] is"),
        ({"values": {"quality": 1, "size": 1}, "scalars": {"x": [1]}}, "invalid result", "scalars['x'] is list [1]"),
        ({"values": {"quality": 1, "size": 1}, "weights": {"w": [1]}}, "invalid result", "weights['w'] is a list, not"),
        ({"values": {"quality": 1, "size": 1}, "curve": (1, 2)}, "invalid result", "the curve is not a sequence"),
    ],
)
def test_what_a_domain_returns_is_checked_once(wrong: dict[str, Any], reason: str, detail: str) -> None:
    state, trials = search(of=wrong_domain(**wrong), budget=Budget(12))
    bad = [trial for trial in trials if trial.number % 3 == 0]
    assert {trial.failure for trial in bad} == {reason}
    assert all(detail in trial.detail for trial in bad)
    assert all(np.isfinite(t.measurement.values["quality"]) for t in state.top(10))  # type: ignore[union-attr]
    assert all(trial.seconds > 0 for trial in bad)  # a failure has taken its time too


def test_figures_in_other_types_become_plain_numbers() -> None:
    values = {"quality": np.float32(0.5), "size": torch.tensor(3)}
    diagnostics = {"a": np.float32(1.5), "b": torch.arange(2), "c": (np.int64(1), None), 3: True}
    of = wrong_domain(
        values=values, diagnostics=diagnostics, scalars={"lr": np.float64(0.1)}, curve=[(1, values["quality"])]
    )
    _, trials = search(of=of, budget=Budget(1))
    measurement = trials[0].measurement
    assert measurement is not None
    assert dict(measurement.values) == {"quality": 0.5, "size": 3.0}
    assert measurement.diagnostics == {"a": 1.5, "b": [0, 1], "c": [1, None], "3": True}
    assert measurement.curve == ((1, 0.5),)


def test_replay_costs_the_search_no_seconds() -> None:
    _, trials = search(of=domain(sleep=0.05), budget=Budget(6))
    journal = Journal(None)
    journal.append(trials, seconds=100.0)
    of = domain(sleep=0.05)
    told = strategy(of, "evolution", population=8, tournament=3)
    tell = told.tell

    def slow(trial: Trial) -> None:
        time.sleep(0.05)
        tell(trial)

    told.tell = slow  # type: ignore[method-assign]
    state = make_loop(of, told, Budget(6), journal=journal).run()
    assert state.seconds == 100.0


def test_an_error_of_a_listener_is_logged_and_costs_no_search(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
            raise KeyError("curves")

    state, trials = search(listeners=[Broken()], budget=Budget(5))
    assert state.completed == 5
    assert caplog.text.count("Broken is left out from now on") == 1
