"""Searches whose architecture is searched with the trained supernet, beside the contract of methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nichenas.core.capabilities.criterion import RankingCriterion
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import resolve
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.core.methods.gradient import GradientSearch
from nichenas.core.methods.gradient import GradientSettings
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.objectives import Objective
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies import Strategy
from nichenas.core.testing.toy_supernet import ToySupernetDomain
from nichenas.core.testing.toy_supernet import ToySupernetSettings
from nichenas.core.trial import Trial

EPOCHS, SCORED = 4, 10


class Priced(ToySupernetDomain):
    """The toy whose operations cost as they stand."""

    def resources(self) -> dict[str, ResourceTable]:
        prices = torch.arange(4, dtype=torch.float64).expand(2, 4)
        return {"macs": ResourceTable({"cell": prices}, rest=1.0)}


def session_of(kind: type[Priced] = Priced) -> Session:
    domain = kind(ToySupernetSettings(), Environment(Path("none"), Path("none")))
    domain.prepare()
    objective = domain.objectives[0].of_supernet()
    return Session(domain=domain, seed=0, objectives=[objective])


def options(select: dict[str, Any] | None = None, **others: Any) -> GradientOptions:
    chosen = {"strategy": "random", "scored": SCORED, **(select or {})}
    return GradientOptions.model_validate({"batch": 8, "discretise": {"edges": 2}, "select": chosen, **others})


def random_search(session: Session) -> Strategy:
    cls = STRATEGIES["random"]
    return cls(session.domain.space, session.objectives, session.seed, cls.Options())


def searched(select: dict[str, Any] | None = None, **others: Any) -> tuple[Session, GradientLoop]:
    session = session_of()
    loop = GradientLoop(session, options(select, **others), EPOCHS, strategy=random_search(session))
    loop.run()
    return session, loop


def of_stage(session: Session, stage: int) -> list[Trial]:
    return [trial for trial in session.journal.trials() if trial.stage == stage]


def value(trial: Trial, name: str) -> float:
    assert trial.measurement is not None
    return trial.measurement.values[name]


def test_the_best_of_the_supernet_is_the_outcome() -> None:
    session, loop = searched()
    assert [len(of_stage(session, stage)) for stage in (0, 1, 2)] == [EPOCHS, SCORED, 0]
    selected = of_stage(session, 1)
    assert [trial.number for trial in selected] == list(range(EPOCHS, EPOCHS + SCORED))
    best = max(selected, key=lambda trial: value(trial, "quality[supernet]"))
    assert session.state.top(1) == [best]
    scores = loop.scores(best.proposal.architecture)
    assert scores == {
        "quality[supernet]": value(best, "quality[supernet]"),
        "loss[supernet]": value(best, "loss[supernet]"),
    }


def test_the_best_alone_is_the_outcome_where_it_is_confirmed() -> None:
    session, _ = searched({"confirm": 4})
    proposed = sorted(of_stage(session, 1), key=lambda trial: (-value(trial, "quality[supernet]"), trial.number))
    alone = of_stage(session, 2)
    assert [t.proposal.architecture for t in alone] == [t.proposal.architecture for t in proposed[:4]]
    for trial, before in zip(alone, proposed, strict=False):
        expected = session.domain.evaluate(trial.proposal, Context(0, trial.number)).values["quality"]
        assert value(trial, "quality") == expected
        assert value(trial, "quality[supernet]") == value(before, "quality[supernet]")
    assert session.state.best == max(alone, key=lambda trial: value(trial, "quality"))


def test_what_costs_too_much_is_not_chosen() -> None:
    session, _ = searched(resources=[{"kind": "macs", "most": 4.0}])
    selected = of_stage(session, 1)
    failed = [trial for trial in selected if trial.failed]
    assert {trial.failure for trial in failed} == {"over the limit"}
    assert "macs; at most 4" in failed[0].detail
    for trial in selected:
        operations = [int(str(option)) for option in trial.proposal.architecture.values()]
        assert trial.failed == (sum(operations) + 1 > 4)
        if not trial.failed:
            assert value(trial, "macs") == sum(operations) + 1
    assert session.state.best is not None
    assert not session.state.best.failed


def test_weights_alone_are_trained_where_there_is_no_step() -> None:
    session, loop = searched(step="none", init_std=0.0)
    assert loop.data.architecture is None
    assert all(not bool(table.any()) for table in loop.training.parameters.values())
    (first, *_, last) = of_stage(session, 0)
    assert first.measurement is not None
    assert last.measurement is not None
    assert last.measurement.diagnostics["train_loss"] < first.measurement.diagnostics["train_loss"]
    assert last.measurement.diagnostics["mixture"] == {"cell": [[0.25] * 4] * 2}
    assert session.journal.meta("effect") is None  # of parameters that were not trained


def test_a_search_that_was_selected_from_trains_no_further() -> None:
    """It ran out of seconds; more seconds later do not change the supernet that the selection saw."""
    session = session_of()
    loop = GradientLoop(session, options(), EPOCHS, seconds=1e-9, strategy=random_search(session))
    loop._epoch = 0
    loop.run()
    assert of_stage(session, 1) == []  # nothing was trained, so there is nothing to select from
    session, _ = searched()
    session.journal.set_meta("stopped", "seconds")
    again = Session(domain=session.domain, seed=0, journal=session.journal, objectives=session.objectives)
    loop = GradientLoop(again, options(), EPOCHS + 5, strategy=random_search(again))
    loop._epoch = EPOCHS
    assert loop._recorded_reason() == "seconds"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"step": "none"}, "step: none leaves a uniform mixture"),
        ({"select": {"scored": 3, "confirm": 4}}, "confirm: 4 of 3 scored architectures cannot be measured"),
        ({"step": "none", "select": {}, "relaxation": "gumbel"}, "relaxation: acts on architecture parameters"),
        ({"step": "none", "select": {}, "early_stop": {"stable": 3}}, "early_stop: acts on architecture parameters"),
        ({"step": "none", "select": {}, "resources": [{"kind": "macs", "weight": 1}]}, "resources: acts on arch"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GradientOptions.model_validate(given)


def test_what_goes_wrong_while_an_architecture_is_scored_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = GradientLoop.scores

    def scores(self: GradientLoop, architecture: Any) -> dict[str, float]:
        if architecture["c0"] == 1:
            raise torch.OutOfMemoryError("no memory left")
        return measured(self, architecture)

    monkeypatch.setattr(GradientLoop, "scores", scores)
    session, _ = searched()
    failed = [trial for trial in of_stage(session, 1) if trial.failed]
    assert {(t.failure, t.detail, t.proposal.architecture["c0"]) for t in failed} == {
        ("out of memory", "no memory left", 1)
    }


class Ranked(Priced, RankingCriterion):
    """One that ranks by a criterion of its own."""

    @property
    def criterion(self) -> Objective:
        return Objective("size", "minimize")


def test_the_loss_ranks_where_the_score_is_too_coarse() -> None:
    session = session_of(Ranked)
    loop = GradientLoop(
        session, options(), EPOCHS, strategy=method({"strategy": "random"})._strategy("random", session)
    )
    loop.run()
    assert session.state.best == min(of_stage(session, 1), key=lambda trial: value(trial, "loss[supernet]"))


FILE = {
    "domain": {"kind": "nichenas.core.testing.toy_supernet:ToySupernetDomain"},
    "search": {
        "method": "gradient",
        "epochs": 4,
        "options": {
            "gradient": {
                "batch": 16,
                "checkpoint_every": 3,
                "select": {"strategy": "random", "scored": 6, "confirm": 2},
            }
        },
    },
    "retrain": {"seeds": 1, "top": 1},
}


def test_a_selection_has_the_checkpoint_that_it_began_with(tmp_path: Path) -> None:
    """Its supernet's epochs are trained no further, and without their checkpoint the run does not go on."""
    resolved = resolve({**FILE, "search": {**FILE["search"], "seconds": 1e3}}, "toy.yaml")
    result = run_search(resolved, tmp_path / "run", RunOptions(quiet=True))
    assert result.trials == 12
    assert result.searched == "quality"
    again = run_search(resolved, tmp_path / "run", RunOptions(quiet=True, resume=True))
    assert (again.key, again.trials, again.validation) == (result.key, result.trials, result.validation)
    (tmp_path / "run" / "checkpoints" / "gradient.pt").unlink()
    with pytest.raises(RunFolderError, match=r"has 4 epochs and has begun to select .* gradient.pt is not there"):
        run_search(resolved, tmp_path / "run", RunOptions(quiet=True, resume=True))


def test_a_search_out_of_seconds_keeps_what_its_selection_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two checkpoints."""
    own = {**FILE["search"]["options"]["gradient"], "checkpoint_every": 3}
    resolved = resolve({**FILE, "search": {**FILE["search"], "options": {"gradient": own}}}, "toy.yaml")
    train = GradientLoop._train_epoch

    def twice(self: GradientLoop) -> Trial:
        trial = train(self)
        self.seconds = 0.0 if trial.number == 1 else None
        return trial

    monkeypatch.setattr(GradientLoop, "_train_epoch", twice)
    result = run_search(resolved, tmp_path / "run", RunOptions(quiet=True))
    assert (result.trials, result.stopped) == (2 + 6 + 2, "seconds")
    monkeypatch.setattr(GradientLoop, "_train_epoch", lambda self: pytest.fail("trained further"))
    again = run_search(resolved, tmp_path / "run", RunOptions(quiet=True, resume=True))
    assert (again.key, again.trials, again.validation) == (result.key, result.trials, result.validation)


def test_what_was_spent_before_a_selection_counts(tmp_path: Path) -> None:
    run_search(resolve(FILE, "toy.yaml"), tmp_path / "run", RunOptions(quiet=True))
    record = RunRecord.read(tmp_path / "run")
    assert record.spent("trials") == [11, 12]
    assert record.spent("seconds")[-1] == pytest.approx(sum(trial.seconds for trial in record.trials))
    assert (record.objective.name, record.searched.name) == ("quality", "quality")


def method(select: dict[str, Any] | None) -> GradientSearch:
    own = {} if select is None else {"gradient": {"select": select}}
    return GradientSearch(GradientSettings.model_validate({"epochs": 4, "options": own}))


def test_an_unknown_strategy_is_one_line_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"unknown strategy 'forrest' \(did you mean 'forest'\?\)") as found:
        method({"strategy": "forrest"}).check("toy", ToySupernetDomain)
    assert found.value.key == "search.options.gradient.select.strategy"
    method({"strategy": "forest"}).check("toy", ToySupernetDomain)


def test_the_budget_counts_what_follows_the_epochs() -> None:
    assert (method(None).budget().units, method(None).unit) == (4, "epoch")
    chosen = method({"scored": 7, "confirm": 2})
    assert (chosen.budget().units, chosen.unit) == (13, "measurement")
    assert GradientSearch(None).unit == "epoch"
