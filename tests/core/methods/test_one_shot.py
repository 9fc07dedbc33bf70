from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pytest
import torch

from nichenas.core.commands.search import run_search
from nichenas.core.config import ResolvedConfig
from nichenas.core.config import resolve
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.errors import ConfigError
from nichenas.core.errors import SearchDiverged
from nichenas.core.methods.one_shot import OneShotSettings
from nichenas.core.methods.one_shot_loop import OneShotLoop
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.journal import Journal
from nichenas.core.session.session import Session
from nichenas.core.sharing.one_shot import OneShotOptions
from nichenas.core.strategies import STRATEGIES
from nichenas.core.testing.one_shot_contract import OneShotContract
from nichenas.core.testing.toy_one_shot import ToyOneShotDomain
from tests.conftest import toy_config
from tests.core.methods.loops import Folder
from tests.core.methods.test_kill_and_resume import QUIET

TOY = "nichenas.core.testing.toy_one_shot:ToyOneShotDomain"
STAGES = (2, 4, 5)
POLICY = {"tanh": None, "betas": [0.0, 0.9], "deduplicate": False, "learning_rate": 0.01}


class TestToyContract(OneShotContract):
    target = TOY
    settings: ClassVar[dict[str, Any]] = {"stage_ends": STAGES}


def configuration(
    strategy: str = "reinforce", domain: Mapping[str, Any] | None = None, **one_shot: Any
) -> ResolvedConfig:
    options = {"iterations": [3, 3, 2], "shared_steps": 40, "scored": 6, "candidates": 4, "beam": 2, **one_shot}
    own = {"kind": TOY, "stage_ends": STAGES, **(domain or {})}
    search = {"strategy": strategy, "sharing": "supernet", "one_shot": options, "options": {"reinforce": POLICY}}
    return resolve({**toy_config(), "domain": own, "search": search}, "toy.yaml")


def driver(resolved: ResolvedConfig, journal: Journal | None = None, folder: Path | None = None) -> OneShotLoop:
    domain = ToyOneShotDomain(resolved.settings, Environment(Path(), Path()))
    domain.prepare()
    search = resolved.search
    assert isinstance(search, OneShotSettings)
    cls = STRATEGIES[search.strategy]
    options = cls.Options.model_validate(search.options.get(search.strategy, {}))
    session = Session(
        domain=domain,
        journal=journal or Journal(None),
        folder=None if folder is None else Folder(folder),  # type: ignore[arg-type]
    )
    return OneShotLoop(session, search.one_shot, lambda *arguments: cls(*arguments, options))  # type: ignore[arg-type, return-value]


def trials(journal: Journal, stage: int | None = None, candidate: bool | None = None) -> list[Any]:
    return [
        t
        for t in journal.trials()
        if (stage is None or t.stage == stage) and (candidate is None or t.final == candidate)
    ]


def test_prefixes_of_a_stage_are_members_of_the_beam() -> None:
    journal = Journal(None)
    driver(configuration(), journal).run()
    for stage in (1, 2):
        space_before = STAGES[stage - 1]
        candidates = sorted(
            trials(journal, stage - 1, candidate=True), key=lambda t: -t.measurement.values["quality[supernet]"]
        )
        beam = {tuple(t.proposal.architecture.items()) for t in candidates[:4]}
        names = [c.name for c in ToyOneShotDomain.space.fget(_domain()).choices[:space_before]]  # type: ignore[attr-defined]
        for trial in trials(journal, stage):
            prefix = tuple((n, v) for n, v in trial.proposal.architecture.items() if n in names)
            assert prefix in beam


def _domain() -> ToyOneShotDomain:
    return ToyOneShotDomain(
        ToyOneShotDomain.Settings.model_validate({"stage_ends": STAGES}), Environment(Path(), Path())
    )


def test_every_stage_has_a_fresh_controller_and_detached_states(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    cls = STRATEGIES["reinforce"]
    begin = cls.import_state

    def spy(self: Any, memories: Any) -> None:
        seen.append((self, memories))
        begin(self, memories)

    monkeypatch.setattr(cls, "import_state", spy)
    run = driver(configuration())
    first = run.strategy
    run.run()
    assert len(seen) == 2
    assert len({id(first), *(id(strategy) for strategy, _ in seen)}) == 3
    for strategy, memories in seen:
        assert len(memories) == len(strategy.space.prefixes) <= 2
        for memory in memories:
            assert memory["hidden"].shape == memory["cell"].shape == (1, 100)
            assert not memory["hidden"].requires_grad
            assert float(memory["hidden"].abs().sum()) > 0


def test_weights_are_bitwise_unchanged_across_a_growth() -> None:
    run = driver(configuration())
    kept: list[torch.Tensor] = []
    begin = run.shared.begin_stage

    def spy(stage: int) -> None:
        before = run.shared.weights.clone()  # type: ignore[attr-defined]
        begin(stage)
        kept.append((before == run.shared.weights).all())  # type: ignore[attr-defined]

    run.shared.begin_stage = spy  # type: ignore[method-assign]
    run.run()
    assert len(kept) == 2
    assert all(kept)


def test_the_best_that_is_trained_alone_is_the_outcome() -> None:
    journal = Journal(None)
    resolved = configuration("random", beam=4, confirm=3)
    run = driver(resolved, journal)
    state = run.run()
    alone = [t for t in trials(journal) if t.stage == 3]
    beam = sorted(trials(journal, 2, candidate=True), key=lambda t: -t.measurement.values["quality[supernet]"])
    assert {t.proposal.architecture for t in alone} <= {t.proposal.architecture for t in beam[:4]}
    assert [t.number for t in alone] == list(range(state.completed))[-3:]
    assert state.completed <= resolved.method.budget().units == 8 * 6 + 3 * 4 + 3  # small spaces are used up
    for trial in alone:
        assert set(trial.measurement.values) >= {"quality", "quality[supernet]"}
        context = Context(run.seed, trial.number)
        assert trial.measurement.values["quality"] == run.domain.evaluate(trial.proposal, context).values["quality"]  # type: ignore[attr-defined]
    assert state.top(10) == sorted(alone, key=lambda t: (-t.measurement.values["quality"], t.number))


def test_what_cannot_be_trained_alone_is_not_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, proposal: Any, context: Any) -> Any:
        raise RuntimeError("too deep")

    monkeypatch.setattr(ToyOneShotDomain, "evaluate", fails)
    journal = Journal(None)
    with pytest.raises(SearchDiverged, match="none of the best architectures could be trained alone"):
        driver(configuration("random", confirm=2), journal).run()
    assert [t.detail for t in trials(journal) if t.stage == 3] == ["RuntimeError: too deep"] * 2


def test_no_more_are_confirmed_than_the_beam_holds() -> None:
    with pytest.raises(ConfigError, match=r"confirm: 3 of a beam of 2"):
        configuration(confirm=3)


def test_progress_goes_from_the_beginning_to_the_end_of_the_search() -> None:
    run = driver(configuration(sampler="uniform", paths=3))
    seen: list[tuple[int, float]] = []
    step = run.shared.step

    def spy(architectures: Any, progress: float) -> Any:
        seen.append((len(architectures), progress))
        return step(architectures, progress)

    run.shared.step = spy  # type: ignore[method-assign]
    run.run()
    assert {count for count, _ in seen} == {3}
    assert [progress for _, progress in seen] == pytest.approx([i / 320 for i in range(320)])


def test_outcome_is_the_last_beam_scored_with_the_last_weights() -> None:
    journal = Journal(None)
    state = driver(configuration(), journal).run()
    last = {t.number for t in trials(journal, 2, candidate=True)}
    assert {t.number for t in state.top(10)} <= last
    assert state.completed == len(list(journal.trials())) == 8 * 6 + 3 * 4
    space = _domain().space
    assert space.architecture(dict(state.top(1)[0].proposal.architecture))  # a whole architecture


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_any_strategy_can_drive_it(strategy: str) -> None:
    if strategy == "optuna":
        pytest.importorskip("optuna")
    journal = Journal(None)
    state = driver(configuration(strategy), journal).run()
    assert state.best is not None
    assert {t.stage for t in journal.trials()} == {0, 1, 2}
    again = Journal(None)
    driver(configuration(strategy), again).run()
    assert [t.proposal for t in journal.trials()] == [t.proposal for t in again.trials()]


def test_the_policy_learns_from_shared_scores() -> None:
    def late(strategy: str) -> float:
        journal = Journal(None)
        run = driver(configuration(strategy, iterations=[12, 12, 6], scored=20, domain={"noise": 0.02}), journal)
        run.run()
        scored = [t.proposal.architecture for t in trials(journal, 2, candidate=False)]
        return float(np.mean([run.domain._quality(a) for a in scored[-40:]]))  # type: ignore[attr-defined]

    assert late("reinforce") > late("random") + 0.1


def test_a_collapse_reinitialises_weights_and_leaves_the_controller_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = configuration(
        domain={"collapse": 30, "recovers": True}, reset={"window": 10, "variance": 1e-3}, shared_steps=80
    )
    journal = Journal(None)
    run = driver(resolved, journal)
    policies: list[bool] = []
    reinitialise = run.shared.reinitialise

    def spy(context: Context) -> None:
        before = {n: p.clone() for n, p in run.strategy.controller.named_parameters()}  # type: ignore[attr-defined]
        reinitialise(context)
        after = dict(run.strategy.controller.named_parameters())  # type: ignore[attr-defined]
        policies.append(all(torch.equal(before[n], after[n]) for n in before))

    monkeypatch.setattr(run.shared, "reinitialise", spy)
    run.run()
    events = [r for t in journal.trials() if t.measurement for r in t.measurement.diagnostics["iterations"]]
    resets = [(e["iteration"], r) for e in events for r in e["resets"]]
    assert len(resets) == 1
    assert resets[0][0] == 0
    assert resets[0][1]["reason"].endswith("hardly changes")
    assert policies == [True]
    # the iteration's training began again: it has the steps of both attempts
    assert events[0]["steps"] == resets[0][1]["step"] + 80


def test_what_collapses_twice_is_not_scored() -> None:
    journal = Journal(None)
    resolved = configuration(domain={"collapse": 5}, reset={"window": 10}, shared_steps=60)
    driver(resolved, journal).run()
    assert all(t.final for t in journal.trials())  # no iteration had weights worth scoring


def test_reset_finishes_a_collapsing_run_in_fewer_steps() -> None:
    def steps(reset: dict[str, Any] | None) -> int:
        journal = Journal(None)
        domain = {"collapse": 30, "recovers": True}
        options = {"reset": reset, "reset_before_controller": False, "shared_steps": 80}
        driver(configuration(domain=domain, **options), journal).run()
        events = [r for t in journal.trials() if t.measurement for r in t.measurement.diagnostics["iterations"]]
        return sum(e["steps"] for e in events)

    assert steps({"window": 10, "variance": 1e-3}) < steps(None)


def test_without_resets_a_loss_that_is_not_finite_ends_the_search() -> None:
    with pytest.raises(SearchDiverged, match="lower the learning rates"):
        driver(configuration(domain={"broken": True}, reset=None)).run()


def test_a_failed_score_is_a_failed_trial() -> None:
    journal = Journal(None)
    run = driver(configuration(), journal)
    score = run.shared.score

    def fragile(architecture: Any, context: Context) -> Any:
        if context.trial % 3 == 1:
            return {"quality": float("nan")}
        if context.trial % 3 == 2:
            raise MemoryError
        return score(architecture, context)

    run.shared.score = fragile  # type: ignore[method-assign]
    state = run.run()
    assert state.failures == {"diverged": 20, "out of memory": 20}
    events = [r for t in journal.trials() if t.measurement for r in t.measurement.diagnostics["iterations"]]
    assert [e["iteration"] for e in events] == list(range(8))  # none is lost with a failed trial


def test_the_beam_may_hold_repeats_where_the_code_lets_it() -> None:
    run = driver(configuration("reinforce", distinct=False, candidates=12, beam=12))
    run.run()
    assert len(run._prefixes) == 12
    run = driver(configuration("reinforce", candidates=12, beam=12))
    run.run()
    keys = [t.proposal.architecture.key for t in run._prefixes]
    assert len(keys) == len(set(keys))


class Stop(BaseException):
    pass


@pytest.mark.parametrize("after", [5, 25, 30, 38, 45, 58])  # in iterations and among candidates, in every stage
@pytest.mark.parametrize("strategy", ["reinforce", "evolution"])
def test_stopped_anywhere_it_resumes_to_the_same(strategy: str, after: int, tmp_path: Path) -> None:
    resolved = configuration(
        strategy, domain={"collapse": 300, "recovers": True}, reset={"window": 8, "variance": 1e-2}
    )
    with Journal(tmp_path / "whole.sqlite") as journal:
        driver(resolved, journal, tmp_path / "whole").run()
        expected = [(t.proposal, t.measurement.values) for t in journal.trials()]  # type: ignore[union-attr]

    class Bomb:
        def on_trial(self, trial: Any, state: Any, replayed: bool) -> None:
            if trial.number == after and not replayed:
                raise Stop

    with Journal(tmp_path / "cut.sqlite") as journal:
        run = driver(resolved, journal, tmp_path / "cut")
        run.session.listeners.append(Bomb())
        with pytest.raises(Stop):
            run.run()
        journal.flush()
    with Journal(tmp_path / "cut.sqlite") as journal:
        state = driver(resolved, journal, tmp_path / "cut").run()
        found = [(t.proposal, t.measurement.values) for t in journal.trials()]  # type: ignore[union-attr]
    assert found == expected
    assert state.best is not None


def test_run_folder_report_and_refusals(tmp_path: Path) -> None:
    result = run_search(configuration(), tmp_path / "run", QUIET)
    assert result.trials == 60
    assert set(result.validation) == {"quality[supernet]", "steps[supernet]"}
    assert "entropy" in write_run_page(tmp_path / "run").read_text()
    with pytest.raises(ConfigError, match="searched in 3"):
        run_search(configuration(iterations=[2]), tmp_path / "other", QUIET)
    with pytest.raises(ConfigError, match="has no shared weights; methods that it can be searched with: trial"):
        resolve({**toy_config(search={"sharing": "supernet"})}, "toy.yaml")
    with pytest.raises(ConfigError, match=r"search\.one_shot: missing"):
        resolve({**toy_config(domain={"kind": TOY}), "search": {"sharing": "supernet"}}, "toy.yaml")
    with pytest.raises(ConfigError, match="give either shared_epochs or shared_steps"):
        configuration(shared_epochs=1.0)
    raw = configuration().to_dict()
    raw["search"]["seconds"] = 5
    with pytest.raises(ConfigError, match=r"search\.seconds: the method 'one-shot' does not use it"):
        resolve(raw, "toy.yaml")


def test_options_of_the_script_are_the_defaults() -> None:
    options = OneShotOptions(shared_epochs=15)
    assert options.iterations == (15, 20, 30)  # growth after 15 and 35 of 65 iterations
    assert (options.scored, options.candidates, options.beam) == (30, 10, 5)
    assert options.reset is not None
    assert (options.reset.window, options.reset.variance) == (500, 1e-3)
    assert options.trials == 65 * 30 + 3 * 10
