"""Trial searches on the toy domain, for tests of the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nichenas.core.domain import Domain
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.executors import ExecutorSetup
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.execution.jobs import Job
from nichenas.core.execution.jobs import Result
from nichenas.core.execution.jobs import run_job
from nichenas.core.methods.trial_loop import Searcher
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies import Strategy
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Trial

CPU = torch.device("cpu")


def domain(**settings: Any) -> ToyDomain:
    made = ToyDomain(ToySettings(**settings), None)  # type: ignore[arg-type]
    made.prepare()
    return made


def strategy(of: Domain, name: str = "random", **options: Any) -> Strategy:
    cls = STRATEGIES[name]
    return cls(of.space, of.objectives, 0, cls.Options.model_validate(options))


class Folder:
    """As much of a run folder as a search looks at."""

    def __init__(self, path: Path) -> None:
        self.path = self.checkpoints = path
        path.mkdir(parents=True, exist_ok=True)


def make_loop(
    of: Domain,
    searcher: Searcher,
    budget: Budget,
    *,
    journal: Journal | None = None,
    executor: Executor | None = None,
    folder: Path | None = None,
    order: Any = "strict",
    listeners: Any = (),
    **arguments: Any,
) -> TrialLoop:
    session = Session(
        domain=of,
        journal=journal or Journal(None),
        executor=executor or SerialExecutor(of, CPU),
        folder=None if folder is None else Folder(folder),  # type: ignore[arg-type]
        order=order,
        listeners=list(listeners),
    )
    return TrialLoop(session, searcher, budget, **arguments)


class Shuffled(Executor):
    """Does jobs at once but hands the results back in a scrambled order, as workers of unequal speed would."""

    def __init__(self, of: Domain, capacity: int, order: int) -> None:
        self.domain, self.capacity, self.order = of, capacity, order
        self.done: list[tuple[int, list[Result]]] = []
        self.most = 0

    @classmethod
    def create(cls, setup: ExecutorSetup) -> Shuffled:
        return cls(setup.domain, setup.workers, 0)

    def submit(self, ticket: int, job: Job) -> None:
        self.done.append((ticket, run_job(self.domain, job, CPU)))
        self.most = max(self.most, len(self.done))
        assert len(self.done) <= self.capacity

    def wait(self) -> tuple[int, list[Result]]:
        return self.done.pop(self.order % len(self.done))


def search(
    executor_of: Callable[[Domain], Executor] | None = None, of: Domain | None = None, **arguments: Any
) -> tuple[SearchState, list[Trial]]:
    of = of or domain(fail=0.1)
    kind = arguments.pop("strategy", "evolution")
    options = {"population": 8, "tournament": 3} if kind == "evolution" else {}
    executor = None if executor_of is None else executor_of(of)
    budget = arguments.pop("budget", Budget(40))
    loop = make_loop(of, strategy(of, kind, **options), budget, executor=executor, **arguments)
    return loop.run(), list(loop.session.journal.trials())


def outline(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.proposal, dict(t.measurement.values) if t.measurement else t.failure) for t in trials]
