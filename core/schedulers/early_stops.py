"""Early stops: a training that is behind most others at the same epoch is not trained to its end.

The median rule (Golovin et al. 2017, section 3.2.1) with another quantile if wanted: at a few epochs, the best value so
far must not be below the quantile of what the trials told so far had reached by then. What is told decides, never what
is still being trained, so that a search with workers resumes to the same answer.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from nichenas.core.objectives import Objective
from nichenas.core.schedulers.searcher import Searcher
from nichenas.core.settings import Settings
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

LOOKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of a complete training, when it is looked at


class StopSettings(Settings):
    """When a training stops early.

    Attributes:
        quantile: of the trials told so far, which a training must not be below; 0.5 is the median.
        after: trials that must have been told before any is stopped.
    """

    quantile: float = Field(0.5, gt=0, lt=1)
    after: int = Field(10, ge=2)


class Thresholds:
    """What trainings have reached at the epochs where they are looked at.

    Args:
        epochs: of a complete training.
        sign: of the objective; values are turned so that larger is better.
    """

    def __init__(self, epochs: int, sign: float, settings: StopSettings) -> None:
        self.looks = sorted({max(1, round(epochs * share)) for share in LOOKS} - {epochs})
        self.sign, self.settings = sign, settings
        self._reached: dict[int, list[float]] = {look: [] for look in self.looks}

    def add(self, curve: Sequence[tuple[int, float]]) -> None:
        """Counts a training; one that ended before a look counts there with its best value."""
        for look in self.looks:
            values = [self.sign * value for epoch, value in curve if epoch <= look]
            if values:
                bisect.insort(self._reached[look], max(values))

    def present(self) -> tuple[tuple[int, float], ...]:
        """Returns (epoch, least value) of every look that can be judged."""
        found = []
        for look, values in self._reached.items():
            if len(values) >= self.settings.after:
                found.append((look, values[int(self.settings.quantile * len(values))]))
        return tuple(found)


class EarlyStops:
    """Lets hopeless trainings of a search stop.

    Args:
        searcher: fresh.
        objective: that curves are of.
        epochs: of a complete training.
    """

    def __init__(self, searcher: Searcher, objective: Objective, epochs: int, settings: StopSettings) -> None:
        self.searcher = searcher
        self.thresholds = Thresholds(epochs, objective.sign, settings)
        self._stopped = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns proposals with what they must reach; what is measured again is trained to its end."""
        stop_below = self.thresholds.present()
        asked = self.searcher.ask(n)
        return [one if one.repeat_of is not None else dataclasses.replace(one, stop_below=stop_below) for one in asked]

    def tell(self, trial: Trial) -> None:
        """Notes what a trial has reached."""
        if trial.measurement is not None and trial.proposal.repeat_of is None:
            self.thresholds.add(trial.measurement.curve)
            self._stopped += trial.measurement.stopped
        self.searcher.tell(trial)

    def score(self, trial: Trial) -> float:
        """Returns the strategy's score."""
        return self.searcher.score(trial)

    def diagnostics(self) -> dict[str, float]:
        """Returns those of the search, and how many trainings stopped early."""
        return {**self.searcher.diagnostics(), "stopped_early": float(self._stopped)}


@dataclass(frozen=True)
class StopStudy:
    """What the rule would have done to trainings that were all completed.

    Attributes:
        trainings: looked at.
        stopped: of these.
        saved: share of all epochs.
        lost_top: of the best tenth by their final value, how many would have been stopped.
        top: how many these are.
        regret: how much better the best training is than the best that would not have been stopped.
    """

    trainings: int
    stopped: int
    saved: float
    lost_top: int
    top: int
    regret: float


def study_stops(trials: Sequence[Trial], objective: Objective, epochs: int, settings: StopSettings) -> StopStudy:
    """Returns what the rule would have done to the trials of a finished search, told in their order."""
    thresholds = Thresholds(epochs, objective.sign, settings)
    rows: list[tuple[float, int, int | None]] = []  # final value, epochs, and the epoch at which it would have stopped
    for trial in trials:
        if trial.measurement is None or not trial.measurement.curve or trial.proposal.repeat_of is not None:
            continue
        curve = trial.measurement.curve
        at = None
        for look, least in thresholds.present():
            reached = max((objective.sign * value for epoch, value in curve if epoch <= look), default=least)
            if reached < least and curve[-1][0] > look:
                at = look
                break
        thresholds.add([point for point in curve if at is None or point[0] <= at])
        rows.append((objective.sign * trial.value(objective), curve[-1][0], at))
    top = max(1, len(rows) // 10)
    best = sorted(rows, key=lambda row: row[0], reverse=True)
    kept = [row[0] for row in rows if row[2] is None]
    total = sum(row[1] for row in rows)
    return StopStudy(
        trainings=len(rows),
        stopped=sum(row[2] is not None for row in rows),
        saved=sum(row[1] - row[2] for row in rows if row[2] is not None) / total if total else 0.0,
        lost_top=sum(row[2] is not None for row in best[:top]),
        top=top,
        regret=best[0][0] - max(kept) if rows else 0.0,
    )
