"""What is measured before a strategy's own proposals, and what is measured again before it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nichenas.core.capabilities.known import KnownArchitectures
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.methods.trial_search import TrialSearch
from nichenas.core.methods.trial_search import TrialSettings
from nichenas.core.schedulers.confirmation import Confirmation
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.space import Architecture
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies.starts import StartedStrategy
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.core.trial import mean_trial
from tests.core.methods.loops import Shuffled
from tests.core.methods.loops import make_loop
from tests.core.methods.loops import outline
from tests.core.methods.loops import strategy


class KnownToy(ToyDomain, KnownArchitectures):
    """Two architectures that people use; the first is one change away from the best."""

    @property
    def known(self) -> Mapping[str, Architecture]:
        make = self.space.architecture
        return {"good": make({"c0": 2, "c1": 1, "c2": 0, "c3": 0}), "bad": make({"c0": 1, "c1": 0, "c2": 1, "c3": 1})}


def known(**settings: Any) -> KnownToy:
    made = KnownToy(ToySettings(**settings), None)  # type: ignore[arg-type]
    made.prepare()
    return made


def searched(of: ToyDomain, trials: int = 30, journal: Journal | None = None, **search: Any) -> tuple[Any, list[Trial]]:
    """Returns the state and the trials of a search as the method runs it."""
    journal = journal or Journal(None)
    method = TrialSearch(TrialSettings.model_validate({"trials": trials, **search}), seed=0, levels={})
    arguments: dict[str, Any] = {"journal": journal, "executor": Shuffled(of, 2, 1), "resumable": "schedule" in search}
    state = make_loop(of, method.searcher(of), Budget(trials), **arguments).run()
    return state, list(journal.trials())


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_what_people_use_comes_first_for_every_strategy(name: str) -> None:
    of = known(noise=0.0)
    state, trials = searched(of, strategy=name, start={"random": 3})
    starts = [trial.proposal.tag.get("start") for trial in trials[:5]]
    assert starts == ["good", "bad", "random", "random", "random"]
    assert [trial.proposal.architecture for trial in trials[:2]] == list(of.known.values())
    assert len({trial.proposal.architecture for trial in trials[:5]}) == 5
    assert "start" not in trials[5].proposal.tag
    assert state.best_score >= trials[0].measurement.values["quality"]  # type: ignore[union-attr]
    assert searched(of, strategy=name, start={"known": False, "random": 0})[1][0].proposal != trials[0].proposal


def test_local_search_climbs_from_the_best_start() -> None:
    of = known(noise=0.0)
    _, trials = searched(of, strategy="local")
    good = of.known["good"]
    neighbours = {one.key for one in of.space.neighbours(good)}
    assert {trial.proposal.architecture.key for trial in trials[4:10]} <= neighbours


def test_evolution_needs_as_many_fewer_random_members() -> None:
    of = known()
    good = of.known["good"]
    started = StartedStrategy(strategy(of, "evolution", population=6, tournament=6), of.known, 2)
    for number in range(6):
        (proposal,) = started.ask()
        started.tell(Trial(number, proposal, Measurement({"quality": float(proposal.architecture == good)})))
    (child,) = started.ask()  # of the best of all six
    assert sum(child.architecture[name] != good[name] for name in ("c0", "c1", "c2", "c3")) == 1


def test_random_starts_are_as_many_as_suit_the_strategy() -> None:
    """The well-known ones count as starts."""
    assert len(known().known) == 2
    for name, expected in (("conservative", 18), ("conservative-published", 0), ("random", 0)):
        _, trials = searched(known(), strategy=name)
        assert sum(trial.proposal.tag.get("start") == "random" for trial in trials) == expected


def test_a_restricted_search_stays_in_its_part_of_the_space() -> None:
    of = known()
    _, trials = searched(of, strategy="evolution", restrict={"c0": [1, 2], "c3": [0]})
    assert {(t.proposal.architecture["c0"], t.proposal.architecture["c3"]) for t in trials} == {(1, 0), (2, 0)}
    assert [t.proposal.tag.get("start") for t in trials[:2]] == ["good", None]  # the other one is outside
    for wrong, message in (
        ({"c9": [1]}, "unknown choice 'c9'"),
        ({"c0": [7]}, "option of 'c0': '7'"),
        ({"c0": []}, "no opt"),
    ):
        with pytest.raises(ConfigError, match=f"search.restrict: .*{message}"):
            searched(of, restrict=wrong)


def tell(searcher: Confirmation, number: int, proposal: Proposal, quality: float | None) -> None:
    failed = quality is None
    measured = None if failed else Measurement({"quality": quality})  # type: ignore[dict-item]
    searcher.tell(Trial(number, proposal, measured, "diverged" if failed else None))


class Recording:
    """Notes what a strategy is told."""

    def __init__(self) -> None:
        self.inner = strategy(known())
        self.told: list[tuple[int, float | None]] = []

    def ask(self, n: int = 1) -> list[Proposal]:
        return self.inner.ask(n)

    def tell(self, trial: Trial) -> None:
        value = None if trial.measurement is None else trial.measurement.values["quality"]
        self.told.append((trial.number, value))

    def score(self, trial: Trial) -> float:
        return self.inner.score(trial)


def test_a_would_be_incumbent_counts_with_its_mean() -> None:
    recording = Recording()
    searcher = Confirmation(recording, FULL, 2)  # type: ignore[arg-type]
    (first,) = searcher.ask()
    tell(searcher, 0, first, 0.9)
    assert recording.told == []
    again = searcher.ask(2)
    assert [proposal.repeat_of for proposal in again] == [0, None]
    assert again[0].architecture == first.architecture
    tell(searcher, 1, again[0], 0.3)
    assert recording.told == []
    tell(searcher, 3, again[1], 0.2)  # there is no incumbent yet, so it would be one as well
    repeats = searcher.ask(2)
    assert [(proposal.repeat_of, proposal.repeat) for proposal in repeats] == [(0, 2), (3, 1)]
    tell(searcher, 2, repeats[0], 0.6)
    assert recording.told == [(0, pytest.approx(0.6))]
    tell(searcher, 4, repeats[1], None)
    assert recording.told[1:] == [(3, None)]  # it cannot be relied on
    (worse,) = searcher.ask()
    tell(searcher, 6, worse, 0.55)
    assert recording.told[2:] == [(6, 0.55)]
    assert searcher.ask()[0].repeat_of is None


def test_no_repeat_is_spent_on_what_did_not_hold_up() -> None:
    recording = Recording()
    searcher = Confirmation(recording, FULL, 5)  # type: ignore[arg-type]
    searcher.best = 0.5
    (lucky,) = searcher.ask()
    tell(searcher, 0, lucky, 0.8)
    for number, value in ((1, 0.6), (2, 0.4), (3, 0.2)):  # means .7, .6, .5: no better than the incumbent
        (repeat,) = searcher.ask()
        assert repeat.repeat_of == 0
        tell(searcher, number, repeat, value)
    assert recording.told == [(0, pytest.approx(0.5))]
    assert searcher.best == 0.5
    assert searcher.ask()[0].repeat_of is None


@pytest.mark.parametrize("name", ["conservative", "evolution", "optuna"])
@pytest.mark.parametrize("cut", [1, 9, 20])
def test_confirmed_searches_resume(name: str, cut: int) -> None:
    of = known(noise=0.3, fail=0.1)
    arguments: dict[str, Any] = {"strategy": name, "confirm": 2, "start": {"random": 4}}
    state, trials = searched(of, 40, **arguments)
    repeats = [trial for trial in trials if trial.proposal.repeat_of is not None]
    assert len(repeats) >= 4
    values = {trial.measurement.values["quality"] for trial in repeats if trial.measurement}
    assert len(values) == sum(trial.measurement is not None for trial in repeats)  # each with randomness of its own
    journal = Journal(None)
    journal.append(trials[:cut])
    resumed, again = searched(of, 40, journal, **arguments)
    assert outline(again) == outline(trials)
    assert resumed.top(5) == state.top(5)
    best = state.best
    group = [t for t in trials if t.proposal.architecture == best.proposal.architecture]  # optuna repeats itself, too
    assert best == mean_trial(group)


def test_confirmation_under_a_scheduler() -> None:
    of = known(noise=0.2)
    state, trials = searched(of, 60, strategy="random", schedule="asha", confirm=1)
    repeated = [trial for trial in trials if trial.proposal.repeat_of is not None]
    assert repeated
    by_number = {trial.number: trial for trial in trials}
    for trial in repeated:
        assert trial.proposal.fidelity == by_number[trial.proposal.repeat_of or 0].proposal.fidelity == FULL
        assert (trial.proposal.parent, trial.epochs) == (None, of.settings.epochs)
