"""A session: one run while it is open. It owns what every search method needs and none should write again."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Literal

import torch

from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.execution.executors import Executor
from nichenas.core.execution.executors import SerialExecutor
from nichenas.core.objectives import Objective
from nichenas.core.session.clock import Clock
from nichenas.core.session.journal import Journal
from nichenas.core.session.run_folder import RunFolder
from nichenas.core.session.state import Listener
from nichenas.core.session.state import SearchState
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Session:
    """One run while it is open.

    Attributes:
        domain: prepared.
        seed: of the run; every draw comes from it.
        journal: open; may hold trials of earlier sessions.
        executor: where proposals are evaluated; by default in this process.
        folder: of the run; without one, checkpoints are not kept and an interrupted search begins again.
        device: where networks are trained.
        limits: of every candidate.
        order: of completion; ``asap`` depends on timing.
        keep: how many of the best architectures are known at any time.
        listeners: told of every completed trial; an error of theirs is logged.
        diagnostics: returns further figures about the search, such as a strategy's entropy; the method sets it.
        objectives: that every measurement of the search has; by default nothing is asked for.
        state: how far the search is.
        recorded: the journal's trials when the session began, in the order of completion.
    """

    domain: Domain
    seed: int = 0
    journal: Journal = field(default_factory=lambda: Journal(None))
    executor: Executor = None  # type: ignore[assignment]  # set below
    folder: RunFolder | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    limits: Limits = field(default_factory=Limits)
    order: Literal["strict", "asap"] = "strict"
    keep: int = 10
    listeners: list[Listener] = field(default_factory=list)
    diagnostics: Callable[[], Mapping[str, float]] = dict
    objectives: Sequence[Objective] = ()
    state: SearchState = field(init=False)
    recorded: list[Trial] = field(init=False)
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.state = SearchState(self.keep)
        self.recorded = list(self.journal.trials())
        self.clock = Clock(float(self.journal.meta("seconds", 0.0)))
        if self.executor is None:
            self.executor = SerialExecutor(self.domain, self.device)

    @property
    def checkpoints(self) -> Path | None:
        """Folder of checkpoints; none without a run folder."""
        return None if self.folder is None else self.folder.checkpoints

    @contextlib.contextmanager
    def searching(self, units: str) -> Iterator[None]:
        """Writes down, when the search inside the ``with`` block ends, what it spent.

        Args:
            units: what is counted, as it reads in the message of an interrupt.

        Raises:
            Interrupted: on Ctrl-C; everything completed is on the disk.
        """
        try:
            yield
            self.state.seconds = self.clock.seconds
            self.journal.set_meta("seconds", self.state.seconds)
            self.journal.flush()
        except KeyboardInterrupt:
            self.journal.flush()
            raise Interrupted(f"interrupted after {self.state.completed} {units}") from None

    def append(self, trials: Sequence[Trial]) -> None:
        """Adds new trials to the journal, all or none.

        Raises:
            ValueError: when an objective is missing or not finite: a method that measures something itself hands it
                through :func:`~nichenas.core.gate.checked_measurement`, and makes a failure a failed trial.
        """
        for trial in trials:
            values = {} if trial.measurement is None else trial.measurement.values
            for objective in self.objectives if trial.measurement is not None else ():
                if not math.isfinite(values.get(objective.name, math.nan)):
                    raise ValueError(f"trial {trial.number}: {objective.name} is {values.get(objective.name)}")
        self.journal.append(trials, seconds=self.clock.seconds)

    def complete(self, trial: Trial, score: float, replayed: bool) -> None:
        """Counts a completed trial, which the journal holds, and tells the listeners.

        Args:
            score: larger is better, for trials of the same fidelity.
        """
        self.state.seconds = self.clock.seconds
        self.state.record(trial, score, self.identity(trial))
        for listener in list(self.listeners):
            try:
                listener.on_trial(trial, self.state, replayed)
            except Exception:
                log.exception("%s is left out from now on", type(listener).__name__)
                self.listeners.remove(listener)

    def identity(self, trial: Trial) -> str:
        """Returns the key of a trial's canonical architecture."""
        return self.domain.space.canonical(trial.proposal.architecture).key

    def check_replay(self, recorded: Trial, proposal: Proposal, what: str = "trial") -> None:
        """Checks that a recorded trial is what is proposed now.

        Raises:
            RunFolderError: otherwise.
        """
        if not same_work(recorded.proposal, proposal):
            raise RunFolderError(
                f"{what} {recorded.number} of the journal is not what the search proposes; the run was made by "
                "another version or machine and cannot be resumed; start a new run in another folder (--out)"
            )

    def write_checkpoint(self, name: str, trials: int, state: Mapping[str, Any]) -> None:
        """Keeps what the search continues from, once the journal is on the disk.

        Args:
            trials: of the journal, that the state has seen.
        """
        if self.checkpoints is not None:
            self.journal.flush()
            write_checkpoint(self.checkpoints / name, {**state, "trials": trials})

    def read_checkpoint(self, name: str) -> dict[str, Any] | None:
        """Returns the last state of that name; none where there is none.

        Raises:
            RunFolderError: when it is damaged, or ahead of the journal.
        """
        if self.checkpoints is None or not (self.checkpoints / name).exists():
            return None
        held = read_checkpoint(self.checkpoints / name, self.device)
        # Until journal version 1, a gradient search counted its epochs, which are its trials.
        seen = int(held.get("trials", held.get("epoch", 0)))
        if seen > len(self.recorded):
            raise RunFolderError(f"{self.checkpoints / name}: of trial {seen}, the journal has {len(self.recorded)}")
        return held


def same_work(one: Proposal, other: Proposal) -> bool:
    """Returns whether two proposals ask for the same training; tags may come back from JSON in another form."""

    def work(proposal: Proposal) -> tuple[object, ...]:
        return proposal.architecture, proposal.fidelity, proposal.parent, proposal.repeat_of, proposal.repeat

    return work(one) == work(other)
