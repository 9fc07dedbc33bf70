"""Baselines that are tuned with a budget, and stand in the same table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import pytest

from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import resolve
from nichenas.core.context import Context
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ConfigError
from nichenas.core.report.terminal import print_result
from nichenas.core.session.journal import Journal
from nichenas.core.session.results import RunResult
from nichenas.core.space import Option
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from tests.conftest import toy_config

QUIET = RunOptions(quiet=True)


class TunableToy(ToyDomain):
    """Its baseline has the first two choices at 1; the others can be tuned."""

    def baseline_choices(self, name: str) -> Mapping[str, Sequence[Option]]:
        assert name == "middle"
        return {"c0": (1,), "c1": (1,)}


def test_tuned_baselines_stand_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = toy_config(
        domain={"kind": f"{__name__}:TunableToy"},
        search={"trials": 12, "confirm": 1},
        retrain={"top": 1, "seeds": 3, "finalists": 4, "screening": 2, "tune_baselines": 9},
    )
    resolved = resolve(config, "toy.yaml")
    result = run_search(resolved, tmp_path / "run", QUIET)
    plain, tuned = result.baselines
    assert (plain.label, tuned.label) == ("middle", "middle, tuned")
    assert (tuned.architecture["c0"], tuned.architecture["c1"]) == (1, 1)
    assert tuned.test["quality"]["n"] == plain.test["quality"]["n"] == 3
    assert tuned.validation["quality"]["mean"] > plain.validation["quality"]["mean"]
    assert [row.test["quality"]["n"] for row in result.retrained] == [3, 2, 2, 2]
    assert result.retrained[0].label == result.key
    nested = tmp_path / "run" / "baselines" / "middle"
    with Journal(nested / "journal.sqlite", read_only=True) as journal:
        trials = list(journal.trials())
    assert len(trials) == 9  # as many as were said, those measured again among them
    assert any(trial.proposal.repeat_of is not None for trial in trials)
    print_result(result, tmp_path / "run")
    assert "middle, tuned (baseline)" in capsys.readouterr().out
    assert "middle, tuned" in (tmp_path / "run" / "report.html").read_text()

    before = (tmp_path / "run" / "result.json").read_text()
    again = run_search(resolved, tmp_path / "run", RunOptions(quiet=True, resume=True))
    assert again.baselines == result.baselines
    held, now = json.loads(before), json.loads((tmp_path / "run" / "result.json").read_text())
    assert {**held, "seconds": 0} == {**now, "seconds": 0}


@pytest.mark.parametrize(("c1", "better"), [(0, ("middle",)), (1, ())])
def test_a_baseline_that_is_better_than_the_chosen_one_is_named(
    c1: int, better: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The baseline has both choices at 1, which is right for the second alone."""
    config = toy_config(
        domain={"choices": 2},
        search={"trials": 1, "restrict": {"c0": [2 * c1], "c1": [c1]}},
        retrain={"top": 1, "seeds": 2},
    )
    result = run_search(resolve(config, "toy.yaml"), tmp_path / "run", QUIET)
    (chosen,), (baseline,) = result.retrained, result.baselines
    is_better = baseline.validation["quality"]["mean"] > chosen.validation["quality"]["mean"]
    assert result.better_baselines == (("middle",) if is_better else ()) == better
    assert RunResult.read(tmp_path / "run") == result
    print_result(result, tmp_path / "run")
    said = "by the validation figure that decides: middle"
    assert (said in capsys.readouterr().out) == is_better
    assert (said in (tmp_path / "run" / "report.html").read_text()) == is_better


def test_finalists_fall_out_by_validation_alone(tmp_path: Path) -> None:
    config = toy_config(
        domain={"noise": 0.2}, search={"trials": 30}, retrain={"top": 2, "seeds": 6, "finalists": 5, "screening": 3}
    )
    result = run_search(resolve(config, "toy.yaml"), tmp_path / "run", QUIET)
    kept, fallen = result.retrained[:2], result.retrained[2:]
    assert [row.test["quality"]["n"] for row in result.retrained] == [6, 6, 3, 3, 3]
    with Journal(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        trained = journal.retrainings()

    def screened(label: str) -> float:
        found = [trained[label, index] for index in range(3)]
        return sum(one.validation["quality"] for one in found if not isinstance(one, str)) / 3

    assert min(screened(row.label) for row in kept) >= max(screened(row.label) for row in fallen)
    best = max(kept, key=lambda row: row.validation["quality"]["mean"])
    assert result.key == best.label


class FailingTunable(TunableToy):
    """What can be tuned fails."""

    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        if proposal.architecture["c0"] == 1 and proposal.architecture["c1"] == 1:
            raise CandidateFailure("diverged", "on request")
        return super().evaluate(proposal, context)


def test_a_baseline_that_cannot_be_tuned_costs_no_result(tmp_path: Path) -> None:
    config = toy_config(domain={"kind": f"{__name__}:FailingTunable"}, retrain={"tune_baselines": 3})
    result = run_search(resolve(config, "toy.yaml"), tmp_path / "run", QUIET)
    assert (tmp_path / "run" / "result.json").exists()
    tuned = result.baselines[-1]
    assert (tuned.label, tuned.test) == ("middle, tuned", {})
    assert "none of 3 candidates could be measured" in tuned.failures[0]


def test_tuning_needs_something_to_tune(tmp_path: Path) -> None:
    resolved = resolve(toy_config(retrain={"tune_baselines": 3}), "toy.yaml")
    with pytest.raises(ConfigError, match=r"toy.yaml: retrain\.tune_baselines: no baseline can be tuned"):
        run_search(resolved, tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()
