"""Trainings that stop early since they are behind others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nichenas.core.context import Environment
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.methods.trial_search import TrialSearch
from nichenas.core.methods.trial_search import TrialSettings
from nichenas.core.objectives import Objective
from nichenas.core.schedulers.confirmation import Confirmation
from nichenas.core.schedulers.early_stops import StopSettings
from nichenas.core.schedulers.early_stops import Thresholds
from nichenas.core.schedulers.early_stops import study_stops
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.tabular.domain import TabularDomain
from tests.core.methods.loops import Shuffled
from tests.core.methods.loops import domain
from tests.core.methods.loops import make_loop
from tests.core.methods.loops import outline
from tests.core.methods.loops import strategy

RULE = StopSettings(quantile=0.5, after=3)


def test_thresholds_are_quantiles_of_the_best_so_far() -> None:
    rule = Thresholds(16, 1.0, RULE)
    assert rule.looks == [1, 2, 4, 8]
    for curve in ([(1, 0.3), (2, 0.1), (4, 0.5), (8, 0.4)], [(1, 0.2), (2, 0.6)], [(2, 0.4), (8, 0.8)]):
        rule.add(curve)
    # After one epoch two trainings were looked at; of three, one ended after two epochs and keeps its best.
    assert rule.present() == ((2, 0.4), (4, 0.5), (8, 0.6))
    turned = Thresholds(16, -1.0, RULE)
    for value in (3.0, 1.0, 2.0):
        turned.add([(1, value)])
    assert turned.present()[0] == (1, -2.0)


def test_looks_of_a_short_training() -> None:
    assert Thresholds(4, 1.0, RULE).looks == [1, 2]
    assert Thresholds(1, 1.0, RULE).looks == []


@pytest.fixture(scope="module")
def graph() -> GNNDomain:
    settings = GNNSettings.model_validate({"dataset": "digits-knn", "epochs": 32, "patience": None, "space": "agnn"})
    made = GNNDomain(settings, Environment(Path("."), Path(os.environ["NICHENAS_CACHE"])))
    made.prepare()
    return made


def searched(of: GNNDomain, trials: int, journal: Journal | None = None, **search: Any) -> tuple[Any, list[Trial]]:
    small = {"restrict": {"layer1.hidden": [4, 8], "layer1.heads": [1], "layer2.heads": [1]}}
    settings = TrialSettings.model_validate({"trials": trials, "strategy": "random", **small, **search})
    journal = journal or Journal(None)
    method = TrialSearch(settings, seed=0, levels={})
    state = make_loop(of, method.searcher(of), Budget(trials), journal=journal, executor=Shuffled(of, 2, 1)).run()
    return state, list(journal.trials())


def test_hopeless_trainings_stop_and_the_search_resumes(graph: GNNDomain) -> None:
    arguments = {"early_stop": {"after": 4}, "confirm": 1}
    state, trials = searched(graph, 24, **arguments)
    stopped = [trial for trial in trials if trial.measurement and trial.measurement.stopped]
    assert 4 <= len(stopped) <= 16
    for trial in stopped:
        assert trial.measurement is not None
        assert trial.epochs == trial.measurement.epochs == trial.measurement.curve[-1][0]
        assert trial.epochs in (2, 4, 8, 16)
        assert trial.number >= 4
        assert trial.proposal.repeat_of is None
    assert state.best.measurement.stopped is False
    assert state.epochs < 24 * 32
    for cut in (3, 11):
        journal = Journal(None)
        journal.append(trials[:cut])
        resumed, again = searched(graph, 24, journal, **arguments)
        assert outline(again) == outline(trials)
        assert resumed.top(3) == state.top(3)


def test_the_study_tells_what_the_rule_would_have_done(graph: GNNDomain) -> None:
    _, whole = searched(graph, 24)
    study = study_stops(whole, graph.objectives[0], 32, StopSettings(after=4))
    _, with_rule = searched(graph, 24, early_stop={"after": 4})
    stopped = [trial for trial in with_rule if trial.measurement and trial.measurement.stopped]
    assert study.trainings == 24
    # The rule sees two trainings fewer while these are out; nearly all of its decisions are the same.
    assert abs(study.stopped - len(stopped)) <= 3
    saved = 1 - sum(trial.epochs for trial in with_rule) / sum(trial.epochs for trial in whole)
    assert study.saved == pytest.approx(saved, abs=0.1)
    assert 0 <= study.lost_top <= study.top == 2
    assert study.regret >= 0


def test_the_study_counts_false_stops() -> None:
    """A training that would have been the best is behind at first."""
    curves = [[(e, 0.5) for e in range(1, 17)] for _ in range(4)]
    curves.append([(e, 0.1 if e < 12 else 0.9) for e in range(1, 17)])
    made = Proposal(Architecture({"a": 1}))
    trials = [
        Trial(number, made, Measurement({"quality": curve[-1][1]}, tuple(curve))) for number, curve in enumerate(curves)
    ]
    study = study_stops(trials, Objective("quality"), 16, RULE)
    assert (study.trainings, study.stopped, study.lost_top, study.top) == (5, 1, 1, 1)
    assert study.regret == pytest.approx(0.4)
    assert study.saved == pytest.approx(15 / 80)


def test_what_cannot_be_combined_is_refused(graph: GNNDomain) -> None:
    settings = TrialSettings.model_validate({"early_stop": {}, "schedule": "asha"})
    with pytest.raises(ConfigError, match=r"search\.early_stop: the scheduler 'asha' decides"):
        TrialSearch(settings, seed=0, levels={}).check("gnn", GNNDomain)
    settings = TrialSettings.model_validate({"early_stop": {}})
    with pytest.raises(ConfigError, match=r"search\.early_stop: the domain 'tabular' trains nothing that could stop"):
        TrialSearch(settings, seed=0, levels={}).check("tabular", TabularDomain)


def test_a_stopped_training_is_no_incumbent() -> None:
    searcher = Confirmation(strategy(domain()), FULL, 1)
    (first,) = searcher.ask()
    searcher.tell(Trial(0, first, Measurement({"quality": 0.9}, stopped=True)))
    assert searcher.ask()[0].repeat_of is None
