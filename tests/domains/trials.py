"""Trials as executors measure them."""

from __future__ import annotations

from pathlib import Path

import torch

from nichenas.core.domain import Domain
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import run_job
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal

CPU = torch.device("cpu")


def measured(domain: Domain, checkpoints: Path, first: int, *proposals: Proposal) -> list[Measurement]:
    """Returns what a batch of trials results in; ``first`` is the number of the first of them."""
    job = EvaluationJob(seed=0, first=first, proposals=proposals, checkpoints=checkpoints)
    found = []
    for result in run_job(domain, job, CPU):
        assert isinstance(result.outcome, Measurement), result.outcome
        found.append(result.outcome)
    return found
