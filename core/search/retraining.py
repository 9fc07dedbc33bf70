"""Retraining: the best architectures and the baselines, trained in full with several seeds; test data is read here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np
from nichenas.core.context import Limits
from nichenas.core.domain import Retrained
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import Interrupted
from nichenas.core.objectives import Objective
from nichenas.core.search.executors import Executor
from nichenas.core.search.journal import Journal
from nichenas.core.search.work import FullTraining
from nichenas.core.seeds import derive_seed
from nichenas.core.sharing.homogeneous import write_tensors
from nichenas.core.space import Architecture


@dataclass
class Summary:
    """All full trainings of one architecture or baseline.

    Attributes:
        label: the architecture's key, or the baseline's name.
        runs: those that succeeded, by the index of their seed.
        failures: reasons of those that did not.
    """

    label: str
    runs: dict[int, Retrained] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def statistics(self, part: str) -> dict[str, dict[str, float]]:
        """Returns mean, std (of the sample) and n of every metric.

        Args:
            part: ``validation`` or ``test``.
        """
        rows: list[Mapping[str, float]] = [getattr(run, part) for run in self.runs.values()]
        result = {}
        for name in rows[0] if rows else ():
            values = np.array([row[name] for row in rows])
            std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            result[name] = {"mean": float(values.mean()), "std": std, "n": len(values)}
        return result

    def to_dict(self) -> dict[str, Any]:
        """Returns the statistics as JSON."""
        return {
            "label": self.label,
            "validation": self.statistics("validation"),
            "test": self.statistics("test"),
            "failures": self.failures,
        }


class RetrainingListener(Protocol):
    """Is told of every finished full training."""

    def on_retraining(self, label: str, done: int, total: int) -> None:
        """Called after each; ``done`` counts those of earlier sessions too."""
        ...


def seed_of(run_seed: int, index: int) -> int:
    """Returns the seed of the full training with this index; the same for all architectures and baselines."""
    return derive_seed(run_seed, "retrain", index)


def retrain_all(
    subjects: Sequence[Architecture | str],
    seeds: int,
    run_seed: int,
    objective: Objective,
    executor: Executor,
    journal: Journal,
    folder: Path | None = None,
    limits: Limits | None = None,
    listener: RetrainingListener | None = None,
    artifacts: Path | None = None,
) -> dict[str, Summary]:
    """Trains every subject with every seed; what the journal holds already is not done again.

    Args:
        subjects: architectures, and baselines by name.
        seeds: how many, the same for all.
        run_seed: of the run.
        objective: the primary one; the weights of an architecture's best seed by it are kept.
        folder: where these weights go; none keeps no weights.
        limits: of every training.
        artifacts: where trainings leave what people may look at, each in a folder of its own; none keeps none.

    Returns:
        One summary a subject, by label, in the order of the subjects.

    Raises:
        Interrupted: on Ctrl-C; finished trainings are on the disk.
    """
    summaries = {_label(subject): Summary(_label(subject)) for subject in subjects}
    wanted = [(subject, index) for subject in subjects for index in range(seeds)]
    recorded = journal.retrainings()
    todo = []
    for subject, index in wanted:
        if (_label(subject), index) in recorded:
            _take(summaries[_label(subject)], index, recorded[_label(subject), index])
        else:
            todo.append((subject, index))
    done = len(wanted) - len(todo)
    try:
        submitted = 0
        for finished in range(len(todo)):
            while submitted < len(todo) and submitted - finished < executor.capacity:
                subject, index = todo[submitted]
                keep = folder is not None and isinstance(subject, Architecture)
                partial = _partial(folder, subject, index)
                shown = None if artifacts is None else artifacts / f"{_label(subject)}-{index}"
                job = FullTraining(seed_of(run_seed, index), subject, limits or Limits(), keep, partial, shown)
                executor.submit(submitted, job)
                submitted += 1
            ticket, (result,) = executor.wait()
            subject, index = todo[ticket]
            label = _label(subject)
            outcome: Retrained | str
            if isinstance(result, CandidateFailure):
                outcome = str(result)
            else:
                assert isinstance(result, Retrained)
                outcome = result
                if folder is not None and result.weights and _is_best(summaries[label], result, objective):
                    write_tensors(folder / f"retrained-{label}.pt", result.weights)
            journal.append_retraining(label, index, outcome)
            _take(summaries[label], index, outcome)
            unfinished = _partial(folder, subject, index)
            if unfinished is not None and unfinished.exists():
                journal.flush()
                shutil.rmtree(unfinished)
            done += 1
            if listener is not None:
                listener.on_retraining(label, done, len(wanted))
        journal.flush()
    except KeyboardInterrupt:
        journal.flush()
        raise Interrupted(f"interrupted after {done} of {len(wanted)} full trainings") from None
    for summary in summaries.values():
        summary.runs = dict(sorted(summary.runs.items()))
    return summaries


def choose(subjects: Sequence[Architecture], summaries: Mapping[str, Summary], objective: Objective) -> Architecture:
    """Returns the architecture with the best mean validation value over its seeds; the earlier of equals.

    Without any full training the first subject is returned: the best of the search.
    """

    def mean(architecture: Architecture) -> float:
        statistics = summaries[architecture.key].statistics("validation") if architecture.key in summaries else {}
        return objective.sign * statistics[objective.name]["mean"] if statistics else float("-inf")

    return max(subjects, key=mean)


def _partial(folder: Path | None, subject: Architecture | str, index: int) -> Path | None:
    """Returns where a full training keeps its checkpoints; gone once it is finished."""
    return None if folder is None else folder / f"training-{_label(subject)}-{index}"


def _label(subject: Architecture | str) -> str:
    return subject if isinstance(subject, str) else subject.key


def _take(summary: Summary, index: int, outcome: Retrained | str) -> None:
    if isinstance(outcome, str):
        summary.failures.append(outcome)
    else:
        summary.runs[index] = outcome


def _is_best(summary: Summary, result: Retrained, objective: Objective) -> bool:
    values = [objective.sign * run.validation[objective.name] for run in summary.runs.values()]
    return objective.sign * result.validation[objective.name] > max(values, default=float("-inf"))
