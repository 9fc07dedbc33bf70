"""Schedules in the driver: epochs charged exactly, checkpoints kept while needed, the same after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nichenas.core.commands.search import run_search
from nichenas.core.config import load_config
from nichenas.core.config import resolve
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import run_job
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.session.budget import Budget
from nichenas.core.session.budget import BudgetTracker
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from tests.conftest import toy_config
from tests.core.methods.loops import Shuffled
from tests.core.methods.loops import domain
from tests.core.methods.loops import make_loop
from tests.core.methods.loops import outline
from tests.core.methods.loops import strategy
from tests.core.methods.test_kill_and_resume import QUIET
from tests.core.methods.test_kill_and_resume import RESUME
from tests.core.methods.test_kill_and_resume import configuration
from tests.core.methods.test_kill_and_resume import kill_in_the_middle
from tests.core.methods.test_kill_and_resume import outline as run_outline

STAGED = ("hierarchical", "halving", "asha")
SMALL = {"hierarchical": {"initial": 4, "parents": [2, 1, 1], "promotions": [2, 1]}}


def driver(
    name: str, folder: Path, of: Domain | None = None, journal: Journal | None = None, capacity: int = 1, **budget: Any
) -> TrialLoop:
    of = of or domain(choices=6, fail=0.1)
    cls = SCHEDULERS[name]
    options = cls.Options.model_validate(SMALL.get(name, {}))
    executor = Shuffled(of, capacity, 1) if capacity > 1 else SerialExecutor(of, torch.device("cpu"))
    scheduler = cls(strategy(of, "evolution", population=6, tournament=2), FULL, 12, 0, options=options)
    limits = Budget(budget.get("trials"), budget.get("seconds"), budget.get("epochs"))
    return make_loop(of, scheduler, limits, journal=journal, executor=executor, folder=folder, resumable=True)


@pytest.mark.parametrize("name", ["full", *STAGED])
@pytest.mark.parametrize("capacity", [1, 3])
def test_the_budget_of_epochs_is_counted_exactly(name: str, capacity: int, tmp_path: Path) -> None:
    search = driver(name, tmp_path, capacity=capacity, epochs=200)
    state = search.run()
    trials = list(search.session.journal.trials())
    spent = sum(round(12 * t.proposal.fidelity["epochs"]) - round(12 * t.proposal.start) for t in trials)
    assert state.epochs == spent == sum(t.epochs for t in trials)
    assert 200 - 12 * capacity < spent <= 200


@pytest.mark.parametrize("name", STAGED)
@pytest.mark.parametrize("cut", [0, 3, 17, 30])
@pytest.mark.parametrize("capacity", [1, 3])
def test_a_cut_journal_resumes_to_the_same_answer(name: str, cut: int, capacity: int, tmp_path: Path) -> None:
    whole = driver(name, tmp_path / "whole", capacity=capacity, epochs=200)
    expected = whole.run()
    trials = list(whole.session.journal.trials())
    journal = Journal(None)
    first = driver(name, tmp_path / "cut", journal=journal, capacity=capacity, trials=cut or None, epochs=200)
    if cut:
        first.run()
    again = driver(name, tmp_path / "cut", journal=journal, capacity=capacity, epochs=200)
    state = again.run()
    assert outline(list(journal.trials())) == outline(trials)
    assert (state.epochs, state.completed) == (expected.epochs, expected.completed)
    assert state.best is not None
    assert expected.best is not None
    assert state.best.number == expected.best.number
    assert sorted(f.name for f in (tmp_path / "cut").iterdir()) == sorted(
        f.name for f in (tmp_path / "whole").iterdir()
    )


def test_a_larger_budget_goes_on_where_the_smaller_ended(tmp_path: Path) -> None:
    whole = driver("hierarchical", tmp_path / "whole", epochs=300)
    whole.run()
    journal = Journal(None)
    driver("hierarchical", tmp_path / "parts", journal=journal, epochs=130).run()
    driver("hierarchical", tmp_path / "parts", journal=journal, epochs=300).run()
    assert outline(list(journal.trials())) == outline(list(whole.session.journal.trials()))


def test_only_checkpoints_that_may_be_needed_are_kept(tmp_path: Path) -> None:
    search = driver("hierarchical", tmp_path, of=domain(choices=6), epochs=400)
    search.run()
    schedule = search.searcher
    alive = {member.trial.number for segment in (1, 2) for member in schedule.pool(segment)}  # type: ignore[attr-defined]
    kept = {int(file.stem.partition("-")[2]) for file in tmp_path.iterdir()}
    trials = {t.number: t for t in search.session.journal.trials()}
    assert kept == alive
    assert all(trials[number].proposal.fidelity["epochs"] < 1 for number in kept)


def test_a_trial_goes_on_from_the_checkpoint_of_its_own(tmp_path: Path) -> None:
    of = domain(choices=6, noise=0.0)
    search = driver("halving", tmp_path, of=of, epochs=100)
    search.run()
    trials = {t.number: t for t in search.session.journal.trials()}
    assert any(t.proposal.parent is not None for t in trials.values())
    last = max(n for n, t in trials.items() if t.proposal.parent is not None)
    # Without the checkpoint there is no such measurement, and the candidate is not to blame.
    job = EvaluationJob(seed=0, first=last, proposals=(trials[last].proposal,), checkpoints=tmp_path / "none")
    with pytest.raises(RunFolderError):
        run_job(of, job, torch.device("cpu"))


def test_the_best_are_those_of_the_highest_fidelity(tmp_path: Path) -> None:
    search = driver("hierarchical", tmp_path, of=domain(choices=6), epochs=300)
    state = search.run()
    assert state.best is not None
    top = state.top(10)
    costs = [t.proposal.fidelity["epochs"] for t in top]
    assert costs[0] == 1.0
    assert costs == sorted(costs, reverse=True)
    scores = [t.measurement.values["quality"] for t in top if t.proposal.fidelity == FULL]  # type: ignore[union-attr]
    assert scores == sorted(scores, reverse=True)
    assert state.best.number == top[0].number


def test_a_domain_may_say_that_it_trained_less() -> None:
    of = domain()
    tracker = BudgetTracker(of)
    proposal = Proposal(of.space.first(1).architecture({"c0": 0}), Fidelity(epochs=0.5))
    tracker.reserve(0, proposal)
    assert (tracker.reserved, tracker.planned(proposal)) == (6, 6)
    stopped = Measurement({"quality": 1.0}, epochs=2)
    assert tracker.charge(0, stopped) == 2
    assert tracker.charge(0, None) == 6  # a failure is charged what it was to train
    tracker.settle(Trial(0, proposal, stopped, seconds=1.5, epochs=2))
    assert (tracker.epochs, tracker.reserved, tracker.seconds) == (2, 0, 1.5)
    rest = Proposal(proposal.architecture, FULL, parent=0, start=0.5)
    assert tracker.planned(rest) == 6


@pytest.mark.parametrize("name", STAGED)
def test_killed_and_resumed(name: str, tmp_path: Path) -> None:
    config = configuration(
        tmp_path,
        domain={"sleep": 0.05, "choices": 6, "fail": 0.1},
        search={"strategy": "evolution", "schedule": name, "trials": None, "total_epochs": 150, "options": SMALL},
        run={"executor": "processes", "workers": 2},
    )
    run_search(load_config(str(config)), tmp_path / "whole", QUIET)
    kill_in_the_middle(config, tmp_path / "killed", after=11)
    run_search(load_config(str(config)), tmp_path / "killed", RESUME)
    assert run_outline(tmp_path / "killed") == run_outline(tmp_path / "whole")


def test_a_scheduled_run_reports_complete_trials_alone(tmp_path: Path) -> None:
    raw = toy_config(search={"strategy": "evolution", "schedule": "hierarchical", "trials": 40, "options": SMALL})
    result = run_search(resolve(raw, "toy.yaml"), tmp_path / "run", QUIET)
    record = RunRecord.read(tmp_path / "run")
    values = record.values(record.objectives[0])
    complete = [t for t in record.trials if t.proposal.fidelity == FULL and not t.failed]
    assert sum(value is not None for value in values) == len(complete) < 40
    assert record.spent("epochs")[-1] == result.epochs
    assert max(v for v in values if v is not None) == result.validation["quality"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "rung 2" in page


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"schedule": "hierarchical", "sharing": "homogeneous"}, "search.sharing: trials of the scheduler"),
        ({"schedule": "hierarchical", "options": {"hierarchical": {"parents": [1]}}}, "search.options.hierarchical"),
        ({"proxy": "c1s0"}, "search.proxy: 'c1s0' is not the name of a setting"),
        ({"trials": None}, "search: a budget is missing; give search.trials, search.total_epochs or search.seconds"),
        ({"options": {"halfing": {}}}, "unknown strategy or schedule or method 'halfing'.*did you mean 'halving'"),
    ],
)
def test_what_cannot_be_combined_is_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(toy_config(search=search), "toy.yaml")


def test_what_only_the_domain_can_refuse_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for search, message in (
        ({"proxy": "c1r0s0e6"}, r"reduces channels, which the domain does not; it reduces: epochs"),
        ({"proxy": "c0r0s0e2", "schedule": "hierarchical"}, r"3 parts of a training of 2 epochs"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_search(resolve(toy_config(search=search), "toy.yaml"), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_older_version_is_resumed(tmp_path: Path) -> None:
    run_search(resolve(toy_config(search={"trials": 5}), "toy.yaml"), tmp_path / "run", QUIET)
    file = tmp_path / "run" / "config.yaml"
    held = yaml.safe_load(file.read_text())
    del held["proxies"], held["search"]["proxy"], held["search"]["total_epochs"], held["search"]["method"]
    held["search"].update(epochs=None, one_shot=None)  # which every method had once
    file.write_text(yaml.safe_dump(held))
    longer = toy_config(search={"trials": 9})
    assert run_search(resolve(longer, "toy.yaml"), tmp_path / "run", RESUME).trials == 9
    longer["search"]["schedule"] = "asha"
    with pytest.raises(RunFolderError, match=r"search\.schedule was full and is asha now"):
        run_search(resolve(longer, "toy.yaml"), tmp_path / "run", RESUME)
