"""The work that executors do: evaluating a batch of proposals, or one full training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import torch
from nichenas.core.context import Context
from nichenas.core.context import Limits
from nichenas.core.context import open_test_data
from nichenas.core.domain import Domain
from nichenas.core.domain import Measurement
from nichenas.core.domain import Proposal
from nichenas.core.domain import Retrained
from nichenas.core.domain import as_failure
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import TestDataError
from nichenas.core.space import Architecture
from torch import Tensor

Result = Measurement | Retrained | CandidateFailure


@dataclass(frozen=True)
class Evaluation:
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
        proposal, folder = self.proposals[offset], self.checkpoints
        number = self.first + offset
        tensors = self.inherited[offset] if self.inherited else {}
        context = Context(self.seed, number, device, self.limits, tensors, self.keep_weights)
        if folder is not None:
            if proposal.continues is not None:
                context.resume_from = trial_checkpoint(folder, proposal.continues)
            if proposal.horizon is not None and proposal.fidelity.epochs < proposal.horizon:
                context.leave_at = trial_checkpoint(folder, number)
        return context


def trial_checkpoint(folder: Path, number: int) -> Path:
    """Returns the file from which a trial's training can go on."""
    return folder / f"trial-{number}.pt"


@dataclass(frozen=True)
class FullTraining:
    """Train one architecture, or a baseline by name, at the full setting and read test data.

    Attributes:
        checkpoints: folder for what this training must have to go on after a restart.
        artifacts: folder for what people may look at.
    """

    seed: int
    subject: Architecture | str
    limits: Limits = field(default_factory=Limits)
    keep_weights: bool = False
    checkpoints: Path | None = None
    artifacts: Path | None = None


Job = Evaluation | FullTraining


def run_job(domain: Domain, job: Job, device: torch.device) -> list[Result]:
    """Does a job and returns one result a proposal; exceptions of a candidate become failures.

    Raises:
        TestDataError: when an evaluation read test data.
    """
    if isinstance(job, FullTraining):
        context = Context(
            job.seed,
            0,
            device,
            job.limits,
            keep_weights=job.keep_weights,
            checkpoints=job.checkpoints,
            artifacts=job.artifacts,
        )
        try:
            with open_test_data():
                if isinstance(job.subject, str):
                    return [domain.train_baseline(job.subject, context)]
                return [domain.retrain(job.subject, context)]
        except Exception as error:
            return [as_failure(error)]
    for proposal in job.proposals:
        lacking = proposal.fidelity.reduced() - domain.reductions
        if lacking:  # what would come out would not be what was asked for
            raise ValueError(f"the domain does not reduce {' and '.join(sorted(lacking))}")
    contexts = [job.context(offset, device) for offset in range(len(job.proposals))]
    try:
        results: list[Result] = [*domain.evaluate_many(job.proposals, contexts)]
    except TestDataError:
        raise
    except Exception as error:  # the domain's own evaluate_many broke: every candidate of the batch failed
        return [as_failure(error) for _ in job.proposals]
    return results
