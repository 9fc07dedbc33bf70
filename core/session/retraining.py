"""Retraining: the best architectures and the baselines, trained in full with several seeds; test data is read here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Protocol

import numpy as np

from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.context import Limits
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import Interrupted
from nichenas.core.execution.jobs import RetrainingJob
from nichenas.core.objectives import Objective
from nichenas.core.seeds import derive_seed
from nichenas.core.session.results import RetrainedResult
from nichenas.core.session.session import Session
from nichenas.core.sharing.homogeneous import write_tensors
from nichenas.core.space import Architecture
from nichenas.core.trial import Retrained

Subject = Architecture | str  # an architecture, or a baseline by its name


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

    def record(self, index: int, outcome: Retrained | str) -> None:
        """Counts a finished training: its figures, or the reason of its failure."""
        if isinstance(outcome, str):
            self.failures.append(outcome)
        else:
            self.runs[index] = outcome

    def statistics(self, part: str) -> dict[str, dict[str, float]]:
        """Returns mean, std (of the sample) and n of every metric.

        Args:
            part: ``validation`` or ``test``.
        """
        rows: list[Mapping[str, float]] = [getattr(run, part) for run in self.runs.values()]
        result = {}
        for name in rows[0] if rows else ():
            values = np.array([row[name] for row in rows if name in row])
            std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            result[name] = {"mean": float(values.mean()), "std": std, "n": len(values)}
        return result

    def result(
        self, architecture: Architecture | None = None, trial: int | None = None, known: str = ""
    ) -> RetrainedResult:
        """Returns the statistics, with the architecture, its trial and its usual name, where there are any."""
        return RetrainedResult(
            self.label,
            self.statistics("validation"),
            test=self.statistics("test"),
            failures=tuple(self.failures),
            architecture=dict(architecture or {}),
            trial=trial,
            known=known,
        )


class RetrainingListener(Protocol):
    """Is told of every finished full training."""

    def on_retraining(self, label: str, done: int, total: int) -> None:
        """Called after each; ``done`` counts those of earlier sessions too."""
        ...


def seed_of(run_seed: int, index: int) -> int:
    """Returns the seed of the full training with this index; the same for all architectures and baselines."""
    return derive_seed(run_seed, "retrain", index)


def retrain_all(
    session: Session,
    subjects: Sequence[Subject],
    seeds: int,
    *,
    decisive: Objective | None = None,
    limits: Limits | None = None,
    listener: RetrainingListener | None = None,
) -> dict[str, Summary]:
    """Trains every subject with every seed; what the journal holds already is not done again.

    The weights of an architecture's best seed are kept among the checkpoints; what trainings leave to be looked at,
    among the artifacts.

    Args:
        seeds: how many, the same for all.
        decisive: what the best seed is by; the domain's criterion or its primary objective by default.
        limits: of every training.

    Returns:
        One summary a subject, by label, in the order of the subjects.

    Raises:
        Interrupted: on Ctrl-C; finished trainings are on the disk.
    """
    executor, journal, folder = session.executor, session.journal, session.checkpoints
    objective = decisive or criterion_of(session.domain) or session.domain.objectives[0]
    summaries = {_label(subject): Summary(_label(subject)) for subject in subjects}
    wanted = [(subject, index) for subject in subjects for index in range(seeds)]
    recorded = journal.retrainings()
    todo = []
    for subject, index in wanted:
        label = _label(subject)
        if (label, index) in recorded:
            summaries[label].record(index, recorded[label, index])
        else:
            todo.append((subject, index))
    done = len(wanted) - len(todo)
    try:
        submitted = 0
        for finished in range(len(todo)):
            while submitted < len(todo) and submitted - finished < executor.capacity:
                executor.submit(submitted, _job(session, *todo[submitted], limits or Limits()))
                submitted += 1
            ticket, (result,) = executor.wait()
            subject, index = todo[ticket]
            label, outcome = _label(subject), result.outcome
            assert isinstance(outcome, (Retrained, CandidateFailure))
            if isinstance(outcome, Retrained) and folder is not None and _is_best(summaries[label], outcome, objective):
                write_tensors(kept_weights(folder, label), outcome.weights)
            kept = str(outcome) if isinstance(outcome, CandidateFailure) else outcome
            journal.append_retraining(label, index, kept)
            summaries[label].record(index, kept)
            partial = _partial(folder, subject, index)
            if partial is not None and partial.exists():
                journal.flush()
                shutil.rmtree(partial)
            done += 1
            if listener is not None:
                listener.on_retraining(label, done, len(wanted))
        journal.flush()
    except KeyboardInterrupt:
        journal.flush()
        raise Interrupted(f"interrupted after {done} of {len(wanted)} final trainings") from None
    for summary in summaries.values():
        summary.runs = dict(sorted(summary.runs.items()))
    return summaries


def ranked(
    subjects: Sequence[Architecture], summaries: Mapping[str, Summary], objective: Objective
) -> list[Architecture]:
    """Returns architectures by their mean validation value over the seeds, best first; equal ones as they were.

    Those without any full training come last.
    """

    def mean(architecture: Architecture) -> float:
        statistics = summaries[architecture.key].statistics("validation") if architecture.key in summaries else {}
        return objective.sign * statistics[objective.name]["mean"] if statistics else float("-inf")

    return sorted(subjects, key=mean, reverse=True)


def kept_weights(folder: Path, label: str) -> Path:
    """Returns the file of the weights of an architecture's best seed."""
    return folder / f"retrained-{label}.pt"


def _job(session: Session, subject: Subject, index: int, limits: Limits) -> RetrainingJob:
    folder = session.folder
    return RetrainingJob(
        seed=seed_of(session.seed, index),
        repeat=index,
        subject=subject,
        limits=limits,
        keep_weights=folder is not None and isinstance(subject, Architecture),
        checkpoints=_partial(session.checkpoints, subject, index),
        artifacts=None if folder is None else folder.artifacts / f"{_label(subject)}-{index}",
    )


def _partial(folder: Path | None, subject: Subject, index: int) -> Path | None:
    """Returns where a full training keeps its checkpoints; gone once it is finished."""
    return None if folder is None else folder / f"training-{_label(subject)}-{index}"


def _label(subject: Subject) -> str:
    return subject if isinstance(subject, str) else subject.key


def _is_best(summary: Summary, result: Retrained, objective: Objective) -> bool:
    if not result.weights:
        return False
    values = [objective.sign * run.validation[objective.name] for run in summary.runs.values()]
    return objective.sign * result.validation[objective.name] > max(values, default=float("-inf"))
