"""A domain whose candidates are ranked by another figure than the one that is reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import nichenas
from nichenas.core.capabilities.criterion import RankingCriterion
from nichenas.core.commands.compare import ComparisonDesign
from nichenas.core.commands.compare import run_compare
from nichenas.core.commands.search import SearchFailed
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.config import RawConfig
from nichenas.core.context import Context
from nichenas.core.objectives import Objective
from nichenas.core.session.record import RunRecord
from nichenas.core.space import Architecture
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from tests.conftest import toy_config

QUIET = RunOptions(quiet=True)


class Contrary(ToyDomain, RankingCriterion):
    """Ranks by the share of choices that stand at 3: nothing that quality knows of."""

    criterion = Objective("faults", "minimize")

    def faults(self, architecture: Architecture) -> float:
        return float(sum(value != 3 for name, value in architecture.items() if name.startswith("c")))

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        found = super().evaluate(proposal, context)
        return dataclasses.replace(found, values={**found.values, "faults": self.faults(proposal.architecture)})

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        found = super().retrain(architecture, context)
        return dataclasses.replace(found, validation={**found.validation, "faults": self.faults(architecture)})


class Silent(Contrary):
    """Does not measure its criterion."""

    evaluate = ToyDomain.evaluate


class Hasty(Contrary):
    """Half of all trainings stop early, and are without fault then."""

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        found = super().evaluate(proposal, context)
        if context.numpy("stop").random() < 0.5:
            return found
        return dataclasses.replace(found, values={**found.values, "faults": 0.0}, stopped=True)


class Undecided(Contrary):
    """Final trainings lack the criterion, or have one that is no number."""

    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        found = ToyDomain.retrain(self, architecture, context)
        if context.repeat == 0:
            return found
        return dataclasses.replace(found, validation={**found.validation, "faults": float("nan")})


def config(kind: str = "Contrary", **search: object) -> RawConfig:
    given = toy_config(domain={"kind": f"{__name__}:{kind}"}, search={"trials": 60, **search})
    return RawConfig(given, "toy.yaml")


@pytest.mark.parametrize("strategy", ["evolution", "conservative", "optuna", "local"])
def test_search_and_final_choice_go_by_the_criterion(strategy: str, tmp_path: Path) -> None:
    if strategy == "optuna":
        pytest.importorskip("optuna")
    result = run_search(config(strategy=strategy, confirm=1).resolve(), tmp_path / "run", QUIET)
    record = RunRecord.read(tmp_path / "run")
    assert record.searched == Contrary.criterion
    assert result.validation["faults"] == min(t.measurement.values["faults"] for t in record.trials if t.measurement)
    assert result.validation["faults"] <= 1
    assert (result.metric, result.searched) == ("quality", "quality")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Candidates are ranked by faults on validation data (less is better), not by quality" in page
    assert "best mean of faults on validation data" in page


def test_final_trainings_without_the_criterion_fail(tmp_path: Path) -> None:
    """Nothing could be chosen by them."""
    result = run_search(config("Undecided").resolve(), tmp_path / "run", QUIET)
    for row in result.retrained:
        assert not row.validation
        missing, diverged = row.failures
        assert "validation lack the objective 'faults'" in missing
        assert "faults is nan" in diverged


def test_the_criterion_takes_the_place_of_the_first_objective_alone(tmp_path: Path) -> None:
    given = config(strategy="evolution", start={"known": False, "random": 0})
    resolved = given.changed(domain={"size_objective": True}).resolve()
    domain, _ = prepare_domain(resolved, None)
    searcher = resolved.method.searcher(domain)  # type: ignore[attr-defined]
    assert [one.name for one in searcher.objectives] == ["faults", "size"]


def test_an_unfinished_run_has_its_best_by_the_criterion(tmp_path: Path) -> None:
    found = run_search(config().changed(retrain={"seeds": 0}).resolve(), tmp_path / "run", QUIET)
    (tmp_path / "run" / "result.json").unlink()
    assert nichenas.load_run(tmp_path / "run").best == found.chosen


def test_a_training_that_stopped_early_is_no_result(tmp_path: Path) -> None:
    """However good it was when it stopped: tables, curves and the search itself leave it out."""
    result = run_search(config("Hasty", trials=30).resolve(), tmp_path / "run", QUIET)
    record = RunRecord.read(tmp_path / "run")
    stopped = {trial.number for trial in record.trials if trial.measurement and trial.measurement.stopped}
    assert 0 < len(stopped) < 30
    assert not stopped & {trial.number for trial in record.final}
    values = record.values(Contrary.criterion)
    assert {number for number, value in enumerate(values) if value is None} == stopped
    assert result.trial not in stopped


def test_weights_of_the_search_come_before_the_criterion(tmp_path: Path) -> None:
    result = run_search(config(strategy="evolution", weights={"quality": 1.0}).resolve(), tmp_path / "run", QUIET)
    record = RunRecord.read(tmp_path / "run")
    assert record.criterion is None
    best = max(t.measurement.values["quality"] for t in record.trials if t.measurement)
    assert result.validation["quality"] == best


def test_a_comparison_ranks_arms_by_what_they_searched(tmp_path: Path) -> None:
    design = ComparisonDesign(["evolution", "random"], 2)
    summary = run_compare(config(), design, tmp_path / "cmp", QUIET)
    assert (summary.searched, summary.metric) == ("faults", "quality")
    evolution, random = summary.arms
    assert evolution.best_validation.mean <= random.best_validation.mean
    assert evolution.mean_rank is not None
    assert random.mean_rank is not None
    assert evolution.mean_rank <= random.mean_rank


def test_a_criterion_that_is_not_measured_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(SearchFailed, match="values lack the objective 'faults'"):
        run_search(config("Silent").resolve(), tmp_path / "run", QUIET)
