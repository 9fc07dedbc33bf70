from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import ResolvedConfig
from nichenas.core.objectives import Objective
from nichenas.core.session.budget import Budget
from nichenas.core.session.progress import Progress
from nichenas.core.session.state import SearchState
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_says_best_rate_failures_and_time_left(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=160)
    state = SearchState()
    with Progress(Objective("accuracy"), Budget(4), console) as progress:
        for number in range(4):
            good = Measurement({"accuracy": 0.1 * number})
            proposal = Proposal(Architecture({"a": number}))
            trial = Trial(number, proposal, good if number != 2 else None, None if number != 2 else "diverged")
            state.record(trial, 0.1 * number, str(number))
            progress.on_trial(trial, state, replayed=False)
        if not terminal:
            progress.on_retraining("GCN", 2, 2)
    text = stream.getvalue()
    assert "4/4 trials, best accuracy 0.3000 (trial 3)" in text
    assert "trials/s, 1 failed, 0:00 left" in text
    assert terminal or "2/2 final trainings, last: GCN" in text


def test_progress_says_what_candidates_are_ranked_by_and_names_final_trainings() -> None:
    stream, state = io.StringIO(), SearchState()
    console = Console(file=stream, width=160)
    by = Objective("brier", "minimize")
    with Progress(Objective("accuracy"), Budget(1), console, criterion=by, names={"abc": "trial 0"}) as progress:
        trial = Trial(0, Proposal(Architecture({"a": 0})), Measurement({"accuracy": 0.5, "brier": 0.25}))
        state.record(trial, 1.0, "0")
        progress.on_trial(trial, state, replayed=False)
        progress.on_retraining("abc", 1, 1)
    assert "1/1 trials, best brier 0.2500, accuracy 0.5000 (trial 0)" in stream.getvalue()
    assert "1/1 final trainings, last: trial 0" in stream.getvalue()


def test_time_left_goes_by_what_is_spent_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("nichenas.core.session.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    console = Console(file=stream, width=160)
    state = SearchState(completed=1, seconds=1.0, epochs=20, training_seconds=3600.0)
    trial = Trial(0, Proposal(Architecture({"a": 0})), None, "diverged")
    for budget, simulated, left in ((Budget(epochs=200), False, "6:40"), (Budget(seconds=36000), True, "6:40")):
        state.epochs, state.training_seconds, now[0] = 20, 3600.0, 0.0
        progress = Progress(Objective("accuracy"), budget, console, task="study", simulated_time=simulated)
        progress.on_trial(trial, state, replayed=True)
        state.epochs, state.training_seconds, now[0] = 40, 7200.0, 50.0  # a tenth in 50 s, eight are left
        progress.on_trial(trial, state, replayed=False)
        last = stream.getvalue().splitlines()[-1]
        assert last.startswith("study: 1 trials")
        assert last.endswith(f"{left} left")


def test_time_left_goes_by_the_last_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of a supernet take a minute each, what is scored with it a second."""
    now = [0.0]
    monkeypatch.setattr("nichenas.core.session.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(Objective("accuracy"), Budget(100), Console(file=stream, width=160))
    state = SearchState()
    for number in range(50):
        now[0] += 60.0 if number < 10 else 1.0
        trial = Trial(number, Proposal(Architecture({"a": number})), Measurement({"accuracy": 0.5}))
        state.record(trial, 0.5, str(number))
        progress.on_trial(trial, state, replayed=False)
    assert stream.getvalue().splitlines()[-1].endswith("0:50 left")


def test_tensorboard_holds_every_trial(toy: Callable[..., ResolvedConfig], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resolved = toy(run={"tensorboard": True}, search={"strategy": "conservative", "start": {"random": 3}})
    run_search(resolved, tmp_path / "run", RunOptions(quiet=True))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("trial/quality")] == list(range(20))
    best = [e.value for e in events.Scalars("best/score")]
    assert best == sorted(best)
    assert any(tag.startswith("strategy/entropy/") for tag in events.Tags()["scalars"])
