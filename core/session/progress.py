"""Progress on the terminal: a live line with rich, plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import Progress as RichProgress
from rich.progress import TaskID
from rich.progress import TextColumn

from nichenas.core.objectives import Objective
from nichenas.core.session.budget import Budget
from nichenas.core.session.state import SearchState
from nichenas.core.trial import Trial

PLAIN_EVERY = 10.0  # seconds between plain lines
LATELY = 20  # trials by whose speed the time left is told: what a search measures can change, as from epochs to cells


class Progress:
    """Shows best so far, trials a second, failures and time left; on stderr.

    Args:
        objective: the primary one.
        budget: of the search.
        console: where to; by default stderr.
        unit: what the journal has a row for.
        task: what is going on.
        simulated_time: whether the seconds of the budget are those that a table tells.
        criterion: that trials are ranked by, where it is not the objective.
        names: of architectures in final trainings, by key; others are named as they are.
    """

    def __init__(
        self,
        objective: Objective,
        budget: Budget,
        console: Console | None = None,
        unit: str = "trial",
        task: str = "search",
        simulated_time: bool = False,
        criterion: Objective | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.objective = objective
        self.budget = budget
        self.unit = unit
        self.task = task
        self.simulated_time = simulated_time
        self.figures = [objective] if criterion is None else [criterion, objective]
        self.names = names or {}
        self.console = console or Console(file=sys.stderr, markup=False)
        self._started = time.monotonic()
        self._fresh = 0
        # When the last trials ended, and the share of the budget that was spent then; the first is of earlier sessions.
        self._marks: deque[tuple[float, float]] = deque([(self._started, 0.0)], maxlen=LATELY)
        self._last_line = 0.0
        self._live: RichProgress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[line]}", markup=False),
                console=self.console,
                transient=False,
            )
            self._live.start()
            self._task = self._live.add_task(self.task, total=1.0, line="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Shows a completed trial."""
        self._fresh += not replayed
        if replayed:
            self._marks[0] = self._started, self._share(state)
        else:
            self._marks.append((time.monotonic(), self._share(state)))
        line = self._line(state)
        if self._live is not None:
            self._live.update(self._task, description=self.task, completed=self._share(state), line=line)
        elif not replayed and self._due(state.completed == self.budget.units):
            self.console.print(f"{self.task}: {line}", highlight=False, soft_wrap=True)

    def on_retraining(self, label: str, done: int, total: int) -> None:
        """Shows a finished full training."""
        line = f"{done}/{total} final trainings, last: {self.names.get(label, label)}"
        if self._live is not None:
            self._live.update(self._task, description="retrain", completed=done / total, line=line)
        elif self._due(done == total):
            self.console.print(f"retrain: {line}", highlight=False, soft_wrap=True)

    def _due(self, last: bool) -> bool:
        now = time.monotonic()
        if last or now - self._last_line >= PLAIN_EVERY:
            self._last_line = now
            return True
        return False

    def _share(self, state: SearchState) -> float:
        shares = []
        if self.budget.units:
            shares.append(state.completed / self.budget.units)
        if self.budget.seconds:
            shares.append((state.training_seconds if self.simulated_time else state.seconds) / self.budget.seconds)
        if self.budget.epochs:
            shares.append(state.epochs / self.budget.epochs)
        return min(1.0, max(shares, default=0.0))

    def _line(self, state: SearchState) -> str:
        elapsed = max(1e-9, time.monotonic() - self._started)
        rate = self._fresh / elapsed
        total = f"/{self.budget.units}" if self.budget.units else ""
        best = f"{self.objective.name} none yet"
        if state.best is not None:
            values = state.best.measurement.values if state.best.measurement is not None else {}
            found = ", ".join(f"{one.name} {values[one.name]:.4f}" for one in self.figures if one.name in values)
            best = f"{found} ({self.unit} {state.best.number})"
        parts = [
            f"{state.completed}{total} {self.unit}s",
            *([f"{state.epochs:,}/{self.budget.epochs:,} epochs"] if self.budget.epochs else []),
            f"best {best}",
            f"{rate:.2f} {self.unit}s/s",
        ]
        parts.append(f"{state.failed} failed")
        (began, before), (now, done) = self._marks[0], self._marks[-1]
        if done > before:
            parts.append(f"{_duration((now - began) * (1 - done) / (done - before))} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def retraining_progress(
    objective: Objective, quiet: bool, names: Mapping[str, str] | None = None
) -> Iterator[Progress | None]:
    """Shows final trainings inside the ``with`` block; none where nothing is to be shown.

    Args:
        names: of architectures, by key.
    """
    if quiet:
        yield None
    else:
        with Progress(objective, Budget(), names=names) as progress:
            yield progress
