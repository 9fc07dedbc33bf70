"""A domain whose candidates are ranked by another figure than the one that is reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nichenas.core.capabilities.criterion import RankingCriterion
from nichenas.core.commands.compare import ComparisonDesign
from nichenas.core.commands.compare import run_compare
from nichenas.core.commands.search import SearchFailed
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
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
