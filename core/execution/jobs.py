"""The work that executors do: evaluating a batch of proposals, or one full training."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.batching import BatchedEvaluation
from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.capabilities.fidelity import honoured
from nichenas.core.context import Context
from nichenas.core.context import Limits
from nichenas.core.context import open_test_data
from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.gate import INVALID
from nichenas.core.gate import checked_measurement
from nichenas.core.gate import checked_retrained
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.core.trial import as_failure

Outcome = Measurement | Retrained | CandidateFailure


@dataclass(frozen=True)
class Result:
    """What became of a proposal or a full training.

    Attributes:
        seconds: that it took, failed or not; of a batch that was trained together, its share.
    """

    outcome: Outcome
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """Evaluate a batch of proposals.

    Attributes:
        seed: of the run.
        first: number of the first trial; the others follow.
        inherited: one mapping of tensors a proposal, or nothing at all.
        checkpoints: folder of trainings in parts; none where no trial continues another.
    """

    seed: int
    first: int
    proposals: tuple[Proposal, ...]
    limits: Limits = field(default_factory=Limits)
    inherited: tuple[Mapping[str, Tensor], ...] = ()
    keep_weights: bool = False
    checkpoints: Path | None = None

    def context(self, offset: int, device: torch.device) -> Context:
        """Returns the context of one of the proposals."""
        proposal, folder, number = self.proposals[offset], self.checkpoints, self.first + offset
        checkpoint_in = checkpoint_out = None
        if folder is not None:
            if proposal.parent is not None:
                checkpoint_in = trial_checkpoint(folder, proposal.parent)
            if proposal.horizon is not None and proposal.fidelity["epochs"] < proposal.horizon:
                checkpoint_out = trial_checkpoint(folder, number)
        return Context(
            self.seed,
            number,
            device=device,
            limits=self.limits,
            inherited=self.inherited[offset] if self.inherited else {},
            keep_weights=self.keep_weights,
            checkpoint_in=checkpoint_in,
            checkpoint_out=checkpoint_out,
            repeat=proposal.repeat,
            stop_below=proposal.stop_below,
        )


def trial_checkpoint(folder: Path, number: int) -> Path:
    """Returns the file from which a trial's training can be continued."""
    return folder / f"trial-{number}.pt"


@dataclass(frozen=True, kw_only=True)
class RetrainingJob:
    """Train one architecture, or a baseline by name, at the full setting and read test data.

    Attributes:
        checkpoints: folder for what this training must have to continue after a restart.
        artifacts: folder for what people may look at.
        repeat: index of the seed.
    """

    seed: int
    subject: Architecture | str
    repeat: int = 0
    limits: Limits = field(default_factory=Limits)
    keep_weights: bool = False
    checkpoints: Path | None = None
    artifacts: Path | None = None


Job = EvaluationJob | RetrainingJob


def job_size(job: Job) -> int:
    """Returns how many results a job has."""
    return len(job.proposals) if isinstance(job, EvaluationJob) else 1


def run_job(domain: Domain, job: Job, device: torch.device) -> list[Result]:
    """Does a job and returns one result a proposal; exceptions of a candidate become failures.

    Raises:
        TestDataError: when an evaluation read test data.
    """
    if isinstance(job, RetrainingJob):
        return [_timed(lambda: _retrain(domain, job, device))]
    for proposal in job.proposals:
        lacking = proposal.fidelity.keys() - honoured(domain) if proposal.fidelity else ()
        if lacking:  # what would come out would not be what was asked for
            raise ValueError(f"the domain does not reduce {' and '.join(sorted(lacking))}")
    contexts = [job.context(offset, device) for offset in range(len(job.proposals))]
    if isinstance(domain, BatchedEvaluation):
        return _evaluate_together(domain, job, contexts)
    objectives = _needed(domain)
    results = []
    for proposal, context in zip(job.proposals, contexts, strict=True):
        context.started = time.perf_counter()
        results.append(_timed(lambda p=proposal, c=context: checked_measurement(domain.evaluate(p, c), objectives)))  # type: ignore[misc]
    return results


def _needed(domain: Domain) -> tuple[Objective, ...]:
    """Returns what every measurement must have."""
    criterion = criterion_of(domain)
    return tuple(domain.objectives) if criterion is None else (*domain.objectives, criterion)


def _timed(call: Callable[[], Outcome]) -> Result:
    began = time.perf_counter()
    try:
        outcome = call()
    except SystemExit as error:  # a library that ends the process must not end the search
        outcome = CandidateFailure("error", f"SystemExit: {error}")
    except Exception as error:
        outcome = as_failure(error)
    return Result(outcome, time.perf_counter() - began)


def _evaluate_together(domain: Any, job: EvaluationJob, contexts: list[Context]) -> list[Result]:
    objectives, size = _needed(domain), len(job.proposals)
    began = time.perf_counter()
    try:
        found = domain.evaluate_many(job.proposals, contexts)
        if len(found) != size:
            raise CandidateFailure(INVALID, f"{len(found)} measurements of {size} candidates")
    except SystemExit as error:
        found = [CandidateFailure("error", f"SystemExit: {error}")] * size
    except Exception as error:  # evaluate_many itself broke: every candidate of the batch failed
        found = [as_failure(error)] * size
    share = (time.perf_counter() - began) / size
    return [Result(_checked(outcome, objectives), share) for outcome in found]


def _checked(outcome: object, objectives: Any) -> Outcome:
    if isinstance(outcome, CandidateFailure):
        return outcome
    try:
        return checked_measurement(outcome, objectives)
    except Exception as error:
        return as_failure(error)


def _retrain(domain: Domain, job: RetrainingJob, device: torch.device) -> Retrained:
    context = Context(
        job.seed,
        device=device,
        limits=job.limits,
        keep_weights=job.keep_weights,
        checkpoints=job.checkpoints,
        artifacts=job.artifacts,
        repeat=job.repeat,
    )
    began = time.perf_counter()
    criterion = None  # of a baseline it may be missing: nothing is chosen by it
    with open_test_data():
        if isinstance(job.subject, Architecture):
            criterion = criterion_of(domain)
            found = domain.retrain(job.subject, context)
        elif isinstance(domain, Baselines):
            found = domain.train_baseline(job.subject, context)
        else:
            raise CandidateFailure(INVALID, f"the domain has no baseline '{job.subject}'")
    checked = checked_retrained(found, domain.objectives[0], criterion)
    return dataclasses.replace(checked, seconds=time.perf_counter() - began)
