"""What a run folder holds, read for a report; works on unfinished runs too."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.files import read_yaml
from nichenas.core.objectives import Objective
from nichenas.core.session.journal import Journal
from nichenas.core.session.results import RunResult
from nichenas.core.trial import Drawing
from nichenas.core.trial import Trial
from nichenas.core.trial import mean_trial


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        config: resolved.
        result: none for a run that is not finished.
        objectives: measured by the search; those of a gradient search are its supernet's.
        metric: primary objective of full trainings.
        trials: in the order of completion.
        drawings: by key of the architecture.
        notes: on the data.
        criterion: that candidates were ranked by, where it was not the first objective.
    """

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    objectives: tuple[Objective, ...]
    metric: Objective
    trials: Sequence[Trial]
    seconds: float
    result: RunResult | None
    drawings: dict[str, Drawing]
    notes: tuple[str, ...] = ()
    criterion: Objective | None = None

    @property
    def objective(self) -> Objective:
        """The primary objective, as it was measured of the last candidates.

        Those that a supernet proposed may have been trained alone in the end.
        """
        alone = self.objectives[0].source == "supernet" and self._measured(self.metric)
        return self.metric if alone else self.objectives[0]

    @property
    def searched(self) -> Objective:
        """What the last candidates were ranked by."""
        if self.criterion is not None:
            for criterion in (self.criterion, self.criterion.of_supernet()):
                if self._measured(criterion):
                    return criterion
        return self.objective

    def _measured(self, objective: Objective) -> bool:
        """Returns whether all of the last candidates have a value of it."""
        values = [trial.measurement.values for trial in self.final if trial.measurement is not None]
        return bool(values) and all(objective.name in one for one in values)

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Reads a run folder.

        Raises:
            RunFolderError: when it holds no run, or a file of it is damaged.
        """
        if not (folder / "journal.sqlite").exists():
            raise RunFolderError(f"'{folder}' holds no run (no journal.sqlite in it)")
        with Journal(folder / "journal.sqlite", read_only=True) as journal:
            objectives = tuple(Objective(**fields) for fields in journal.meta("objectives", []))
            retraining = journal.meta("retraining_objective")
            trials = list(journal.trials())
            seconds = float(journal.meta("seconds", 0.0))
            notes = tuple(journal.meta("notes", []))
            criterion = journal.meta("criterion")
        drawings = {}
        if (folder / "drawings.json").exists():
            for key, fields in read_json(folder / "drawings.json").items():
                drawings[key] = Drawing(fields["nodes"], [(a, b, label) for a, b, label in fields["edges"]])
        return cls(
            folder,
            read_yaml(folder / "config.yaml"),
            read_json(folder / "environment.json"),
            objectives,
            Objective(**retraining) if retraining else objectives[0],
            trials,
            seconds,
            RunResult.read_if_finished(folder),
            drawings,
            notes,
            Objective(**criterion) if criterion else None,
        )

    @cached_property
    def last_stage(self) -> list[Trial]:
        """Trials in order of submission; of a search in stages those of the last one, whose values can be compared."""
        trials = sorted(self.trials, key=lambda trial: trial.number)
        last = max((trial.stage for trial in trials), default=0)
        return [trial for trial in trials if trial.stage == last]

    @property
    def final(self) -> list[Trial]:
        """The trials that the outcome was chosen from: the last candidates of a one-shot search, else all."""
        trials = self.last_stage
        return [trial for trial in trials if trial.final] or self.complete

    @property
    def complete(self) -> list[Trial]:
        """The trials of the last stage that were measured at the highest fidelity there is; the others are partial.

        One that was measured again has the mean of its values, and stands where the last of its measurements does. One
        that stopped early is partial too.
        """
        return [trial for trial in self._judged.values() if self._is_complete(trial)]

    def _is_complete(self, trial: Trial) -> bool:
        stopped = trial.measurement is not None and trial.measurement.stopped
        return trial.proposal.fidelity.cost >= self._highest and not stopped

    @property
    def _highest(self) -> float:
        return max((t.proposal.fidelity.cost for t in self.last_stage if not t.failed), default=1.0)

    @cached_property
    def _judged(self) -> dict[int, Trial]:
        """The trials of the last stage with those of one architecture as one, by the number of the last of them."""
        groups: dict[int, list[Trial]] = {}
        for trial in self.last_stage:
            repeats = trial.proposal.repeat_of
            groups.setdefault(trial.number if repeats is None else repeats, []).append(trial)
        judged = {group[-1].number: mean_trial(group) if len(group) > 1 else group[0] for group in groups.values()}
        return dict(sorted(judged.items()))

    def values(self, objective: Objective) -> list[float | None]:
        """Returns the values of the last stage's trials in order of submission.

        None stands where a trial failed, is partial, or was measured again later: its mean comes then.
        """
        complete = {
            number: trial.value(objective)
            for number, trial in self._judged.items()
            if not trial.failed and self._is_complete(trial)
        }
        return [complete.get(trial.number) for trial in self.last_stage]

    def spent(self, unit: str) -> list[float]:
        """Returns what was spent up to the end of every trial of the last stage, with what was spent before it.

        Args:
            unit: ``trials``, ``epochs`` or ``seconds`` of training.
        """

        def cost(trial: Trial) -> float:
            return {"trials": 1.0, "epochs": trial.epochs, "seconds": trial.training_seconds}[unit]

        stage = max((trial.stage for trial in self.trials), default=0)
        before = sum(cost(trial) for trial in self.trials if trial.stage < stage)
        return [before + spent for spent in itertools.accumulate(cost(trial) for trial in self.last_stage)]


def read_runs(folder: Path, name: str, seeds: int) -> list[RunRecord]:
    """Returns the runs of one arm of a comparison, in the order of seeds.

    Raises:
        RunFolderError: when one is not there or damaged.
    """
    return [RunRecord.read(run_folder_of(folder, name, seed)) for seed in range(seeds)]


def run_folder_of(folder: Path, name: str, seed: int) -> Path:
    """Returns the folder of one run of a comparison; seeds count from 0.

    Raises:
        RunFolderError: when a name, which may come from a file, would lead out of the folder.
    """
    if Path(name).name != name:
        raise RunFolderError(f"'{folder}' is damaged: '{name}' is not the name of an arm")
    return folder / f"{name}-{seed}"
